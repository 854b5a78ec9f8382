"""Files and folders that appear whole or not at all: write beside, fsync, rename."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import StorageError

PARTIAL = ".partial"
_CHUNK = 1 << 22


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it takes the name `path` on success.

    On any failure `path` is as it was and the partial file is gone.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    partial = path.with_name(path.name + PARTIAL)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            fsync(partial)
            partial.replace(path)
            fsync(path.parent)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


@contextmanager
def atomic_folder(path: Path, durable: bool = True) -> Iterator[Path]:
    """Yield an empty folder beside `path`; on success it replaces `path`.

    On any failure `path` is as it was and the partial folder is gone. What can be made
    again at once need not be `durable`: it may then be lost with the power, not before.

    Raises:
        StorageError: the disk is full or the parent cannot be written.
    """
    partial = path.with_name(path.name + PARTIAL)
    old = path.with_name(path.name + ".old")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _recover(path, old)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            yield partial
            if durable:
                for file in (*partial.rglob("*"), partial):
                    fsync(file)
            if path.exists():
                path.rename(old)
            partial.rename(path)
            fsync(path.parent)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            _recover(path, old)
            raise
        shutil.rmtree(old, ignore_errors=True)


def _recover(path: Path, old: Path) -> None:
    """Undo or finish a replacement that was cut short between its two renames."""
    if old.exists() and not path.exists():
        old.rename(path)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write `path` into `StorageError`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            problem = f"{path}: the disk is full"
            raise StorageError(problem, "free some room and run again") from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            where = error.filename or path
            raise StorageError(f"{where}: cannot be written", "check its permissions") from error
        if error.errno in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR):
            where = error.filename or path
            raise StorageError(f"{where}: something else is there", "choose a new path") from error
        raise


def fsync(path: Path) -> None:
    """Force a file's or folder's content to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def reserve(path: Path, size: int) -> None:
    """Give an existing file `size` bytes of disk now.

    A disk that fills up under a memory map kills the process, and one that fills up
    under HDF5 breaks it; reserved first, a full disk is an ordinary error.

    Raises:
        OSError: the disk has no room (`storage_errors` gives it words).
    """
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, size)


def require_room(path: Path, needed: int) -> None:
    """Raise `StorageError` if the disk of `path` has less than `needed` bytes free."""
    folder = path
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StorageError(
            f"{path}: needs {needed / 1e6:,.0f} MB, the disk has {free / 1e6:,.0f} MB free",
            "free some room or choose another disk",
        )
