"""Sets that come as arrays: MNIST's idx files, CIFAR-10's batches, digits in a CSV."""

from __future__ import annotations

import _codecs
import gzip
import io
import pickle
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .base import Sample, Source, Split
from .folders import read_lines

_FETCH = "fetch it again"
_IDX_SPLITS: dict[str, Split] = {"train": "train", "t10k": "val"}
_IDX_IMAGES, _IDX_LABELS = 2051, 2049
_CIFAR_SIDE = 32
_CIFAR_BATCHES: dict[str, Split] = {
    **{f"data_batch_{number}": "train" for number in range(1, 6)},
    "test_batch": "val",
}
CIFAR_PYTHON, CIFAR_BINARY = "cifar-10-batches-py", "cifar-10-batches-bin"


def idx_files(folder: Path) -> dict[str, tuple[Path, Path]]:
    """{"train" or "t10k": (images, labels)} of MNIST's files that are there."""
    found = {}
    for part in _IDX_SPLITS:
        images = sorted(folder.glob(f"{part}-images[-.]idx3-ubyte*"))
        labels = sorted(folder.glob(f"{part}-labels[-.]idx1-ubyte*"))
        if images and labels:
            found[part] = (images[0], labels[0])
    return found


def read_idx(folder: Path) -> Source:
    """MNIST and sets of its form, gzipped or not; t10k is for validation.

    Raises:
        DataError: a file is damaged, or images and labels are not of the same number.
    """
    samples: list[Sample] = []
    for part, (images, labels) in idx_files(folder).items():
        pixels, numbers = _idx(images, _IDX_IMAGES, 3), _idx(labels, _IDX_LABELS, 1)
        if len(pixels) != len(numbers):
            raise DataError(f"{images}: {len(pixels)} images, {len(numbers)} labels", _FETCH)
        samples += _samples(part, pixels[..., None], numbers.tolist(), _IDX_SPLITS[part])
    return Source("MNIST idx files", _digits(samples), samples)


def _idx(file: Path, magic: int, dimensions: int) -> NDArray[np.uint8]:
    """Array of an idx file: magic number and sizes as big-endian int32, then bytes."""
    data = _contents(file)
    header = np.frombuffer(data[: 4 * (1 + dimensions)], dtype=">i4")
    shape = tuple(int(size) for size in header[1:])
    body = np.frombuffer(data, dtype=np.uint8)[4 * (1 + dimensions) :]
    if not header.size or header[0] != magic or len(shape) != dimensions:
        raise DataError(f"{file}: is no idx file of {dimensions} dimensions", _FETCH)
    if body.size != np.prod(shape):
        raise DataError(f"{file}: holds {body.size} bytes instead of {np.prod(shape)}", _FETCH)
    return body.reshape(shape)


def is_cifar(folder: Path, suffix: str) -> bool:
    """Whether CIFAR-10's batches lie in `folder`; suffix "" for Python's, ".bin" else."""
    return all((folder / f"{name}{suffix}").is_file() for name in ("data_batch_1", "test_batch"))


def read_cifar_python(folder: Path) -> Source:
    """CIFAR-10's Python batches; test_batch is for validation.

    Raises:
        DataError: a batch is missing, damaged, or holds anything but arrays.
    """
    batches = []
    for name, split in _CIFAR_BATCHES.items():
        batch = _unpickle(folder / name)
        try:
            planes = np.asarray(batch[b"data"], dtype=np.uint8)
            batches.append((name, planes, [int(label) for label in batch[b"labels"]], split))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{folder / name}: is no batch ({error!r})", _FETCH) from error
    meta = folder / "batches.meta"
    names = [n.decode() for n in _unpickle(meta)[b"label_names"]] if meta.is_file() else None
    return _cifar("CIFAR-10 Python batches", folder, batches, names)


