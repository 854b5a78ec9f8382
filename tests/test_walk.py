"""The steps 02 to 07 in shell: they keep their order, and go from images to a service."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image

from checkout import ROOT, checkout, run

STEPS = [
    "02_build_lmdb.sh",
    "03_train.sh",
    "04_extract.sh",
    "05_build_index.sh",
    "06_evaluate.sh",
    "07_serve.sh",
]
FIRST_MISSED = {  # where nothing was done yet
    "03_train.sh": "02_build_lmdb.sh",
    "04_extract.sh": "02_build_lmdb.sh",
    "05_build_index.sh": "04_extract.sh",
    "06_evaluate.sh": "04_extract.sh",
    "07_serve.sh": "05_build_index.sh",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout of our scripts and tools; its .venv runs this Python."""
    tree = checkout(tmp_path / "a checkout", "scripts", "tools", "web/server")
    for readme in ROOT.glob("caffe_models/*/readme.md"):
        (tree / "caffe_models" / readme.parent.name).mkdir(parents=True)
        shutil.copy(readme, tree / "caffe_models" / readme.parent.name)
    return tree


@pytest.fixture
def images(tree: Path) -> Path:
    """Two classes of 28x28 digits: a bright half on the left, or on the right."""
    random = np.random.default_rng(0)
    for number in range(60):
        pixels = random.integers(0, 60, (28, 28), np.uint8)
        side = number % 2
        pixels[:, 14 * side : 14 * side + 14] += 150
        path = tree / f"my digits/{'right' if side else 'left'}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return tree / "my digits"


def step(tree: Path, name: str, *arguments: str, **env: str) -> tuple[int, str]:
    return run(tree / "scripts" / name, *arguments, **env)


@contextmanager
def serving(tree: Path, *arguments: str, **env: str) -> Iterator[str]:
    """Step 7, until the context ends; its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    log = tree / "serve.log"
    with log.open("w") as file, subprocess.Popen(
        [tree / "scripts" / STEPS[-1], *arguments], env={**os.environ, **env, "PORT": port},
        stdout=file, stderr=file, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            await_ready(f"http://127.0.0.1:{port}", process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            with suppress(ProcessLookupError):  # it ended by itself
                os.killpg(process.pid, signal.SIGKILL)


def await_ready(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        assert process.poll() is None, log.read_text()
        try:
            urlopen(f"{address}/readyz", timeout=60).close()
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"not ready: {log.read_text()}")


@pytest.mark.parametrize("name", STEPS)
def test_help_says_what_a_step_does_and_what_comes_next(tree: Path, name: str) -> None:
    code, output = step(tree, name, "--help")
    assert code == 0
    assert output.startswith(f"usage: [NET=lenet] [BITS=48] scripts/{name} [SET]\n")
    if name != STEPS[-1]:
        assert f"scripts/{STEPS[STEPS.index(name) + 1]}" in output.splitlines()[-1]


@pytest.mark.parametrize(("name", "missed"), FIRST_MISSED.items())
def test_step_too_early_names_what_was_missed(
    tree: Path, images: Path, name: str, missed: str
) -> None:
    code, output = step(tree, name, str(images))
    assert code == 2
    assert output.endswith(f"run scripts/{missed} first\n")


def test_nets_that_start_from_weights_name_what_fetches_them(tree: Path, images: Path) -> None:
    assert step(tree, STEPS[0], str(images))[0] == 0
    code, output = step(tree, "03_train.sh", str(images), NET="alexnet")
    assert code == 2
    assert output == (
        "error: caffe_models/caffenet/bvlc_reference_caffenet.caffemodel is missing"
        " - run scripts/get_models.sh caffenet first\n"
    )
    code, output = step(tree, "04_extract.sh", str(images))
    assert code == 2
    assert "run scripts/03_train.sh first" in output


def test_no_such_set(tree: Path) -> None:
    code, output = step(tree, "02_build_lmdb.sh", "nothing")
    assert code == 2
    assert output.startswith("error: no data set nothing - run scripts/01_get_data.sh")


def test_arrays_become_files_that_keep_the_sets_split(tree: Path) -> None:
    """MNIST's form: idx files; its own test images are for validation."""
    data = tree / "data/mnist"
    data.mkdir(parents=True)
    shutil.copy(ROOT / "data/mnist/readme.md", data)
    for part, count in (("train", 20), ("t10k", 10)):
        pixels = np.full((count, 28, 28), 7 if part == "train" else 9, np.uint8)
        header = np.array([2051, count, 28, 28], ">i4").tobytes()
        (data / f"{part}-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
        labels = np.arange(count, dtype=np.uint8) % 10
        header = np.array([2049, count], ">i4").tobytes()
        (data / f"{part}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())
    code, output = step(tree, "02_build_lmdb.sh", "mnist")
    assert code == 0, output
    assert sorted(path.name for path in (data / "images").iterdir()) == ["test", "train"]
    for name, value in (("train", 7), ("test", 9)):
        for path in (data / f"images/{name}").rglob("*.png"):
            assert (np.asarray(Image.open(path)) == value).all()
    lists = {
        part: (tree / f"run/mnist/dataset/{part}.txt").read_text() for part in ("train", "val")
    }
    assert lists["train"].count("\n") == lists["train"].count("train/") == 20
    assert lists["val"].count("\n") == lists["val"].count("test/") == 10


@pytest.mark.slow
@pytest.mark.caffe
def test_all_steps_on_a_folder_of_images(tree: Path, images: Path) -> None:
    settings = {"BITS": "12", "LATENTHASH_THREADS": "1"}
    for name in STEPS[:-1]:
        code, output = step(tree, name, str(images), **settings)
        assert code == 0, output
    assert re.search(r"^mAP at 48 +1\.0000$", output, re.M)  # 48 of the 60 are searched
    pytest.importorskip("django", reason="pip install '.[web]'")
    with serving(tree, str(images), **settings) as address:
        with urlopen(f"{address}/api/v1/stats", timeout=60) as response:
            stats = json.load(response)
        assert (stats["images"], stats["classes"], stats["bits"]) == (48, 2, 12)
