from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from latenthash import files
from latenthash.errors import StorageError
from latenthash.files import atomic_file, atomic_folder, require_room, sha256


def test_a_file_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "new/deep/file"
    with atomic_file(path) as partial:
        partial.write_text("one")
        assert not path.exists()
    assert path.read_text() == "one"
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_file(path) as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    for content in ("one", "two"):
        with atomic_folder(path) as partial:
            (partial / content).write_text(content)
    assert [file.name for file in path.iterdir()] == ["two"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_folder(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").write_text("old")
    with pytest.raises(RuntimeError), atomic_folder(path) as partial:
        (partial / "half").write_text("half")
        raise RuntimeError
    assert [file.name for file in path.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("stop_before", ["rename", "rmtree"])
def test_a_kill_between_the_renames_loses_nothing(tmp_path: Path, stop_before: str) -> None:
    """Killed just before the second rename, or before the old folder is removed."""
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").write_text("old")
    code = f"""
import os, shutil, signal
from pathlib import Path
from latenthash.files import atomic_folder
calls = []
def deadly(function, fatal):
    def call(*args, **kwargs):
        calls.append(str(args[0]))
        if fatal(args): os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return call
if {stop_before!r} == "rename":
    Path.rename = deadly(Path.rename, lambda args: str(args[0]).endswith(".partial"))
else:
    shutil.rmtree = deadly(
        shutil.rmtree, lambda args: str(args[0]).endswith(".old") and os.path.exists(args[0]))
with atomic_folder(Path({str(path)!r})) as partial:
    (partial / "new").write_text("new")
"""
    ended = subprocess.run([sys.executable, "-c", code], check=False)
    assert ended.returncode == -signal.SIGKILL
    with pytest.raises(RuntimeError), atomic_folder(path):
        raise RuntimeError  # the next writer tidies up before it fails
    survivor = "old" if stop_before == "rename" else "new"
    assert [file.name for file in path.iterdir()] == [survivor]
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(StorageError, match=r"file: the disk is full"), atomic_file(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


def test_a_really_full_disk(tmp_path: Path) -> None:
    """/dev/full answers every write as a full disk does."""
    with (
        pytest.raises(StorageError, match=r"file: the disk is full"),
        atomic_file(tmp_path / "file") as partial,
    ):
        partial.symlink_to("/dev/full")
        partial.write_text("much")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_refuses_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "sub"))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StorageError, match="sub: cannot be written"), atomic_file(tmp_path / "a"):
        pass


def test_other_errors_pass_through(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "file"):
        (tmp_path / "nothing").read_text()


def test_sha256_of_a_file_longer_than_a_chunk(tmp_path: Path) -> None:
    data = os.urandom(files._CHUNK + 5)
    (tmp_path / "file").write_bytes(data)
    assert sha256(tmp_path / "file") == hashlib.sha256(data).hexdigest()


def test_room_is_checked_where_the_file_will_lie(tmp_path: Path) -> None:
    require_room(tmp_path / "not/yet/there", 1)
    with pytest.raises(StorageError, match="MB free"):
        require_room(tmp_path / "not/yet/there", 1 << 60)
