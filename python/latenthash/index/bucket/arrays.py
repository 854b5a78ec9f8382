"""Arrays in .npy files: written with a known header, mapped only if they have it.

The header is a function of type and shape, so that a reader compares bytes instead of
trusting what a damaged file says about itself.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ...errors import StorageError
from ...files import fsync

_MAGIC = b"\x93NUMPY\x01\x00"
_PAGE = 4096  # rows of features then lie in whole pages
_LINE = 64
REMEDY = "build the index again or put back a copy"
Shape = tuple[int, ...]


def header(dtype: DTypeLike, shape: Shape) -> bytes:
    """Start of an .npy file, version 1.0; the values of wide arrays begin at a page."""
    kind = np.dtype(dtype)
    text = f"{{'descr': {kind.str!r}, 'fortran_order': False, 'shape': {tuple(shape)!r}, }}"
    align = _PAGE if len(shape) == 2 and kind.kind != "u" else _LINE
    room = -(len(_MAGIC) + 2 + len(text) + 1) % align
    body = f"{text}{' ' * room}\n".encode()
    return _MAGIC + len(body).to_bytes(2, "little") + body


def file_bytes(dtype: DTypeLike, shape: Shape) -> int:
    """Length of the file of an array."""
    count = 1
    for length in shape:
        count *= length
    return len(header(dtype, shape)) + count * np.dtype(dtype).itemsize


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array to a new file and force it to the disk."""
    with path.open("wb") as file:
        file.write(header(array.dtype, array.shape))
        file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    fsync(path)


def map_file(path: Path, size: int) -> mmap.mmap | bytes:
    """Map a file of `size` bytes for reading; an empty one is b"".

    Raises:
        StorageError: it is missing or has another length.
    """
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno()).st_size
            if found != size:
                raise StorageError(f"{path}: {found} bytes instead of {size}", REMEDY)
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
    except FileNotFoundError as error:
        raise StorageError(f"{path}: missing", REMEDY) from error
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}", REMEDY) from error


def view_array(
    mapped: mmap.mmap | bytes, dtype: DTypeLike, shape: Shape, path: Path
) -> NDArray[Any]:
    """The array in a mapped .npy file, read-only.

    Raises:
        StorageError: the file is of another type or shape.
    """
    start = header(dtype, shape)
    if mapped[: len(start)] != start or len(mapped) != file_bytes(dtype, shape):
        raise StorageError(f"{path}: is no {np.dtype(dtype).name} array of {shape}", REMEDY)
    return np.frombuffer(mapped, dtype, offset=len(start)).reshape(shape)


def open_array(path: Path, dtype: DTypeLike, shape: Shape) -> NDArray[Any]:
    """Map the array in `path`, read-only.

    Raises:
        StorageError: missing, or of another length, type or shape.
    """
    return view_array(map_file(path, file_bytes(dtype, shape)), dtype, shape, path)
