"""Caffe's image databases: Datum messages in an LMDB, written once, read by Caffe and us."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Literal

import lmdb
import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from .closing import Closing
from .errors import DataError, StorageError
from .files import atomic_folder
from .jpeg import compress
from .manifest import new_manifest, read_manifest, write_manifest
from .proto.caffe_pb2 import Datum

Encoding = Literal["raw", "jpeg", "png"]
MANIFEST = "manifest.json"
QUALITY = 95

_STAGE = "lmdb"
_DATA = "data.mdb"
_FIRST_MAP_SIZE = 1 << 26
_BATCH_BYTES = 1 << 24
_LONGEST_KEY = 511  # LMDB's limit
_REBUILD = "build it again with build_lmdb.py"

# A process can open a file but once: (environment, readers) by device and inode.
_readers: dict[tuple[int, int], tuple[lmdb.Environment, int]] = {}
_open_lock = threading.Lock()


def make_key(number: int, name: str) -> str:
    """Key as Caffe's convert_imageset makes it, "00000042_name", cut to LMDB's limit.

    The number keeps keys in order and unique even where names are cut.
    """
    key = os.fsencode(f"{number:08d}_{name}")[:_LONGEST_KEY]
    return key.decode("utf-8", "ignore") if len(key) == _LONGEST_KEY else f"{number:08d}_{name}"


def encode_datum(
    pixels: NDArray[np.uint8],
    label: int,
    encoding: Encoding = "raw",
    quality: int = QUALITY,
    stored: bytes | None = None,
) -> bytes:
    """Serialised Datum.

    Args:
        pixels: (H, W, C) uint8, BGR or gray.
        label: class number.
        encoding: "raw" (CHW bytes), or an image file's format.
        quality: of JPEG, 1 to 100.
        stored: an image file of just these pixels, taken as it is where `encoding` is
            not "raw".
    """
    height, width, channels = pixels.shape
    if encoding == "raw":
        data = pixels.transpose(2, 0, 1).tobytes()
    else:
        data = stored or _compress(pixels, encoding, quality)
    datum = Datum(
        channels=channels,
        height=height,
        width=width,
        data=data,
        label=label,
        encoded=encoding != "raw",
    )
    return datum.SerializeToString(deterministic=True)


def _compress(pixels: NDArray[np.uint8], encoding: Encoding, quality: int) -> bytes:
    if encoding == "jpeg":
        return compress(pixels, quality)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels[..., ::-1])
    file = BytesIO()
    image.save(file, encoding)
    return file.getvalue()


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
        if not self._last_key < raw_key or len(raw_key) > _LONGEST_KEY:
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
            manifest = new_manifest(_STAGE, count=self._count, sha256=self.content_hash)
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
        return str(read_manifest(path, _STAGE)["sha256"]) if path.exists() else None

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
