"""Writing image databases, whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType

import lmdb
import numpy as np
from numpy.typing import NDArray

from ..errors import StorageError
from ..files import atomic_folder
from ..manifest import new_manifest, write_manifest
from .datums import LONGEST_KEY, QUALITY, Encoding, encode_datum

MANIFEST = "manifest.json"
STAGE = "lmdb"

_FIRST_MAP_SIZE = 1 << 26
_BATCH_BYTES = 1 << 24


class DatumWriter:
    """Writes an LMDB of Datums; `path` appears when the context ends well, or not at all.

    The same puts give the same bytes. Beside the data lies `manifest.json` with the
    number of Datums and a hash of the content.

    Raises:
        StorageError: the disk is full or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._count = 0
        self._batch: list[tuple[bytes, bytes]] = []
        self._batch_bytes = 0
        self._last_key = b""
        self._hash = hashlib.sha256()
        self._context = ExitStack()

    def __enter__(self) -> DatumWriter:
        with ExitStack() as stack:
            self._folder = stack.enter_context(atomic_folder(self.path))
            stack.enter_context(_write_errors(self.path))
            # The folder is synchronised when it is whole, not at every commit.
            self._env = lmdb.open(
                str(self._folder), map_size=_FIRST_MAP_SIZE, sync=False, lock=False
            )
            stack.callback(self._env.close)
            stack.push(self._finish)
            self._context = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._context.__exit__(kind, error, trace)

    def put(
        self,
        key: str,
        pixels: NDArray[np.uint8],
        label: int,
        encoding: Encoding = "raw",
        quality: int = QUALITY,
    ) -> None:
        """Append an image: (H, W, C) uint8, BGR or gray. Keys must ascend.

        Raises:
            ValueError: the key is empty, too long or not beyond the last one.
        """
        self.put_datum(key, encode_datum(pixels, label, encoding, quality))

    def put_datum(self, key: str, datum: bytes) -> None:
        """Append what `encode_datum` made, perhaps in another thread.

        Raises:
            ValueError: as `put`.
        """
        raw_key = os.fsencode(key)
        if not self._last_key < raw_key or len(raw_key) > LONGEST_KEY:
            raise ValueError(f"key {key!r} after {self._last_key!r}")
        self._last_key = raw_key
        self._hash.update(f"{len(raw_key)} {len(datum)} ".encode() + raw_key)
        self._hash.update(datum)
        self._batch.append((raw_key, datum))
        self._batch_bytes += len(datum)
        self._count += 1
        if self._batch_bytes >= _BATCH_BYTES:
            with _write_errors(self.path):
                self._flush()

    @property
    def content_hash(self) -> str:
        """Hash of all keys and Datums so far."""
        return self._hash.hexdigest()

    def _flush(self) -> None:
        while True:
            try:
                with self._env.begin(write=True) as transaction, transaction.cursor() as cursor:
                    cursor.putmulti(self._batch, append=True)
                break
            except lmdb.MapFullError:
                self._env.set_mapsize(2 * self._env.info()["map_size"])
        self._batch = []
        self._batch_bytes = 0

    def _finish(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._flush()
            manifest = new_manifest(STAGE, count=self._count, sha256=self.content_hash)
            write_manifest(manifest, self._folder / MANIFEST)


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except lmdb.Error as error:
        # A disk that fills up in the middle of a write is an I/O error to LMDB.
        full = shutil.disk_usage(path.parent).free < _BATCH_BYTES
        if full or isinstance(error, lmdb.DiskError):
            problem = f"{path}: the disk is full"
            raise StorageError(problem, "free some room and run again") from error
        raise StorageError(f"{path}: {error}", "check the disk") from error
