"""Whatever kills a writer or its disk: the old or the new generation is there, whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crash import CHANGES
from latenthash.codes import CodeSet
from latenthash.files import PARTIAL
from latenthash.index.bucket import IndexWriter
from latenthash.index.bucket.generation import open_generation
from latenthash.index.bucket.verify import verify
from numbered import MEMORY, build, code_file, contents, image

_SHARE = 10  # of the calls, all in the slow tests


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)


def run(place: Path, name: str, mode: str, step: int) -> dict[str, int]:
    ended = subprocess.run(
        [sys.executable, "-W", "error", str(Path(__file__).with_name("crash.py")),
         str(place), name, mode, str(step)],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    points: dict[str, int] = json.loads(ended.stdout)
    assert points["old"] + points["new"] == points["points"]
    return points


@pytest.mark.parametrize("mode", ["kill", "fail"])
@pytest.mark.parametrize("name", CHANGES)
def test_old_or_new_after_some_calls(place: Path, name: str, mode: str) -> None:
    assert run(place, name, mode, _SHARE)["points"] >= 2


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["kill", "fail", "time"])
@pytest.mark.parametrize("name", CHANGES)
def test_old_or_new_after_every_call(place: Path, name: str, mode: str) -> None:
    points = run(place, name, mode, 1)
    assert points["points"] >= 20
    assert points["old"] and points["new"]


def test_short_writes_are_carried_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_pwrite, real_pwritev = os.pwrite, os.pwritev
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real_pwrite(fd, data[:3], at))
    monkeypatch.setattr(os, "pwritev", lambda fd, views, at: real_pwritev(fd, [views[0][:5]], at))
    folder = build(tmp_path, range(20))
    assert contents(verify(folder)) == {number: image(number) for number in range(20)}


class Recorder:
    """Which files and folders were forced to the disk when the manifest switched."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.synced, self.switches = folder, set[str](), 0
        self._fsync, self._replace = os.fsync, os.replace
        monkeypatch.setattr(os, "fsync", self.fsync)
        monkeypatch.setattr(os, "replace", self.replace)

    def fsync(self, descriptor: int) -> None:
        self._fsync(descriptor)
        self.synced.add(str(Path(f"/proc/self/fd/{descriptor}").readlink()))

    def replace(self, source: Any, target: Any, **named: Any) -> None:
        if Path(target).name == "manifest.json":
            self.switches += 1
            manifest = json.loads(Path(source).read_text())
            made = [self.folder / "segments" / entry["name"] for entry in manifest["segments"]]
            new = {*made[-1:], *(path for part in made[-1:] for path in part.iterdir())}
            if manifest["tombstones"]:
                new = {self.folder / "tombstones" / manifest["tombstones"]["file"]}
            folders = {parent for path in new for parent in path.parents}
            folders = {parent for parent in folders if parent.is_relative_to(self.folder)}
            needed = {str(path) for path in (*new, *folders, Path(source))}
            assert needed <= self.synced, needed - self.synced
        self._replace(source, target, **named)
        self.synced.clear()


def test_all_is_on_the_disk_before_the_switch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(tmp_path / "index", monkeypatch)
    folder = build(tmp_path, range(20))
    more = code_file(tmp_path / "more.h5", range(20, 30))
    with CodeSet(more) as codes, IndexWriter(folder) as writer:
        writer.add(codes)
        writer.remove([2, 25])
        writer.compact()
    assert recorder.switches == 4


def test_what_a_dead_writer_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    folder = build(tmp_path, range(5))
    for name in ("segments/000009/features.npy", "tombstones/000009.npy", "model/000009/mean",
                 "segments/notes/mine.txt", "mine.txt", f"manifest.json{PARTIAL}"):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    with IndexWriter(folder):
        pass
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    named = set(open_generation(folder).files)
    assert found - named == {"lock", "manifest.json", "mine.txt", "segments/notes/mine.txt"}
