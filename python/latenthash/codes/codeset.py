"""`CodeSet`: what is known of each image of a set, in one HDF5 file, streamed.

Datasets, one row an image: `names` (UTF-8), `labels` (int32, -1 unknown), `features`
(float16, N x D), `codes` (packed bits, uint8, N x W), `content` (SHA-256 of the image,
uint8, N x 32). The attribute `manifest` holds the stage's manifest as JSON.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import h5py
import numpy as np
from numpy.typing import NDArray

from ..closing import Closing
from ..errors import DataError
from ..files import atomic_file, reserve
from ..hamming import Codes, width
from ..manifest import FORMAT, Manifest

Features = NDArray[np.float16]
Encode = Callable[[Features], Codes]
_CHUNK_BYTES = 1 << 20
_ROW_BYTES = 320  # name, label, hash and HDF5's own, generously
_FILE_BYTES = 4 << 20  # chunks that are not full, and HDF5's own


@dataclass(frozen=True)
class Rows:
    """Some rows of a code set, in memory.

    Attributes:
        names: N names, unique in their set.
        labels: (N,) int32, -1 where unknown.
        features: (N, D) float16.
        codes: (N, W) uint8, packed.
        content: (N, 32) uint8, SHA-256 of each image.
    """

    names: list[str]
    labels: NDArray[np.int32]
    features: Features
    codes: Codes
    content: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.names)


def file_size(rows: int, bits: int, dim: int) -> int:
    """Bytes that a code file of so many rows takes at most."""
    return rows * (2 * dim + width(bits) + _ROW_BYTES) + _FILE_BYTES


class CodeWriter:
    """Appends rows to a new HDF5 file; nobody sees it before it is closed whole."""

    def __init__(self, path: Path, bits: int, dim: int, rows: int) -> None:
        """Open `path` for writing.

        Args:
            path: written beside, then renamed.
            bits: of a code.
            dim: values of a feature.
            rows: how many at most will come; their room is reserved.

        Raises:
            StorageError: the disk is full or cannot be written.
        """
        with ExitStack() as stack:
            self._path = stack.enter_context(atomic_file(path))
            self._file = stack.enter_context(h5py.File(self._path, "w", track_order=True))
            reserve(self._path, file_size(rows, bits, dim))
            self._stack = stack.pop_all()
        chunk = max(1, _CHUNK_BYTES // (2 * dim))
        self._new("names", (), h5py.string_dtype(), 4096)
        self._new("labels", (), np.dtype(np.int32), 4096)
        self._new("features", (dim,), np.dtype(np.float16), chunk)
        self._new("codes", (width(bits),), np.dtype(np.uint8), 4096)
        self._new("content", (32,), np.dtype(np.uint8), 4096)

    def _new(self, name: str, shape: tuple[int, ...], dtype: np.dtype, rows: int) -> None:
        self._file.create_dataset(
            name, (0, *shape), dtype, maxshape=(None, *shape), chunks=(rows, *shape)
        )

    def append(self, rows: Rows) -> None:
        """Append rows; all columns have the same length."""
        for name in ("names", "labels", "features", "codes", "content"):
            dataset, values = self._file[name], getattr(rows, name)
            if name == "names":  # bytes of a file name that are no UTF-8 pass as they are
                values = [text.encode(errors="surrogateescape") for text in values]
            start = len(dataset)
            dataset.resize(start + len(values), axis=0)
            dataset[start:] = values

    def finish(self, manifest: Manifest) -> None:
        """Attach the manifest; the file becomes visible when the context ends."""
        self._file.attrs["manifest"] = json.dumps(manifest, sort_keys=True)
        self._file.flush()
        size = self._file.id.get_filesize()
        self._file.close()
        os.truncate(self._path, size)  # gives back what was reserved and not needed

    def __enter__(self) -> CodeWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)


class CodeSet(Closing):
    """A code file open for reading; features stay on disk until asked for."""

    def __init__(self, path: Path) -> None:
        """Open `path`.

        Raises:
            DataError: missing, truncated, or no code file of this format.
        """
        self.path = path
        self._file = _open(path)
        try:
            self.manifest = _manifest(self._file, path)
        except DataError:
            self._file.close()
            raise
        self.bits: int = self.manifest["bits"]

    def __len__(self) -> int:
        return len(self._file["labels"])

    @property
    def dim(self) -> int:
        """Values of a feature."""
        return int(self._file["features"].shape[1])

    @property
    def names(self) -> list[str]:
        """Names of all images."""
        return list(self._file["names"].asstr(errors="surrogateescape")[:])

    @property
    def labels(self) -> NDArray[np.int32]:
        """(N,) int32, -1 where unknown."""
        return np.asarray(self._file["labels"][:])

    @property
    def codes(self) -> Codes:
        """(N, W) uint8, packed."""
        return np.asarray(self._file["codes"][:])

    @property
    def content(self) -> NDArray[np.uint8]:
        """(N, 32) uint8: SHA-256 of each image."""
        return np.asarray(self._file["content"][:])

    def features(self, start: int = 0, stop: int | None = None) -> Features:
        """(stop - start, D) float16, read now."""
        return np.asarray(self._file["features"][start:stop])

    def rows(self, start: int, stop: int) -> Rows:
        """Rows start..stop, in memory."""
        part = slice(start, stop)
        columns = (np.asarray(self._file[name][part]) for name in ("labels", "features"))
        labels, features = columns
        return Rows(
            names=list(self._file["names"].asstr(errors="surrogateescape")[part]),
            labels=labels,
            features=features,
            codes=np.asarray(self._file["codes"][part]),
            content=np.asarray(self._file["content"][part]),
        )

    def blocks(self, rows: int = 4096) -> Iterator[Rows]:
        """All rows in order, `rows` at a time."""
        for start in range(0, len(self), rows):
            yield self.rows(start, start + rows)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _open(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        problem = "no such file" if not path.exists() else "is no whole HDF5 file"
        raise DataError(f"{path}: {problem}", "run extract.py") from error


def _manifest(file: h5py.File, path: Path) -> Manifest:
    text = file.attrs.get("manifest")
    if text is None or not {"names", "labels", "features", "codes", "content"} <= set(file):
        raise DataError(f"{path}: is no code file", "give the output of extract.py")
    manifest: Manifest = json.loads(text)
    if manifest.get("format", 0) > FORMAT:
        raise DataError(f"{path}: written by a newer version", "update latenthash")
    return manifest


def merge(
    parts: Sequence[Path], path: Path, manifest: Manifest, encode: Encode | None = None
) -> None:
    """Join code files of one network into `path`, streamed; the parts stay.

    Args:
        parts: one or more.
        path: replaced whole.
        manifest: of the result; tells how many bits its codes have.
        encode: gives the codes anew, from the features; None keeps those of the parts.
    """
    count = 0
    for part in parts:
        with CodeSet(part) as codes:
            count, dim = count + len(codes), codes.dim
    with CodeWriter(path, manifest["bits"], dim, count) as writer:
        for part in parts:
            with CodeSet(part) as codes:
                for rows in codes.blocks():
                    writer.append(replace(rows, codes=encode(rows.features)) if encode else rows)
        writer.finish(manifest)
