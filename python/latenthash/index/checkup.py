"""Health, near-copies and names of an index as it lies on disk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..progress import Progress, silent
from .bucket.generation import Generation
from .duplicates import MAX_DISTANCE, RADIUS, Duplicates, Group, find_duplicates
from .health import Health, measure
from .rows import Part


def index_health(
    generation: Generation, queries: int = 200, seed: int = 0, on_progress: Progress = silent
) -> Health:
    """Measure the codes of an index; see `health.measure`."""
    parts = [(segment.buckets, segment.sizes) for segment in generation.segments]
    return measure(parts, generation.manifest["bits"], queries, seed, on_progress)


def index_duplicates(
    generation: Generation,
    radius: int = RADIUS,
    max_distance: float = MAX_DISTANCE,
    on_progress: Progress = silent,
) -> Duplicates:
    """Group the near-copies of an index; see `duplicates.find_duplicates`."""
    parts = [
        Part(
            codes=segment.buckets,
            offsets=segment.offsets,
            features=segment.features,
            ids=segment.ids[segment.positions],
            scale=segment.scale,
            live=segment.live,
        )
        for segment in generation.segments
    ]
    if not parts:
        return Duplicates([], 0)
    return find_duplicates(parts, generation.manifest["bits"], radius, max_distance, on_progress)


@dataclass(frozen=True)
class Copy:
    """A near-copy.

    Attributes:
        name: of the image.
        distance: cosine distance to the first of its group.
    """

    name: str
    distance: float


def named(generation: Generation, group: Group) -> list[Copy]:
    """Names of a group of near-copies, by id."""
    names = names_of(generation, group.ids)
    return [Copy(name, float(d)) for name, d in zip(names, group.distances, strict=True)]


def names_of(generation: Generation, ids: NDArray[np.int64]) -> list[str]:
    """Names of images that are in the index, in the order of `ids`."""
    names: dict[int, str] = {}
    for segment in generation.segments:
        at = np.minimum(np.searchsorted(segment.ids, ids), segment.images - 1)
        positions = at[segment.ids[at] == ids]
        names.update(zip(segment.ids[positions].tolist(), segment.names(positions), strict=True))
    return [names[number] for number in ids.tolist()]
