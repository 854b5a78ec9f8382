"""build_caffe.sh: its cache, lock and failures on a tiny stand-in; the real build's result."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from latenthash.engines.caffe_home import caffe_home

ROOT = Path(__file__).parent.parent
RECIPE = """
cmake_minimum_required(VERSION 3.18)
project(stand_in CXX)
add_executable(caffe ${CAFFE_SRC}/tools/caffe.cpp)
install(TARGETS caffe RUNTIME DESTINATION bin)
install(FILES ${CAFFE_SRC}/src/caffe/proto/caffe.proto DESTINATION share)
install(FILES ${CAFFE_SRC}/python/_caffe.py DESTINATION python/caffe)
"""


class Checkout:
    """A checkout whose CMake recipe and Caffe sources are tiny; the script is the real one."""

    def __init__(self, tree: Path, cache: Path) -> None:
        self.tree, self.cache, self.source = tree, cache / "caffe", tree / "src of caffe"
        shutil.copytree(ROOT / "scripts", tree / "scripts")
        self.write("cmake/caffe/CMakeLists.txt", RECIPE)
        self.write("cmake/caffe/source.txt", "# a comment\ncarrier==1.0 --hash=sha256:00\n")
        self.write(".venv/bin/python", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        (tree / ".venv/bin/python").chmod(0o755)
        for name in ("src/caffe/proto/caffe.proto", "include/a.h", "python/_caffe.py"):
            self.write(f"{self.source.name}/{name}", "")
        self.program("int main() {}")

    def write(self, name: str, content: str) -> None:
        path = self.tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def program(self, content: str) -> None:
        self.write(f"{self.source.name}/tools/caffe.cpp", content)

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        cache = {"LATENTHASH_CACHE": str(self.cache.parent), "CAFFE_SRC": str(self.source)}
        return subprocess.Popen(
            [self.tree / "scripts/build_caffe.sh", *arguments],
            env={**os.environ, **cache, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def build(self, *arguments: str, **env: str) -> tuple[int, str]:
        process = self.start(*arguments, **env)
        output, _ = process.communicate(timeout=120)
        return process.returncode, output

    @property
    def prefix(self) -> Path:
        return Path((self.tree / ".venv/caffe-prefix").read_text().rstrip("\n"))

    def cached(self) -> list[str]:
        return sorted(path.name for path in self.cache.iterdir())


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "a checkout", tmp_path / "cache")


def test_second_checkout_uses_the_first_ones_build(checkout: Checkout, tmp_path: Path) -> None:
    code, output = checkout.build()
    assert code == 0, output
    assert "building Caffe once" in output
    assert "100 %" in output
    assert (checkout.prefix / "bin/caffe").exists()
    assert checkout.cached() == sorted([checkout.prefix.name, "lock"])
    inputs = (checkout.prefix / "share/inputs.txt").read_bytes()
    assert hashlib.sha256(inputs).hexdigest().startswith(checkout.prefix.name)

    second = Checkout(tmp_path / "second", tmp_path / "cache")
    code, output = second.build()
    assert code == 0
    assert "building" not in output
    assert second.prefix == checkout.prefix


def change_recipe(checkout: Checkout) -> dict[str, str]:
    checkout.write("cmake/caffe/CMakeLists.txt", RECIPE + "# changed\n")
    return {}


def change_header(checkout: Checkout) -> dict[str, str]:
    checkout.write(f"{checkout.source.name}/include/a.h", "int changed;\n")
    return {}


def rename_header(checkout: Checkout) -> dict[str, str]:
    include = checkout.source / "include"
    (include / "a.h").rename(include / "b.h")
    return {}


def change_flags(checkout: Checkout) -> dict[str, str]:
    return {"CXXFLAGS": "-O1"}


@pytest.mark.parametrize("change", [change_recipe, change_header, rename_header, change_flags])
def test_changed_input_makes_another_build(
    checkout: Checkout, change: Callable[[Checkout], dict[str, str]]
) -> None:
    assert checkout.build()[0] == 0
    first = checkout.prefix
    code, output = checkout.build(**change(checkout))
    assert code == 0
    assert "building Caffe once" in output
    assert checkout.prefix != first
    assert first.exists()


def test_failed_build_shows_and_keeps_its_log(checkout: Checkout) -> None:
    checkout.program("int main() { return undeclared_name; }")
    code, output = checkout.build()
    assert code == 1
    assert "undeclared_name" in output
    assert f"building Caffe failed; the whole log: {checkout.cache}/failed.log" in output
    assert "undeclared_name" in (checkout.cache / "failed.log").read_text()
    assert checkout.cached() == ["failed.log", "lock"]
    assert not (checkout.tree / ".venv/caffe-prefix").exists()


def test_build_that_does_not_run_is_not_kept(checkout: Checkout) -> None:
    checkout.program("int main() { return 3; }")
    assert checkout.build()[0] == 1
    assert checkout.cached() == ["failed.log", "lock"]


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_interrupted_build_leaves_nothing_half(checkout: Checkout, by: signal.Signals) -> None:
    process = checkout.start()
    while not list(checkout.cache.glob("building.*/build")):
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, by)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert not (checkout.tree / ".venv/caffe-prefix").exists()
    if by != signal.SIGKILL:
        assert checkout.cached() == ["lock"]

    code, output = checkout.build()
    assert code == 0, output
    assert checkout.cached() == sorted([checkout.prefix.name, "lock"])


def test_two_at_once_build_once(checkout: Checkout, tmp_path: Path) -> None:
    second = Checkout(tmp_path / "second", tmp_path / "cache")
    processes = [checkout.start(), second.start()]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert sum("building Caffe once" in output for output in outputs) == 1
    assert second.prefix == checkout.prefix


@pytest.mark.parametrize("jobs", ["0", "many", "-1", ""])
def test_bad_number_of_jobs(checkout: Checkout, jobs: str) -> None:
    code, output = checkout.build("-j", jobs)
    assert code == 2
    assert "give the number of jobs" in output


def test_folder_without_caffe(checkout: Checkout, tmp_path: Path) -> None:
    code, output = checkout.build(CAFFE_SRC=str(tmp_path))
    assert code == 2
    assert "holds no src/caffe/proto/caffe.proto" in output
    code, output = checkout.build(CAFFE_SRC=str(tmp_path / "none"))
    assert code == 2
    assert "no such folder" in output


def test_sources_out_of_reach(checkout: Checkout) -> None:
    code, output = checkout.build(CAFFE_SRC="", PIP_NO_INDEX="1", PIP_FIND_LINKS="")
    assert code == 2
    assert "CAFFE_SRC=DIR builds a source tree that you have" in output
    assert checkout.cached() == ["lock"]


IMPORT_CAFFE = """
import latenthash.proto
import caffe
import numpy as np
from caffe.proto import caffe_pb2
assert (caffe_pb2.TRAIN, caffe_pb2.TEST, caffe_pb2.Phase.Name(1)) == (0, 1, "TEST")
pixels = np.arange(48, dtype=np.uint8).reshape(3, 4, 4)
datum = caffe.io.array_to_datum(pixels, label=3)
assert (caffe.io.datum_to_array(datum) == pixels).all()
net = caffe.NetSpec()
net.data = caffe.layers.Input(shape={"dim": [1, 3, 4, 4]})
net.sum = caffe.layers.Reduction(net.data)
with open("net.prototxt", "w") as file:
    file.write(str(net.to_proto()))
out = caffe.Net("net.prototxt", caffe.TEST).forward(data=pixels[None].astype(np.float32))
assert out["sum"] == pixels.sum()
"""


@pytest.mark.caffe
def test_pycaffe_works_with_this_numpy_and_protobuf(tmp_path: Path) -> None:
    """Caffe's own Python package, beside our messages, with warnings as errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT_CAFFE],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(caffe_home() / "python"), "GLOG_minloglevel": "2"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.caffe
@pytest.mark.parametrize("tool", ["caffe", "convert_imageset", "compute_image_mean"])
def test_tools_run_from_where_they_are(tool: str, tmp_path: Path) -> None:
    """They find libcaffe beside them: the build was made elsewhere and moved."""
    shutil.copytree(caffe_home() / "bin", tmp_path / "bin")
    shutil.copytree(caffe_home() / "lib", tmp_path / "lib")
    done = subprocess.run([tmp_path / "bin" / tool, "--version"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
