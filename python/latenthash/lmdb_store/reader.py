"""Reading image databases, ours or Caffe's own."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import lmdb
import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ..closing import Closing
from ..errors import DataError
from ..manifest import read_manifest
from ..proto.caffe_pb2 import Datum
from .writer import MANIFEST, STAGE

_DATA = "data.mdb"
_REBUILD = "build it again with build_lmdb.py"

# A process can open a file but once: (environment, readers) by device and inode.
_readers: dict[tuple[int, int], tuple[lmdb.Environment, int]] = {}
_open_lock = threading.Lock()


class DatumReader(Closing):
    """Reads an LMDB of Datums, raw or encoded. Close it, or use it as a context.

    Takes no lock, so that a read-only disk will do: do not read what is being written.
    Several may read the same LMDB.

    Args:
        path: the LMDB's folder.
        channels: force encoded Datums to 3 (BGR) or 1 (gray); None takes the first's.

    Raises:
        DataError: it is missing, empty, cut short, no LMDB, or holds no Datums.
    """

    def __init__(self, path: Path, channels: int | None = None) -> None:
        self.path = path
        self._env = _open(path)
        self._closed = False
        try:
            self._check_size()
            self._channels = channels
            self._channels, *size = self._pixels(self._first()).shape
            self.shape: tuple[int, int, int] = (self._channels, size[0], size[1])
            """(C, H, W) of the first image."""
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Free the file; calling again does nothing."""
        if not self._closed:
            self._closed = True
            _close(self._env)

    def __len__(self) -> int:
        return int(self._env.stat()["entries"])

    def __iter__(self) -> Iterator[tuple[str, NDArray[np.uint8], int]]:
        """Yield (key, pixels (C, H, W) uint8 BGR, label) in the order of the keys."""
        with self._env.begin(buffers=True) as transaction, transaction.cursor() as cursor:
            for key, value in cursor:
                datum = self._datum(value)
                yield os.fsdecode(bytes(key)), self._pixels(datum), datum.label

    def items(self) -> Iterator[tuple[str, bytes]]:
        """Yield (key, serialised Datum) in the order of the keys."""
        with self._env.begin() as transaction, transaction.cursor() as cursor:
            for key, value in cursor:
                yield os.fsdecode(key), value

    def labels(self) -> NDArray[np.int32]:
        """All labels in the order of the keys, without decoding images; (len,) int32."""
        labels = np.empty(len(self), dtype=np.int32)
        with self._env.begin(buffers=True) as transaction, transaction.cursor() as cursor:
            for row, value in enumerate(cursor.iternext(keys=False, values=True)):
                labels[row] = self._datum(value).label
        return labels

    @property
    def content_hash(self) -> str | None:
        """Hash of all keys and Datums, from the manifest; None if Caffe's tool wrote it."""
        path = self.path / MANIFEST
        return str(read_manifest(path, STAGE)["sha256"]) if path.exists() else None

    def _check_size(self) -> None:
        """Touching a page beyond the file's end would kill the process."""
        needed = (self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"]
        if (self.path / _DATA).stat().st_size < needed:
            raise DataError(f"{self.path}: is cut short", "copy or build it again")
        if not len(self):
            raise DataError(f"{self.path}: is empty", _REBUILD)

    def _first(self) -> Datum:
        with self._env.begin(buffers=True) as transaction, transaction.cursor() as cursor:
            cursor.first()
            return self._datum(cursor.value())

    def _datum(self, value: memoryview) -> Datum:
        datum = Datum()
        try:
            datum.ParseFromString(value)  # type: ignore[arg-type]  # takes any buffer
        except DecodeError as error:
            raise DataError(f"{self.path}: holds something else than Datums", _REBUILD) from error
        return datum

    def _pixels(self, datum: Datum) -> NDArray[np.uint8]:
        if datum.encoded:
            return self._decompress(datum.data)
        shape = (datum.channels, datum.height, datum.width)
        if len(datum.data) != np.prod(shape) or not datum.data:
            raise DataError(
                f"{self.path}: a Datum of shape {shape} has {len(datum.data)} bytes of pixels",
                _REBUILD,
            )
        return np.frombuffer(datum.data, dtype=np.uint8).reshape(shape)

    def _decompress(self, data: bytes) -> NDArray[np.uint8]:
        try:
            with Image.open(BytesIO(data)) as image:
                gray = image.mode == "L" if self._channels is None else self._channels == 1
                pixels = np.asarray(image.convert("L" if gray else "RGB"))
        except (UnidentifiedImageError, OSError, SyntaxError) as error:
            raise DataError(f"{self.path}: holds a damaged image ({error})", _REBUILD) from error
        # RGB to BGR, HWC to CHW
        return pixels[None] if gray else np.ascontiguousarray(pixels[:, :, ::-1].transpose(2, 0, 1))


def _open(path: Path) -> lmdb.Environment:
    if not path.is_dir():
        what = "is a file" if path.exists() else "no such folder"
        raise DataError(f"{path}: {what}", "give an LMDB's folder, as build_lmdb.py writes it")
    if not (path / _DATA).exists():
        inside = sorted(file.parent for file in path.glob(f"*/{_DATA}"))
        remedy = f"give {inside[0]}" if inside else _REBUILD
        raise DataError(f"{path}: holds no {_DATA}", remedy)
    status = (path / _DATA).stat()
    file = (status.st_dev, status.st_ino)
    with _open_lock:
        if file in _readers:
            env, count = _readers[file]
        else:
            env, count = _open_env(path), 0
        _readers[file] = env, count + 1
    return env


def _open_env(path: Path) -> lmdb.Environment:
    try:
        return lmdb.open(str(path), readonly=True, lock=False, create=False)
    except lmdb.Error as error:
        raise DataError(f"{path}: cannot be opened ({error})", _REBUILD) from error


def _close(env: lmdb.Environment) -> None:
    """Close an environment if no other reader has it."""
    with _open_lock:
        [(file, count)] = [(file, count) for file, (e, count) in _readers.items() if e is env]
        if count > 1:
            _readers[file] = env, count - 1
        else:
            del _readers[file]
            env.close()
