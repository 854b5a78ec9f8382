"""The commands of README, quick start, tutorials and troubleshooting, run as a reader would.

Each page runs from its top in a copy of the project in which `make demo` has run. What a block
needs beyond that, it says in a comment above it: see doc_blocks.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from doc_blocks import ROOT, RUN, SHELL, Block, blocks
from latenthash.engines.caffe_home import caffe_home

pytestmark = [pytest.mark.slow, pytest.mark.caffe]
FILES = [
    "Makefile", "pyproject.toml", "cmake/**/*", "scripts/*", "tools/*.py", "prototxt/**/*",
    "python/latenthash/kernels/*.[ch]", "caffe_models/*/readme.md", "data/*/readme.md",
    "docs/images/*.png",
    # fetched once, if they are here already:
    "caffe_models/efficientnet_lite0/*", "data/mnist5k/*.csv.gz",
]  # fmt: skip
SECONDS = 900


def run(command: list[str], tree: Path) -> subprocess.CompletedProcess[str]:
    """A command in the project's folder; stdout and stderr together."""
    environment = {
        **os.environ,
        "PATH": f"{tree / '.venv/bin'}:{os.environ['PATH']}",
        "LATENTHASH_CAFFE": str(caffe_home()),
    }
    return subprocess.run(
        command, cwd=tree, env=environment, timeout=SECONDS, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def bring(tree: Path) -> None:
    """The project's files that commands use, and a .venv that is this interpreter's."""
    for pattern in FILES:
        for file in filter(Path.is_file, ROOT.glob(pattern)):
            target = tree / file.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, target)
    python = tree / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (tree / ".venv/ready").touch()  # newer than all that set-up depends on


def paint(folder: Path) -> None:
    """Pictures of no class: soft blobs of colour."""
    rng = np.random.default_rng(0)
    names = [*(f"2024/{n:03}.jpg" for n in range(140)), *(f"2025/{n:03}.jpg" for n in range(20))]
    for name in [*names, "boat.jpg"]:
        coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        coarse.resize((80, 60), Image.Resampling.BICUBIC).save(folder / name)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which the demo has run; not to be changed."""
    tree = tmp_path_factory.mktemp("world") / "project"
    bring(tree)
    for fetch in (["01_get_data.sh", "mnist5k"], ["get_models.sh", "efficientnet_lite0"]):
        fetched = run([f"scripts/{fetch[0]}", fetch[1]], tree)
        if fetched.returncode:
            pytest.skip(f"needs the network once: {fetched.stdout}")
    made = run(["make", "demo"], tree)
    assert made.returncode == 0, made.stdout
    paint(tree / "pictures")
    return tree


def copy(world: Path, tree: Path) -> Path:
    """A project of one's own; its last index is its own demo's."""
    shutil.copytree(world, tree)
    (tree / "run/latest-index").write_text(str(tree / "demo/index"))
    return tree


def check(block: Block, tree: Path) -> None:
    """Run a block; it must end as it says."""
    if block.language == "python":
        command = [sys.executable, "-c", block.script()]
    else:
        command = ["bash", "-euo", "pipefail", "-c", block.script()]
    ended = run(command, tree)
    told = f"{block.where}\n{block.script()}\n\n{ended.stdout}"
    assert (ended.returncode != 0) == block.fails, told
    if block.fails:
        for line in block.shown():
            assert line in ended.stdout, told


@pytest.mark.parametrize("page", RUN, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_a_page(page: Path, world: Path, tmp_path: Path) -> None:
    tree = copy(world, tmp_path / "project")
    for block in blocks(page):
        if block.language in {*SHELL, "python"} and not block.needs:
            check(block, tree)


def test_the_pictures_of_the_method_are_drawn_from_the_demo(world: Path, tmp_path: Path) -> None:
    tree = copy(world, tmp_path / "project")
    drawn = run(["scripts/build_docs.sh", "--pictures"], tree)
    assert drawn.returncode == 0, drawn.stdout
    shipped = sorted((ROOT / "docs/images/method").glob("*.png"))
    assert shipped
    for picture in shipped:
        with Image.open(picture) as old, Image.open(tree / picture.relative_to(ROOT)) as new:
            assert new.size == old.size
