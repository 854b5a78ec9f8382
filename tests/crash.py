"""Kills writers of an index at every file-system call, or fails one; run by test_index_crash.

A process of its own with one thread, so that it can fork: each child does one change and
dies at its n-th call; then the parent looks at what is on the disk.
"""

from __future__ import annotations

import errno
import io
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from latenthash.codes import CodeSet
from latenthash.errors import DataError, StorageError
from latenthash.index import build_index
from latenthash.index.bucket import IndexWriter
from latenthash.index.bucket.generation import open_generation
from latenthash.index.bucket.verify import verify
from numbered import Image, build, code_file, contents, files, left_over

CALLS = ("open", "write", "pwrite", "pwritev", "fsync", "replace", "rename", "mkdir", "unlink",
         "rmdir", "remove", "ftruncate", "posix_fallocate")  # fmt: skip
Change = Callable[[Path, Path], object]
State = tuple[int, dict[int, Image]] | None


def intercept(at_call: Callable[[str, tuple[Any, ...]], None]) -> None:
    """Call `at_call` before every call that writes, in this process."""

    def wrapped(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            at_call(name, arguments)
            return real(*arguments, **named)

        return call

    for name in CALLS:
        setattr(os, name, wrapped(name, getattr(os, name)))
    real_open = io.open

    def open_file(file: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
        if "r" not in mode or "+" in mode:
            at_call("open", (file,))
        return real_open(file, mode, *rest, **named)

    io.open = open_file


def rebuild(folder: Path, codes: Path) -> None:
    with CodeSet(codes) as opened:
        build_index(opened, folder)


def add(folder: Path, codes: Path) -> None:
    with CodeSet(codes) as opened, IndexWriter(folder) as writer:
        writer.add(opened)


def remove(folder: Path, codes: Path) -> None:
    with IndexWriter(folder) as writer:
        writer.remove([1, 4, 12])


def compact(folder: Path, codes: Path) -> None:
    with IndexWriter(folder) as writer:
        writer.compact()


CHANGES: dict[str, Change] = {
    "build": rebuild, "rebuild": rebuild, "add": add, "remove": remove, "compact": compact,
}  # fmt: skip


def prepare(place: Path, name: str) -> Path:
    """An index of two segments with some images removed; none for the first build."""
    start = place / name
    start.mkdir()
    if name != "build":
        build(start, range(12))
        add(start / "index", code_file(start / "more.h5", range(12, 18)))
        with IndexWriter(start / "index") as writer:
            writer.remove([0, 13])
        code_file(start / "codes.h5", range(15, 25))
    else:
        code_file(start / "codes.h5", range(10))
    return start


def state(folder: Path) -> State:
    """Generation and live images; None if there is no index. Raises if it is damaged."""
    if not (folder / "manifest.json").exists():
        try:
            open_generation(folder)
        except DataError:
            return None
        raise AssertionError("an index without a manifest")
    generation = verify(folder)
    return generation.number, contents(generation)


def in_child(work: Callable[[], object]) -> int:
    """Exit status of a child that does `work`; negative: the signal that killed it."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except StorageError:
            os._exit(3)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(4)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Harness:
    """Runs one change again and again from the same start."""

    def __init__(self, place: Path, name: str) -> None:
        self.name, self.change = name, CHANGES[name]
        self.start = prepare(place, name)
        self.work = place / f"{name}.work"
        self.reset()
        self.old = state(self.index)
        self.calls: list[str] = []
        self._count()
        self.reset()
        self.change(self.index, self.codes)
        self.new = state(self.index)
        assert self.old != self.new

    @property
    def index(self) -> Path:
        return self.work / "index"

    @property
    def codes(self) -> Path:
        return self.work / "codes.h5"

    def reset(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.start, self.work)

    def _count(self) -> None:
        log = self.start.parent / f"{self.name}.calls"

        def count() -> None:
            names: list[str] = []
            intercept(lambda name, _: names.append(name))
            self.change(self.index, self.codes)
            log.write_text(json.dumps(names))

        assert in_child(count) == 0
        self.calls = json.loads(log.read_text())

    def check(self, clean: bool) -> str:
        """Which of the two states is there; the next writer must find its way from it."""
        found = state(self.index)
        assert found in (self.old, self.new), f"{self.name}: neither the old nor the new state"
        if clean and found == self.old and self.old is not None:
            assert left_over(self.index, open_generation(self.index)) == set()
        if clean and found is None:
            assert not self.index.exists() or files(self.index) == set()
        if found is None:
            rebuild(self.index, self.codes)
            built = state(self.index)
            assert built is not None and self.new is not None and built[1] == self.new[1]
        else:
            with IndexWriter(self.index) as writer:
                assert left_over(self.index, writer.generation) == set()
        return "new" if found == self.new else "old"

    def kill_at(self, number: int) -> str:
        self.reset()

        def work() -> None:
            count = 0

            def die(*_: object) -> None:
                nonlocal count
                count += 1
                if count == number:
                    os.kill(os.getpid(), signal.SIGKILL)

            intercept(die)
            self.change(self.index, self.codes)

        assert in_child(work) == -signal.SIGKILL
        return self.check(clean=False)

    def kill_after(self, seconds: float) -> str:
        self.reset()
        child = os.fork()
        if child == 0:
            self.change(self.index, self.codes)
            os._exit(0)
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return self.check(clean=False)

    def fail_at(self, number: int) -> str:
        """The disk is full at one call, or from it on if that call is no clean-up."""
        self.reset()

        def work() -> None:
            count = 0

            def fail(name: str, _: object) -> None:
                nonlocal count
                count += 1
                if count == number and name not in ("unlink", "rmdir", "remove"):
                    raise OSError(errno.ENOSPC, "No space left on device")

            intercept(fail)
            self.change(self.index, self.codes)

        assert in_child(work) in (0, 3), f"{self.name}: call {number}, {self.calls[number - 1]}"
        return self.check(clean=True)


def main(place: Path, name: str, mode: str, step: int) -> None:
    harness = Harness(place, name)
    rng = random.Random(f"{name} {mode}")
    if mode == "time":
        begin = time.perf_counter()
        harness.reset()
        in_child(lambda: harness.change(harness.index, harness.codes))
        whole = time.perf_counter() - begin
        ends = [harness.kill_after(rng.uniform(0, whole)) for _ in range(60 // step)]
    else:
        act = harness.kill_at if mode == "kill" else harness.fail_at
        first = rng.randrange(step)
        ends = [act(number + 1) for number in range(first, len(harness.calls), step)]
    print(json.dumps({"points": len(ends), "old": ends.count("old"), "new": ends.count("new")}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
