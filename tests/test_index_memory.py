from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from latenthash.errors import DataError
from latenthash.index.bucket import memory
from latenthash.index.bucket.memory import available, lock, parse_size, read_ahead


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("4096", 4096), ("2G", 2 << 30), ("1.5k", 1536), ("512 MiB", 512 << 20),
     ("1t", 1 << 40)],
)  # fmt: skip
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "-1", "2X", "1e9", "nan"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(DataError, match="size"):
        parse_size(text)


def test_available_memory_is_less_than_all() -> None:
    assert 0 < available() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def cold(path: Path, rows: int, row: int) -> NDArray[np.uint8]:
    """A mapped file of which nothing is in memory."""
    path.write_bytes(np.random.default_rng(0).bytes(rows * row))
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return np.frombuffer(mapped, np.uint8).reshape(rows, row)


def test_missing_rows_are_read_and_then_are_there(tmp_path: Path) -> None:
    features = cold(tmp_path / "features", 4000, 1000)
    rows = np.arange(0, 4000, 100)
    if not memory._missing(features, rows):
        pytest.skip("this file system keeps its files in memory")
    assert read_ahead(features, rows)
    assert features[rows].shape == (40, 1000)
    assert not read_ahead(features, rows)
    assert not read_ahead(features, rows[:0])


def test_ranges_are_whole_pages_that_cover_the_rows(tmp_path: Path) -> None:
    features = cold(tmp_path / "features", 3000, 700)
    rows = np.sort(np.random.default_rng(1).choice(3000, 200, replace=False))
    pages: list[int] = []
    for start, length in memory._ranges(features, rows, 0):
        assert start % mmap.PAGESIZE == length % mmap.PAGESIZE == 0
        pages += range(start, start + length, mmap.PAGESIZE)
    first = features.ctypes.data
    needed = {
        (first + 700 * row + byte) // mmap.PAGESIZE for row in rows.tolist() for byte in (0, 699)
    }
    assert {page // mmap.PAGESIZE for page in pages} == needed
    assert len(pages) == len(needed)
    joined = list(memory._ranges(features, rows, 1000))
    assert joined == [(min(pages), max(pages) + mmap.PAGESIZE - min(pages))]


def test_lock_keeps_to_its_budget() -> None:
    arrays = [np.zeros(5000, np.uint8), np.zeros(0, np.uint8), np.zeros(9000, np.uint8)]
    assert lock(arrays, 6000) == 6000
    assert lock(arrays, 10**6) == 14000


def test_a_refused_lock_is_told_of() -> None:
    script = (
        "import resource, numpy, logging; logging.basicConfig(); "
        "resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0)); "
        "from latenthash.index.bucket.memory import lock; lock([], 0); "
        "import os; os.geteuid() or os.setuid(65534); "  # root may lock what it likes
        "print(lock([numpy.zeros(1 << 20, 'u1')], 1 << 20))"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ended.stdout == "0\n", ended.stderr
    assert "ulimit -l" in ended.stderr
