"""What a new segment is made of: images of a code set, or those of older segments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ...codes import CodeSet
from .segment import Segment
from .segment_writer import Block, Items

_RUN = 128  # rows of a sample that lie together


def items_of_codes(
    codes: CodeSet,
    kept: NDArray[np.int64],
    ids: NDArray[np.int64],
    names: Sequence[bytes],
    labels: NDArray[np.int32],
) -> Items:
    """Images of a code set.

    Args:
        codes: the set.
        kept: (N,) rows of it to take, ascending.
        ids: (N,) their ids.
        names: N names to store.
        labels: (N,).
    """
    return Items(
        ids=ids,
        codes=codes.codes[kept],
        labels=labels,
        content=codes.content[kept],
        names=names,
        features=partial(_blocks_of_codes, codes, kept),
    )


def _blocks_of_codes(
    codes: CodeSet, kept: NDArray[np.int64], rows: int
) -> Iterator[Callable[[], Block]]:
    for start in range(0, len(codes), rows):
        first, last = np.searchsorted(kept, (start, start + rows))
        if first < last:
            yield partial(_read_codes, codes, kept, int(first), int(last))


def _read_codes(codes: CodeSet, kept: NDArray[np.int64], first: int, last: int) -> Block:
    start, stop = int(kept[first]), int(kept[last - 1]) + 1
    block = codes.features(start, stop)
    if len(block) > last - first:
        block = block[kept[first:last] - start]
    return np.arange(first, last), block


def merged_classes(known: Sequence[str], codes: CodeSet) -> tuple[list[str], NDArray[np.int32]]:
    """Classes of both, the known ones first, and the set's labels in their numbers.

    A label that its set has no class for is unknown: -1.
    """
    own = list(codes.manifest.get("classes") or [])
    classes = [*known, *(name for name in own if name not in known)]
    numbers = np.array([*map(classes.index, own), -1], dtype=np.int32)
    labels = codes.labels
    inside = (labels >= 0) & (labels < len(own))
    return classes, numbers[np.where(inside, labels, len(own))]


def sample_of_codes(codes: CodeSet, kept: NDArray[np.int64], count: int) -> NDArray[np.float16]:
    """(S, D) features of about `count` of the images in runs spread over the set."""
    runs = max(1, count // _RUN)
    starts = np.unique(np.linspace(0, max(0, len(kept) - _RUN), runs).astype(int)).tolist()
    edges = [*starts[1:], len(kept)]
    return np.concatenate(
        [
            _read_codes(codes, kept, first, min(first + _RUN, edge))[1]
            for first, edge in zip(starts, edges, strict=True)
        ]
    )


def items_of_segments(segments: Sequence[Segment]) -> Items:
    """Live images of segments whose ids ascend from one to the next."""
    live = [segment.live_positions for segment in segments]
    pairs = list(zip(segments, live, strict=True))
    return Items(
        ids=np.concatenate([segment.ids[at] for segment, at in pairs]),
        codes=np.concatenate([segment.codes(at) for segment, at in pairs]),
        labels=np.concatenate([segment.labels[at] for segment, at in pairs]),
        content=np.concatenate([segment.content[at] for segment, at in pairs]),
        names=[segment.name_bytes(int(position)) for segment, at in pairs for position in at],
        features=partial(_blocks_of_segments, segments),
    )


def _blocks_of_segments(segments: Sequence[Segment], rows: int) -> Iterator[Callable[[], Block]]:
    before = 0
    for segment in segments:
        live = segment.live_positions
        places = np.full(segment.images, -1, dtype=np.int64)
        places[live] = before + np.arange(len(live))
        for start in range(0, segment.images, rows):
            yield partial(_read_segment, segment, places, start, start + rows)
        before += len(live)


def _read_segment(segment: Segment, places: NDArray[np.int64], start: int, stop: int) -> Block:
    positions = places[segment.positions[start:stop]]
    live = positions >= 0
    return positions[live], segment.restored(slice(start, stop))[live]
