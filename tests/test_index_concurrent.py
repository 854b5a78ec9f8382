"""Readers at work while a writer changes the index: no answer is wrong or torn."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from latenthash.codes import CodeSet
from latenthash.index import BucketIndex, IndexWriter, SearchOptions
from latenthash.index.bucket.verify import verify
from numbered import build, code_file, contents, image

KEPT = 10  # images that are never removed
_READER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_index_concurrent import read
read(Path(sys.argv[2]), float(sys.argv[3]))
"""


def check(index: BucketIndex) -> None:
    """Every image that is found is the one that its name says, and none is missing."""
    kept = [image(number) for number in range(KEPT)]
    codes = np.frombuffer(b"".join(one[3] for one in kept), np.uint8).reshape(KEPT, -1)
    features = np.array([one[4] for one in kept], np.float32)
    options = SearchOptions(top=10**6, candidates=None)
    for number, hits in enumerate(index.search(codes, features, options)):
        assert len(hits.ids) == hits.candidates == len(index)
        assert (hits.ids[0], hits.distances[0]) == (number, 0)
        names, labels = index.names(hits.ids), index.labels(hits.ids)
        for name, label, distance in zip(names, labels, hits.distances, strict=True):
            found = image(int(name.removesuffix(".png")))
            assert label == found[1]
            expected = np.linalg.norm(np.subtract(found[4], kept[number][4]))
            assert abs(distance - expected) < 1e-3


def read(folder: Path, seconds: float) -> None:
    """Check again and again until the time is over, in new and in refreshed readers."""
    end, generations, rounds = time.monotonic() + seconds, set(), 0
    index = BucketIndex(folder)
    while time.monotonic() < end:
        rounds += 1
        if rounds % 3:
            index.refresh()
        else:
            index.close()
            index = BucketIndex(folder)
        check(index)
        generations.add(index.manifest["generation"])
    print(len(generations))


def change(folder: Path, readers: list[subprocess.Popen[str]]) -> None:
    """Add, remove, compact, build as long as there are readers."""
    more = [
        code_file(folder.with_name(f"{part}.h5"), range(20 * part, 20 * part + 20))
        for part in range(1, 6)
    ]
    rng, changes = np.random.default_rng(0), 0
    while any(reader.poll() is None for reader in readers):
        with IndexWriter(folder) as writer:
            with CodeSet(more[rng.integers(len(more))]) as codes:
                writer.add(codes)
            ids = np.array(sorted(contents(writer.generation)))
            writer.remove(rng.choice(ids[KEPT:], len(ids) // 3, replace=False))
            if rng.random() < 0.5:
                writer.compact()
        changes += 1
        if changes % 10 == 0:
            build(folder.parent, range(20))


def race(folder: Path, seconds: float) -> None:
    command = [sys.executable, "-W", "error", "-c", _READER, str(Path(__file__).parent),
               str(folder), str(seconds)]  # fmt: skip
    readers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    change(folder, readers)
    for reader in readers:
        out, err = reader.communicate()
        assert reader.returncode == 0, err
        assert int(out) > 1  # it saw the index change
    verify(folder)


def test_two_readers_and_a_writer(tmp_path: Path) -> None:
    race(build(tmp_path, range(20)), 3)


@pytest.mark.slow
def test_two_readers_and_a_writer_for_a_minute(tmp_path: Path) -> None:
    race(build(tmp_path, range(20)), 60)
