"""One writer at a time: a lock that the kernel frees when its process dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import StorageError
from ...files import storage_errors
from . import layout


@contextmanager
def writer_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of the index in `folder`.

    Raises:
        StorageError: another process holds it, or the folder cannot be written.
    """
    path = folder / layout.LOCK
    with storage_errors(path):
        descriptor = _acquire(path)
    try:
        yield
    finally:
        os.close(descriptor)


def _acquire(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if _locked(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # a build that failed took its lock file away: make a new one


def _locked(descriptor: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
        problem = f"{path.parent}: is being changed by process {holder or 'unknown'}"
        raise StorageError(problem, "run again when it is done") from error
    if not _is_file(descriptor, path):
        return False
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except OSError:
        path.unlink()
        raise
    return True


def _is_file(descriptor: int, path: Path) -> bool:
    """Whether `path` still is the file that was opened."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