def read_cifar_binary(folder: Path) -> Source:
    """CIFAR-10's binary batches: rows of a label and 3,072 bytes.

    Raises:
        DataError: a batch is missing or cut short.
    """
    batches = []
    for name, split in _CIFAR_BATCHES.items():
        data = np.frombuffer(_contents(folder / f"{name}.bin"), dtype=np.uint8)
        row = 1 + 3 * _CIFAR_SIDE**2
        if data.size == 0 or data.size % row:
            raise DataError(f"{folder / name}.bin: {data.size} bytes, no rows of {row}", _FETCH)
        rows = data.reshape(-1, row)
        batches.append((name, rows[:, 1:], rows[:, 0].tolist(), split))
    meta = folder / "batches.meta.txt"
    names = [name for name in read_lines(meta) if name] if meta.is_file() else None
    return _cifar("CIFAR-10 binary batches", folder, batches, names)


def _cifar(
    kind: str,
    folder: Path,
    batches: Iterable[tuple[str, NDArray[np.uint8], list[int], Split]],
    names: list[str] | None,
) -> Source:
    samples: list[Sample] = []
    for name, planes, labels, split in batches:
        if planes.shape != (len(labels), 3 * _CIFAR_SIDE**2):
            raise DataError(f"{folder / name}: pixels of shape {planes.shape}", _FETCH)
        rgb = planes.reshape(-1, 3, _CIFAR_SIDE, _CIFAR_SIDE)
        bgr = np.ascontiguousarray(rgb[:, ::-1].transpose(0, 2, 3, 1))
        samples += _samples(name, bgr, labels, split)
    digits = _digits(samples)
    return Source(kind, names if names and len(names) >= len(digits) else digits, samples)


def csv_side(line: str) -> int | None:
    """Side of the square images if a CSV line is pixels and a label; None otherwise."""
    cells = line.strip().split(",")
    side = int((len(cells) - 1) ** 0.5)
    fits = side > 1 and side * side == len(cells) - 1
    return side if fits and all(cell.strip().isdecimal() for cell in cells) else None


def read_csv(file: Path) -> Source:
    """Square gray images as CSV, gzipped or not: pixels row by row, then the label.

    Raises:
        DataError: a row of another form.
    """
    text = _contents(file).decode("ascii", errors="replace")
    side = csv_side(text.partition("\n")[0])
    if side is None:
        raise DataError(f"{file}: its first row is not pixels and a label", _FETCH)
    try:
        table = np.loadtxt(io.StringIO(text), delimiter=",", dtype=np.uint8, ndmin=2)
        pixels = table[:, :-1].reshape(-1, side, side, 1)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{file}: {error}", _FETCH) from error
    samples = _samples("row", pixels, table[:, -1].tolist(), None)
    return Source("CSV of pixels", _digits(samples), samples)


def _samples(
    prefix: str, pixels: NDArray[np.uint8], labels: list[int], split: Split | None
) -> list[Sample]:
    return [
        Sample(f"{prefix}_{row:05d}", label, pixels=pixels[row], split=split)
        for row, label in enumerate(labels)
    ]


def _digits(samples: list[Sample]) -> list[str]:
    return [str(label) for label in range(max((s.label for s in samples), default=-1) + 1)]


def first_line(file: Path) -> str:
    """First line, at most 64 kB, of a text file, gzipped or not; "" if it has none."""
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            return stream.readline(1 << 16).decode("utf-8", "surrogateescape")
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file}: cannot be read ({error})", "check the file") from error


def _contents(file: Path) -> bytes:
    try:
        data = file.read_bytes()
        return gzip.decompress(data) if file.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file}: cannot be read ({error})", _FETCH) from error


class _ArrayUnpickler(pickle.Unpickler):
    """Loads arrays and plain values only: a pickle can otherwise run any code."""

    def find_class(self, module: str, name: str) -> Any:
        """Only what NumPy arrays are made of, under NumPy's old and new names."""
        if name == "_reconstruct" and module.startswith("numpy."):
            return np.empty(0).__reduce__()[0]
        allowed = {
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("_codecs", "encode"): _codecs.encode,
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"refuses {module}.{name}")
        return allowed[module, name]


def _unpickle(file: Path) -> dict[bytes, Any]:
    data = io.BytesIO(_contents(file))
    try:
        batch = _ArrayUnpickler(data, encoding="bytes").load()
    except Exception as error:  # a damaged pickle raises anything
        raise DataError(f"{file}: is no batch of arrays ({error})", _FETCH) from error
    if not isinstance(batch, dict):
        raise DataError(f"{file}: is no batch of arrays", _FETCH)
    return batch
