"""The Dockerfile's instructions, carried out in Debian roots that debootstrap makes.

From nothing to what the image does first: it trains the demo, answers and reports itself
healthy. BACKEND=cuda in the environment builds that image instead; here it takes an hour.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from test_docker import DOCKERFILE, ROOT, in_context, tracked

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
PASSED_ON = ("http_proxy", "https_proxy", "no_proxy", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="a chroot needs root's rights"),
    pytest.mark.skipif(shutil.which("debootstrap") is None, reason="debootstrap is not installed"),
]


class Image:
    """A root folder on which a stage's instructions are carried out."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.user, self.folder = "0:0", "/"
        self.env = {
            "HOME": "/root",
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            **{name: value for name, value in os.environ.items() if name in PASSED_ON},
        }
        if CERTIFICATES.is_file():  # with those of this machine's proxy
            shutil.copy(CERTIFICATES, root / "certificates.crt")
            for name in ("PIP_CERT", "SSL_CERT_FILE", "CURL_CA_BUNDLE"):
                self.env[name] = "/certificates.crt"
        for name in ("resolv.conf", "hosts"):
            shutil.copy(f"/etc/{name}", root / "etc" / name)

    def path(self, name: str) -> Path:
        """Where a path of the image lies here."""
        return self.root / Path(self.folder, name).relative_to("/")

    def run(self, command: str, *isolated: str) -> None:
        """Run a shell command as in the image; its processes and mounts end with it."""
        mounts = 'mkdir -p "$0/dev/shm"; mount -t tmpfs tmpfs "$0/dev/shm"; exec "$@"'
        root, settings = str(self.root), [f"{key}={value}" for key, value in self.env.items()]
        inside = f"cd {shlex.quote(self.folder)} || exit\n{command}"
        subprocess.run(
            [
                *("unshare", "--fork", "--pid", "--kill-child", f"--mount-proc={root}/proc"),
                *(*isolated, "bash", "-c", mounts, root),
                *("chroot", f"--userspec={self.user}", root, "env", "-i", *settings),
                *("bash", "-c", inside),
            ],
            check=True,
        )


def instructions(stage: str) -> list[tuple[str, str]]:
    """(instruction, rest) of a stage of the Dockerfile: "builder", or "" for the last."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE, flags=re.M).replace("\\\n", " ")
    for part in re.split(r"^FROM ", text, flags=re.M)[1:]:
        head, _, body = part.partition("\n")
        if head.partition(" AS ")[2] == stage:
            lines = [line.split(None, 1) for line in body.splitlines() if line.strip()]
            return [(word, " ".join(rest)) for word, *rest in lines]
    raise AssertionError(f"no stage {stage!r}")


def carry_out(stage: str, image: Image, others: dict[str, Image]) -> dict[str, list[str]]:
    """Carry out a stage's instructions; what CMD and HEALTHCHECK say."""
    commands = {}
    for word, rest in instructions(stage):
        if word == "RUN":
            image.run(re.sub(r"^--mount=\S+ ", "", rest))
        elif word == "WORKDIR":
            image.folder = rest
            image.path("").mkdir(parents=True, exist_ok=True)
        elif word == "COPY":
            copy(rest.split(), image, others)
        elif word == "ARG":
            name, _, value = rest.partition("=")
            image.env |= {name: os.environ.get(name, value)}
        elif word == "ENV":
            pairs = (pair.split("=", 1) for pair in shlex.split(rest))
            image.env |= {name: value.replace("$PATH", image.env["PATH"]) for name, value in pairs}
        elif word == "USER":
            image.user = rest
            image.env["HOME"] = "/home/latenthash"
        elif word in ("CMD", "HEALTHCHECK"):
            commands[word] = json.loads(rest[rest.index("[") :])
        else:
            assert word in ("LABEL", "VOLUME", "EXPOSE"), word
    return commands


def copy(arguments: list[str], image: Image, others: dict[str, Image]) -> None:
    *options, source, target = arguments
    if not options:
        assert (source, target) == (".", ".")
        for name in filter(in_context, tracked()):
            image.path(name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, image.path(name))
        return
    stage = options[0].removeprefix("--from=")
    if stage in others:
        given, to = others[stage].path(source), image.path(target)
        (to if target.endswith("/") else to.parent).mkdir(parents=True, exist_ok=True)
        inside = "/." if given.is_dir() else ""
        subprocess.run(["cp", "-a", f"{given}{inside}", to], check=True)


START = """
{command} & service=$!
for _ in $(seq 900); do
  sleep 1
  if {health} 2>/dev/null; then healthy=yes; break; fi
  kill -0 $service || break
done
kill $service
wait $service
[ "$healthy" = yes ]
"""


def test_from_nothing_to_a_healthy_service(tmp_path: Path) -> None:
    base = tmp_path / "base"
    mirror = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")
    subprocess.run(["debootstrap", "--variant=minbase", "bookworm", base, mirror], check=True)
    subprocess.run(["cp", "-a", base, tmp_path / "builder"], check=True)

    builder = Image(tmp_path / "builder")
    carry_out("builder", builder, {})
    image = Image(base)
    commands = carry_out("", image, {"builder": builder})

    image.run("scripts/01_get_data.sh mnist5k")
    service = START.format(
        command=shlex.join(commands["CMD"]), health=shlex.join(commands["HEALTHCHECK"])
    )
    loopback = 'ip link set lo up && exec "$@"'
    image.run(service, "--net", "bash", "-c", loopback, "loopback")
    report = json.loads((base / "app/run/demo/report.json").read_text())
    assert report["engine"] == "caffe"
    assert report["map_at_1000"] > 0.9
