"""Dockerfile, compose file and the scripts inside: what can be checked without Docker."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from latenthash.engines.caffe_home import caffe_home

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE_FILES = ("compose.yaml", "docker/compose.gpu.yaml")


def run(command: list[str | Path], **env: str) -> tuple[int, str]:
    done = subprocess.run(
        command, env={**os.environ, **env}, text=True, timeout=60,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return done.returncode, done.stdout


def linter(name: str) -> str:
    """A linter that pip installs beside this Python."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


# ---- Dockerfile


def test_dockerfile_passes_hadolint() -> None:
    assert run([linter("hadolint"), ROOT / "Dockerfile"]) == (0, "")


def test_bases_are_pinned_by_digest() -> None:
    bases = dict(re.findall(r"^ARG (\w+)=(\S+:\S+)$", DOCKERFILE, re.M))
    used = re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)
    assert used == ["${NODE}", "${DEBIAN}", "${DEBIAN}"]
    for base in bases.values():
        assert re.fullmatch(r"[a-z]+:[\w.-]+@sha256:[0-9a-f]{64}", base)


def test_image_runs_without_roots_rights_and_is_watched() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (.+)$", last, re.M) == ["10001:10001"]
    assert "useradd --uid 10001" in last
    assert "docker/healthcheck.py" in last.partition("HEALTHCHECK")[2]
    written = re.search(r"^VOLUME \[(.+)\]$", last, re.M)
    assert written is not None
    folders = re.findall(r'"/app/(\w+)"', written[1])
    assert f"chown -R latenthash: {' '.join(folders)}\n" in last


def in_context(path: str) -> bool:
    """Whether .dockerignore lets a file travel: the last pattern that fits decides."""
    travels = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = re.escape(line.lstrip("!").rstrip("/"))
            for wild, regex in ((r"\*\*/", "(.*/)?"), (r"\*", "[^/]*")):
                pattern = pattern.replace(wild, regex)
            if re.fullmatch(f"{pattern}(/.*)?", path):
                travels = line.startswith("!")
    return travels


