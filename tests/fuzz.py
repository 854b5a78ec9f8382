"""Mutates the files of an index and uses it; run by test_index_fuzz in a process of its own."""

from __future__ import annotations

import json
import random
import resource
import shutil
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from latenthash.errors import LatentHashError
from latenthash.index import BucketIndex, IndexWriter, SearchOptions
from latenthash.index.bucket.generation import commit, open_generation
from latenthash.index.bucket.verify import verify
from numbered import contents

MEMORY = 3 << 30
SECONDS = 20
VALUES: list[Any] = [-1, 0, 1, 2**31, 2**63, 10**30, 1.5, "", "x", "../../etc", [], {}, None, True]


def mutate(path: Path, rng: random.Random) -> None:
    """Flip bits, overwrite a run, cut off, append, swap, or remove."""
    data = bytearray(path.read_bytes())
    kind = rng.choice(("flip", "flip", "run", "run", "cut", "append", "empty", "gone"))
    at = rng.randrange(len(data)) if data else 0
    if kind == "gone":
        path.unlink()
        return
    if kind == "cut":
        del data[at:]
    elif kind == "append" or not data:
        data += rng.randbytes(rng.randint(1, 64))
    elif kind == "empty":
        data.clear()
    elif kind == "run":
        length = min(rng.choice((1, 4, 8, 64)), len(data) - at)
        data[at : at + length] = rng.choice(
            (bytes(length), b"\xff" * length, rng.randbytes(length))
        )
    else:
        data[at] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def places(value: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything in a JSON value."""
    keys = value if isinstance(value, dict) else range(len(value))
    found = []
    for key in keys:
        found.append((value, key))
        if isinstance(value[key], dict | list):
            found += places(value[key])
    return found


def lie(folder: Path, rng: random.Random) -> None:
    """A manifest that is whole but says something else."""
    manifest = json.loads((folder / "manifest.json").read_text())
    container, key = rng.choice(places(manifest))
    if rng.random() < 0.2:
        del container[key]
    else:
        container[key] = rng.choice(VALUES)
    commit(folder, manifest)


def use(folder: Path, codes: np.ndarray[Any, Any], features: np.ndarray[Any, Any]) -> None:
    """Everything that reads an index."""
    index = BucketIndex(folder)
    for options in (SearchOptions(top=5), SearchOptions(top=50, exact=True)):
        for hits in index.search(codes, features, options):
            index.names(hits.ids)
            index.labels(hits.ids)
    index.find_name("7.png")
    index.search_ids(np.array([2]), SearchOptions())
    generation = open_generation(folder)
    contents(generation)
    for segment in generation.segments:
        segment.find_contents(np.arange(64, dtype=np.uint8).reshape(2, 32))
    with IndexWriter(folder) as writer:
        writer.remove([5])
        writer.compact()


def attempt(work: Callable[[], object]) -> str:
    """Name of the error, "" if there was none; any other error is a defect."""
    signal.alarm(SECONDS)
    try:
        work()
    except LatentHashError as error:
        return type(error).__name__
    finally:
        signal.alarm(0)
    return ""


def main(start: Path, rounds: int, seed: int) -> None:
    warnings.simplefilter("ignore", RuntimeWarning)  # damaged features overflow, and may
    generation = open_generation(start)
    some = generation.segments[0]
    codes, features = some.codes(np.arange(3)), np.asarray(some.restored(some.rows[:3]), np.float32)
    named = ["manifest.json", *generation.files]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    rng, counts, work = random.Random(seed), {"refused": 0, "used": 0}, start.with_name("work")
    for number in range(rounds):
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(start, work)
        name = named[number % len(named)]
        before = (work / name).read_bytes()
        lied = (name == "manifest.json" and rng.random() < 0.7) or rng.random() < 0.3
        if lied:
            lie(work, rng)
        else:
            mutate(work / name, rng)
        same = (work / name).exists() and (work / name).read_bytes() == before
        refused = attempt(lambda: verify(work))
        # what is written in JSON in another way is still the same manifest
        if not lied and not same and name != "manifest.json":
            assert refused == "StorageError", f"{number}: {name} is damaged, verify says nothing"
        ended = attempt(lambda: use(work, codes, features))
        counts["refused" if ended or refused else "used"] += 1
    print(json.dumps(counts))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
