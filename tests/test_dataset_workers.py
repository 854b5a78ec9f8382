from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bad_images import jpeg, photo
from latenthash.dataset import build_lmdb, workers
from latenthash.dataset.augment import Augment
from latenthash.dataset.convert import Recipe, convert
from latenthash.dataset.workers import Workers, worth_processes
from latenthash.errors import DataError
from latenthash.sources import Sample

RECIPE = Recipe(channels=3, size=(30, 40), encode="jpeg", quality=95)


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Photos of two classes, one of them no photo at all."""
    found = []
    for label in range(2):
        (tmp_path / "in" / str(label)).mkdir(parents=True)
        for number in range(30):
            path = tmp_path / "in" / str(label) / f"{number}.jpg"
            path.write_bytes(jpeg(photo(seed=number)) if number != 7 else b"no photo")
            found.append(Sample(path.name, label, str(path)))
    return found


def test_a_child_converts_as_this_process_does(samples: list[Sample]) -> None:
    expected = convert(samples, RECIPE)
    with Workers(RECIPE, 2) as pool:
        for _ in range(4):
            found = pool.convert(samples)
            assert found.datums == expected.datums
            assert (found.total == expected.total).all()
    assert expected.datums[7] == "not an image"


def test_processes_and_threads_build_the_same(
    samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not worth_processes(samples, RECIPE)
    build_lmdb(tmp_path / "in", tmp_path / "threads")
    monkeypatch.setattr(workers, "_MANY", 2)
    assert worth_processes(samples, RECIPE)
    photos = Recipe(3, (256, 256), "jpeg", 95)
    assert not worth_processes(samples, photos)
    assert worth_processes(samples, replace(photos, augment=Augment(zoom=0.5)))
    build_lmdb(tmp_path / "in", tmp_path / "processes")
    for name in ("train_lmdb/data.mdb", "val_lmdb/data.mdb", "mean.binaryproto", "skipped.csv"):
        one, other = (tmp_path / made / name for made in ("threads", "processes"))
        assert one.read_bytes() == other.read_bytes(), name


def test_a_child_that_dies_is_one_error(samples: list[Sample]) -> None:
    with Workers(RECIPE, 1) as pool:
        pool.convert(samples)
        pool._children[0].kill()
        with pytest.raises(DataError, match=r"died \(exit code -9\) - .*--workers"):
            pool.convert(samples)


_HOLD = """
import sys, time
from latenthash.dataset.augment import Augment
from latenthash.dataset.convert import Recipe
from latenthash.dataset.workers import Workers
with Workers(Recipe(3, (8, 8), "jpeg", 95), 2) as pool:
    pool.convert([])
    print(*[child.pid for child in pool._children], flush=True)
    time.sleep(60)
"""


def gone(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return not status.exists() or "\nState:\tZ" in status.read_text()


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_children_end_with_their_parent(kill: signal.Signals) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", _HOLD], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert parent.stdout is not None
    children = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(children) == 2
    assert not any(gone(pid) for pid in children)
    os.kill(parent.pid, kill)
    parent.wait(timeout=30)
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while not all(gone(pid) for pid in children):
        assert time.monotonic() < deadline
        time.sleep(0.02)