def tracked() -> list[str]:
    """The files of this tree, those that git ignores left out."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("no git checkout")
    return listed.stdout.splitlines()


def test_what_the_image_is_built_of() -> None:
    whole = ("cmake", "docker", "prototxt", "python", "scripts", "tools", "web")
    parts = {"LICENSE", "NOTICE", "README.md", "caffe_models", "data", "pyproject.toml"}
    tops = {name.partition("/")[0] for name in tracked() if in_context(name)}
    assert tops == {*whole, *parts}
    left = [name for name in tracked() if name.startswith(tuple(f"{top}/" for top in whole))]
    assert [name for name in left if not in_context(name)] == []


@pytest.mark.parametrize(
    "name",
    [
        ".git/config", ".venv/bin/python", "run/latest-index", "demo/report.json", "tests/tiny.py",
        "caffe_models/vgg16/VGG_ILSVRC_16_layers.caffemodel", "data/mnist5k/mnist_5k.csv.gz",
        "data/cifar10/images/a/1.png", "python/latenthash.egg-info/PKG-INFO",
        "python/latenthash/kernels/_native.cpython-311-x86_64-linux-gnu.so",
        "web/client/node_modules/vue/index.js", "web/client/dist/index.html",
        "tools/__pycache__/_cli.cpython-311.pyc",
    ],
)  # fmt: skip
def test_what_stays_behind(name: str) -> None:
    assert not in_context(name)


def test_what_the_page_stage_copies_travels() -> None:
    for source in re.findall(r"^COPY ([\w./]+) ", DOCKERFILE, re.M):
        path = ROOT / source
        assert path.exists(), source
        assert source == "." or path.is_dir() or in_context(source), source


# ---- compose files


def compose(name: str) -> Any:
    """A compose file with the defaults of its variables put in."""
    text = (ROOT / name).read_text()
    return yaml.safe_load(re.sub(r"\$\{\w+:-(.*?)\}", r"\1", text))


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_compose_file_follows_the_specification(name: str) -> None:
    command: list[str | Path] = [linter("check-jsonschema"), "--builtin-schema"]
    code, output = run([*command, "vendor.compose-spec", ROOT / name])
    assert code == 0, output


def test_compose_file_names_only_what_it_has() -> None:
    file = compose("compose.yaml")
    for service in file["services"].values():
        assert set(service.get("networks", [])) <= set(file["networks"])
        for mount in service.get("volumes", []):
            source = mount.partition(":")[0]
            assert source in file["volumes"] or (ROOT / source).is_file()
        assert set(service.get("depends_on", {})) <= set(file["services"])
    assert set(compose("docker/compose.gpu.yaml")["services"]) <= set(file["services"])


def test_web_waits_for_its_database_and_agrees_with_it() -> None:
    services = compose("compose.yaml")["services"]
    web, db = services["web"], services["db"]
    assert web["depends_on"]["db"]["condition"] == "service_healthy"
    assert "healthcheck" in db
    of_db = {key.removeprefix("POSTGRES_").lower(): v for key, v in db["environment"].items()}
    url = re.fullmatch(
        r"postgres://(?P<user>\w+):(?P<password>\w+)@db:5432/(?P<db>\w+)",
        web["environment"]["DATABASE_URL"],
    )
    assert url is not None
    assert url.groupdict() == of_db


def test_only_this_machine_reaches_the_service() -> None:
    file = compose("compose.yaml")
    assert file["networks"]["back"] == {"internal": True}
    for name, service in file["services"].items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")
        if name != "web":
            assert service["networks"] == ["back"]
            assert re.search(r":v?\d+\.\d+", service["image"])
    web = file["services"]["web"]
    assert web["read_only"] is True
    assert web["cap_drop"] == ["ALL"]


def test_volumes_are_those_of_the_image() -> None:
    mounts = compose("compose.yaml")["services"]["web"]["volumes"]
    for target in (mount.rpartition(":")[2] for mount in mounts):
        assert f'"{target}"' in DOCKERFILE


def test_up_without_a_profile_starts_no_milvus() -> None:
    services = compose("compose.yaml")["services"]
    started = [name for name, service in services.items() if not service.get("profiles")]
    assert started == ["web", "db"]


# ---- docker/build.sh


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with the real docker/ whose other scripts note how they were called."""
    tree = tmp_path / "a tree"
    shutil.copytree(ROOT / "docker", tree / "docker", ignore=shutil.ignore_patterns("__pycache__"))
    script(tree / "scripts/setup.sh", 'echo "setup $LATENTHASH_CAFFE $TORCH $EXTRAS" >>calls')
    script(
        tree / "scripts/build_caffe.sh",
        'echo "caffe $* ${CUDA_HOME:-} ${CXX:-}" >>calls\n'
        "mkdir -p .venv built/share\n"
        'echo "$PWD/built" >.venv/caffe-prefix${1:+-cuda}',
    )
    script(tree / "docker/cuda_legacy.sh", "echo legacy >>calls")
    script(tree / "docker/runtime_packages.sh", 'echo "packages of $1"')
    return tree


def script(path: Path, body: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("backend", "torch", "caffe"),
    [
        ("cpu", "cpu", "caffe   "),
        ("cuda", "cuda", "caffe --cuda --arch 75;80;90;100;120  "),
        (
            "cuda-legacy",
            "cpu",
            "caffe --cuda --cudnn --arch 30;35;50;60;70 /usr/local/cuda-10.2 g++-8",
        ),
    ],
)
def test_backends(backend: str, torch: str, caffe: str, tree: Path, tmp_path: Path) -> None:
    to = tmp_path / "opt/caffe"
    to.mkdir(parents=True)
    (to / "old").touch()
    code, output = run([tree / "docker/build.sh"], BACKEND=backend, CAFFE_TO=str(to))
    assert code == 0, output
    calls = (tree / "calls").read_text().splitlines()
    assert calls == [
        *(["legacy"] if backend == "cuda-legacy" else []),
        f"setup {to} {torch} web,hash,milvus",
        caffe,
    ]
    assert [path.name for path in to.iterdir()] == ["share"]
    assert (to / "share/packages.txt").read_text() == f"packages of {to}\n"


