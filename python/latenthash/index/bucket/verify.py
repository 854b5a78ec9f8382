"""Checking all of an index: every checksum, then everything that the arrays promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import StorageError
from ...hamming import unpack
from ...progress import Progress, silent
from . import layout
from .arrays import REMEDY, open_array
from .checksum import checksum
from .generation import Generation, open_generation
from .segment import Segment, as_keys

_SHOWN = 5
_CODES = 1 << 16


def verify(folder: Path, on_progress: Progress = silent) -> Generation:
    """Check the current generation of an index.

    Args:
        folder: of the index.
        on_progress: told of megabytes.

    Returns:
        What was checked.

    Raises:
        DataError: no index there, or one of a newer format.
        StorageError: something is damaged; the message names the files.
    """
    generation = open_generation(folder)
    damaged = _damaged_files(generation, on_progress)
    if damaged:
        more = f" and {len(damaged) - _SHOWN} more" if len(damaged) > _SHOWN else ""
        names = ", ".join(map(str, damaged[:_SHOWN]))
        raise StorageError(f"{names}{more}: damaged", REMEDY)
    last = -1
    for segment in generation.segments:
        _check_codes(segment, generation.manifest["bits"])
        _check_rows(segment)
        _check_items(segment)
        _require(segment.ids[0] > last, segment, layout.IDS)
        last = int(segment.ids[-1])
    _check_totals(generation, last)
    return generation


def _damaged_files(generation: Generation, on_progress: Progress) -> list[Path]:
    total, before, damaged = sum(known["bytes"] for known in generation.files.values()), 0, []
    for name, known in generation.files.items():
        path, start = generation.folder / name, before

        def report(done: int, start: int = start) -> None:
            on_progress((start + done) // 10**6, total // 10**6)

        if checksum(path, report) != known["sha256"]:
            damaged.append(path)
        before += known["bytes"]
    return damaged


def _require(fits: bool | np.bool_, segment: Segment, file: str) -> None:
    if not fits:
        raise StorageError(f"{segment.folder / file}: contradicts the others", REMEDY)


def _ascends(values: NDArray[np.integer]) -> bool:
    return bool((values[1:] > values[:-1]).all())


def _is_permutation(values: NDArray[np.int32]) -> bool:
    return bool((np.bincount(values, minlength=len(values)) == 1).all())


def _check_codes(segment: Segment, bits: int) -> None:
    """Distinct, ascending by bytes, padding zero."""
    keys = segment.buckets.view(np.uint8).view(">u8").astype(np.uint64)
    order = np.lexsort(keys.T[::-1])
    _require((order == np.arange(len(keys))).all(), segment, layout.BUCKETS)
    _require((keys[1:] != keys[:-1]).any(axis=1).all(), segment, layout.BUCKETS)
    for start in range(0, len(keys), _CODES):
        codes = segment.buckets[start : start + _CODES].view(np.uint8)
        padding = unpack(codes, 8 * codes.shape[1])[:, bits:]
        _require(not padding.any(), segment, layout.BUCKETS)


def _check_rows(segment: Segment) -> None:
    """Rows and positions are each other's inverse, positions ascend within a bucket."""
    _require(_is_permutation(segment.positions), segment, layout.POSITIONS)
    inverse = segment.rows[segment.positions] == np.arange(segment.images)
    _require(inverse.all(), segment, layout.ROWS)
    first_of_bucket = np.zeros(segment.images, dtype=bool)
    first_of_bucket[segment.offsets[:-1]] = True
    steps = np.diff(segment.positions) > 0
    _require((steps | first_of_bucket[1:]).all(), segment, layout.POSITIONS)


def _check_items(segment: Segment) -> None:
    _require(_ascends(segment.ids), segment, layout.IDS)
    _require(segment.labels.min() >= -1, segment, layout.LABELS)
    if segment.scale is not None:
        fits = np.isfinite(segment.scale) & (segment.scale > 0)
        _require(fits.all(), segment, layout.SCALE)
    content = as_keys(segment.content)
    order = _order(segment, layout.CONTENT_ORDER)
    _require((content[order][1:] >= content[order][:-1]).all(), segment, layout.CONTENT_ORDER)
    _check_names(segment)


def _order(segment: Segment, file: str) -> NDArray[np.int32]:
    order: NDArray[np.int32] = open_array(segment.folder / file, "<i4", (segment.images,))
    _require(order.min() >= 0 and order.max() < segment.images, segment, file)
    _require(_is_permutation(order), segment, file)
    return order


def _check_names(segment: Segment) -> None:
    ends = open_array(segment.folder / layout.NAME_OFFSETS, "<i8", (segment.images + 1,))
    _require(ends[0] == 0 and (np.diff(ends) >= 0).all(), segment, layout.NAME_OFFSETS)
    _require(ends[-1] == len(segment.maps[layout.NAMES]), segment, layout.NAME_OFFSETS)
    before = b""
    for position in _order(segment, layout.NAME_ORDER).tolist():
        name = segment.name_bytes(position)
        _require(name >= before, segment, layout.NAME_ORDER)
        before = name


def _check_totals(generation: Generation, last: int) -> None:
    facts = generation.manifest
    fits = (
        last < facts["next_id"]
        and facts["images"] == sum(segment.live_images for segment in generation.segments)
        and facts["buckets"] == sum(len(segment.buckets) for segment in generation.segments)
    )
    if not fits:
        path = generation.folder / layout.MANIFEST
        raise StorageError(f"{path}: its counts contradict the segments", REMEDY)
