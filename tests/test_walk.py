"""The steps 02 to 06 in shell: they keep their order, and go from images to measures."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
STEPS = [
    "02_build_lmdb.sh",
    "03_train.sh",
    "04_extract.sh",
    "05_build_index.sh",
    "06_evaluate.sh",
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout of our scripts and tools; its .venv runs this Python."""
    tree = tmp_path / "a checkout"
    for folder in ("scripts", "tools"):
        shutil.copytree(ROOT / folder, tree / folder)
    for readme in ROOT.glob("caffe_models/*/readme.md"):
        (tree / "caffe_models" / readme.parent.name).mkdir(parents=True)
        shutil.copy(readme, tree / "caffe_models" / readme.parent.name)
    python = tree / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
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
    done = subprocess.run(
        [tree / "scripts" / name, *arguments],
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("name", STEPS[1:])
def test_step_too_early_names_the_one_before(tree: Path, images: Path, name: str) -> None:
    before = "02_build_lmdb.sh" if name == "04_extract.sh" else STEPS[STEPS.index(name) - 1]
    if name == "06_evaluate.sh":
        before = "04_extract.sh"
    code, output = step(tree, name, str(images))
    assert code == 2
    assert output.endswith(f"run scripts/{before} first\n")


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
    for name in STEPS:
        code, output = step(tree, name, str(images), BITS="12", LATENTHASH_THREADS="1")
        assert code == 0, output
    assert re.search(r"^mAP at 48 +1\.0000$", output, re.M)  # 48 of the 60 are searched