def test_gpus_and_extras_can_be_named(tree: Path, tmp_path: Path) -> None:
    named = {"BACKEND": "cuda", "CUDA_ARCH": "90", "EXTRAS": "web"}
    code, output = run([tree / "docker/build.sh"], CAFFE_TO=str(tmp_path / "caffe"), **named)
    assert code == 0, output
    setup, caffe = (tree / "calls").read_text().splitlines()
    assert setup.endswith(" cuda web")
    assert caffe.startswith("caffe --cuda --arch 90 ")


def test_unknown_backend(tree: Path) -> None:
    code, output = run([tree / "docker/build.sh"], BACKEND="rocm")
    assert code == 2
    assert "BACKEND=rocm: give cpu, cuda or cuda-legacy" in output
    assert not (tree / "calls").exists()


def test_help(tree: Path) -> None:
    code, output = run([tree / "docker/build.sh", "--help"])
    assert code == 0
    assert output.startswith("usage:")


@pytest.mark.caffe
@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="no Debian")
def test_packages_of_what_caffe_is_linked_with() -> None:
    code, output = run([ROOT / "docker/runtime_packages.sh", caffe_home()])
    assert code == 0, output
    packages = output.split()
    assert packages == sorted(set(packages))
    for start in ("libc6", "libgoogle-glog", "libprotobuf", "libopenblas", "libopencv-imgcodecs"):
        assert any(name.startswith(start) for name in packages), start
    assert not any(name.endswith("-dev") for name in packages)


# ---- docker/serve.sh and docker/healthcheck.py


@pytest.fixture
def image(tree: Path) -> Path:
    """What serve.sh finds in the image; the demo writes what the real one writes."""
    script(tree / "scripts/01_get_data.sh", 'echo "data $*" >>calls')
    script(
        tree / ".venv/bin/python",
        'echo "$*" >>calls\n'
        '[ "$1" != tools/demo.py ] || { mkdir -p run && echo /index >run/latest-index; }',
    )
    return tree


def test_first_start_builds_the_demo(image: Path) -> None:
    assert run([image / "docker/serve.sh"], INDEX="")[0] == 0
    assert run([image / "docker/serve.sh", "--workers", "1"], INDEX="")[0] == 0
    assert (image / "calls").read_text().splitlines() == [
        "data mnist5k",
        "tools/demo.py -o run/demo",
        "tools/serve.py --host 0.0.0.0",
        "tools/serve.py --host 0.0.0.0 --workers 1",
    ]


def test_named_index_needs_no_demo(image: Path) -> None:
    assert run([image / "docker/serve.sh"], INDEX="run/my photos")[0] == 0
    assert (image / "calls").read_text() == "tools/serve.py --host 0.0.0.0 --index run/my photos\n"


class Service(HTTPServer):
    """Answers with `status`, as the service does only to the host names it knows."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status, self.name = 200, "localhost"


class Handler(BaseHTTPRequestHandler):
    server: Service

    def do_GET(self) -> None:
        known = self.path == "/healthz" and self.headers["Host"] == self.server.name
        self.send_response(self.server.status if known else 400)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as service:
        thread = threading.Thread(target=service.serve_forever)
        thread.start()
        yield service
        service.shutdown()
        thread.join()


def healthy(service: Service, hosts: str = "") -> int:
    check: list[str | Path] = [sys.executable, ROOT / "docker/healthcheck.py"]
    return run([*check, str(service.server_port)], LATENTHASH_HOSTS=hosts, http_proxy="http://x")[0]


@pytest.mark.parametrize(
    ("hosts", "name"),
    [
        ("", "localhost"),
        ("*", "localhost"),
        ("search.example, localhost", "search.example"),
        (".example.org", "example.org"),
    ],
)
def test_health_is_asked_by_a_name_that_is_served(hosts: str, name: str, service: Service) -> None:
    service.name = name
    assert healthy(service, hosts) == 0


def test_ill_service(service: Service) -> None:
    service.status = 503
    assert healthy(service) == 1


def test_no_service() -> None:
    with Service() as service:
        pass
    assert healthy(service) == 1
