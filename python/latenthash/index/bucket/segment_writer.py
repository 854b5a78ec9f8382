"""Writing a segment: any number of images in bounded memory, forced to the disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ...files import fsync, reserve
from ...hamming import Codes
from ...parallel import ordered_map
from ...progress import Progress, silent
from . import layout
from .arrays import file_bytes, header, write_array
from .checksum import checksum
from .segment import as_keys
from .storage_types import Scale, store

Block = tuple[NDArray[np.int64], NDArray[np.floating]]
_BLOCK_BYTES = 1 << 28  # of features as float32; three blocks are in memory
_READERS = 2
_VIEWS = 512  # rows in one write
_NAMES = 1 << 16


@dataclass(frozen=True)
class Items:
    """Images of a segment, by position.

    Attributes:
        ids: (N,) int64, ascending.
        codes: (N, W) uint8, packed.
        labels: (N,) int32, -1 unknown.
        content: (N, 32) uint8, zeros where unknown.
        names: N names as stored (see `segment.encode`).
        features: called with a number of rows, yields functions that read about so many:
            (positions (M,), features (M, D)); in the end every position was there once.
    """

    ids: NDArray[np.int64]
    codes: Codes
    labels: NDArray[np.int32]
    content: NDArray[np.uint8]
    names: Sequence[bytes]
    features: Callable[[int], Iterable[Callable[[], Block]]]


def write_segment(
    folder: Path,
    items: Items,
    bits: int,
    dim: int,
    storage: str,
    scale: Scale | None = None,
    on_progress: Progress = silent,
) -> dict[str, Any]:
    """Write the segment `folder`, which must not exist, durably.

    Args:
        folder: of the segment; its name is the segment's.
        items: at least one image.
        bits: of a code.
        dim: values of a feature.
        storage: float32, float16 or int8.
        scale: (D,) float32 for int8.
        on_progress: told of images.

    Returns:
        The segment's entry in the manifest.

    Raises:
        OSError: the disk refuses (`files.storage_errors` gives it words).
        DataError: too many images for one segment.
    """
    if len(items.ids) > layout.MOST_IMAGES:
        raise DataError(f"{len(items.ids)} images", "build in parts and add them")
    folder.mkdir(parents=True)
    buckets, offsets, order = group(items.codes)
    rows = np.empty_like(order)
    rows[order] = np.arange(len(order), dtype=order.dtype)
    write_array(folder / layout.BUCKETS, buckets)
    write_array(folder / layout.OFFSETS, offsets)
    write_array(folder / layout.POSITIONS, order)
    write_array(folder / layout.ROWS, rows)
    _write_items(folder, items)
    if scale is not None:
        write_array(folder / layout.SCALE, scale)
    halfway, done = _halves(len(order), on_progress)
    features = _FeatureFile(folder / layout.FEATURES, (len(order), dim), storage, scale)
    features.write(items, rows, halfway)
    with ThreadPoolExecutor(1) as pool:  # the disk is busy meanwhile
        forced = pool.submit(fsync, folder / layout.FEATURES)
        files = _checksums(folder, done)
        forced.result()
    fsync(folder)
    fsync(folder.parent)
    fsync(folder.parent.parent)
    return {
        "name": folder.name,
        "images": len(order),
        "buckets": len(buckets),
        "files": files,
    }


def _halves(images: int, on_progress: Progress) -> tuple[Progress, Progress]:
    """Writing is told as the first half of the images, checking as the second."""
    return (
        lambda done, total: on_progress(done * images // (2 * total), images),
        lambda done, total: on_progress((total + done) * images // (2 * total), images),
    )


def group(
    codes: Codes,
) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int32]]:
    """Group equal codes.

    Args:
        codes: (N, W) uint8, packed, N >= 1.

    Returns:
        (K, words) uint64 distinct codes ascending by bytes, (K + 1,) offsets, and (N,)
        positions in bucket order, ascending within a bucket.
    """
    # for code in sorted(set(codes)): rows += [row for row in range(N) if codes[row] == code]
    padded = np.pad(codes, ((0, 0), (0, -codes.shape[1] % 8)))
    keys = padded.view(">u8").astype(np.uint64)  # order of numbers = order of bytes
    order = np.lexsort(keys.T[::-1]).astype(np.int32)
    changes = np.zeros(len(codes), dtype=bool)
    for column in keys.T:
        ordered = column[order]
        changes[1:] |= ordered[1:] != ordered[:-1]
    changes[0] = True
    starts = np.flatnonzero(changes)
    return padded[order[starts]].view("<u8"), np.append(starts, len(codes)), order


def _write_items(folder: Path, items: Items) -> None:
    """What is known of each image, and the orders that finding by name and content needs."""
    write_array(folder / layout.IDS, items.ids)
    write_array(folder / layout.LABELS, items.labels)
    write_array(folder / layout.CONTENT, items.content)
    content_order = np.argsort(as_keys(items.content), kind="stable")
    write_array(folder / layout.CONTENT_ORDER, content_order.astype(np.int32))
    names = items.names
    name_order = sorted(range(len(names)), key=names.__getitem__)
    write_array(folder / layout.NAME_ORDER, np.array(name_order, dtype=np.int32))
    offsets = np.zeros(len(names) + 1, dtype=np.int64)
    np.cumsum(np.fromiter(map(len, names), np.int64, len(names)), out=offsets[1:])
    write_array(folder / layout.NAME_OFFSETS, offsets)
    with (folder / layout.NAMES).open("wb") as file:
        for start in range(0, len(names), _NAMES):
            file.write(b"".join(names[start : start + _NAMES]))
    fsync(folder / layout.NAMES)


class _FeatureFile:
    """Scatters features, read in the order of their source, to their rows.

    Each block is written in ascending order of rows; plain writes, because a full disk
    under a memory map kills the process, and mapped pages would count as memory.
    """

    def __init__(
        self, path: Path, shape: tuple[int, int], storage: str, scale: Scale | None
    ) -> None:
        self._path, self._shape, self._storage, self._scale = path, shape, storage, scale
        self._dtype = np.dtype(layout.STORAGE[storage])
        self._start = len(header(self._dtype, shape))
        self._row_bytes = shape[1] * self._dtype.itemsize

    def write(self, items: Items, rows: NDArray[np.int32], on_progress: Progress) -> None:
        """Write all; what is written is not forced to the disk."""
        self._path.touch(exist_ok=False)
        reserve(self._path, file_bytes(self._dtype, self._shape))
        block_rows = max(1, _BLOCK_BYTES // (4 * self._shape[1]))
        written = 0
        descriptor = os.open(self._path, os.O_WRONLY)
        try:
            _write_all(descriptor, [memoryview(header(self._dtype, self._shape))], 0)
            # the next blocks are read and converted while this one is written
            blocks = ordered_map(self._stored, items.features(block_rows), _READERS, ahead=2)
            for positions, values in blocks:
                self._scatter(descriptor, rows[positions], values)
                written += len(positions)
                on_progress(written, len(rows))
        finally:
            os.close(descriptor)
        if written != len(rows):
            raise DataError(f"features of {written} images instead of {len(rows)}", "extract again")

    def _stored(self, read: Callable[[], Block]) -> tuple[NDArray[np.int64], NDArray[Any]]:
        positions, features = read()
        return positions, store(features, self._storage, self._scale)

    def _scatter(self, descriptor: int, rows: NDArray[np.int32], values: NDArray[Any]) -> None:
        order = np.argsort(rows, kind="stable")
        rows = rows[order]
        breaks = np.flatnonzero(np.diff(rows) != 1) + 1
        size, data = self._row_bytes, values.reshape(-1).view(np.uint8).data
        for first, last in zip([0, *breaks.tolist()], [*breaks.tolist(), len(rows)], strict=True):
            for start in range(first, last, _VIEWS):
                part = order[start : min(start + _VIEWS, last)].tolist()
                views = [data[at * size : (at + 1) * size] for at in part]
                _write_all(descriptor, views, self._start + int(rows[start]) * size)


def _write_all(descriptor: int, views: list[memoryview], place: int) -> None:
    """Write buffers one after the other at `place`, however little each call takes."""
    written = os.pwritev(descriptor, views, place)
    if written == sum(map(len, views)):
        return
    rest = memoryview(b"".join(views))[written:]
    while rest:
        place += written
        written = os.pwrite(descriptor, rest, place)
        rest = rest[written:]


def _checksums(folder: Path, on_progress: Progress) -> dict[str, dict[str, Any]]:
    files = sorted(folder.iterdir())
    sizes = [path.stat().st_size for path in files]
    result, before = {}, 0
    for path, size in zip(files, sizes, strict=True):
        digest = checksum(path, partial(_report, on_progress, before, sum(sizes)))
        result[path.name] = {"bytes": size, "sha256": digest}
        before += size
    return result


def _report(on_progress: Progress, before: int, total: int, done: int) -> None:
    on_progress(before + done, total)
