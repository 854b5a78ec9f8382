"""What an index is: codes and features of many images, searched coarse to fine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..distances import METRICS
from ..errors import DataError
from ..hamming import Codes

DEFAULT_CANDIDATES = 1000


@dataclass(frozen=True)
class SearchOptions:
    """How a query is answered; the same defaults everywhere.

    Attributes:
        top: hits wanted.
        metric: distance of the fine step: l2, chi2, cosine, l1 or linf.
        radius: take only buckets within this Hamming distance; None sets no limit.
        candidates: nearest buckets are taken until they hold at least this many images,
            the last ring (all buckets of one distance) whole; None sets no limit.
        max_distance: leave out hits farther than this under the metric.
    """

    top: int = 10
    metric: str = "l2"
    radius: int | None = None
    candidates: int | None = DEFAULT_CANDIDATES
    max_distance: float | None = None

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise DataError(f"metric {self.metric!r}", f"choose one of {', '.join(METRICS)}")
        for name in ("top", "candidates"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise DataError(f"{name} {value}", "give 1 or more")
        for name in ("radius", "max_distance"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise DataError(f"{name} {value}", "give 0 or more")


@dataclass(frozen=True)
class Hits:
    """Answer to one query, ordered by (distance, id).

    Attributes:
        ids: (k,) int64.
        hamming: (k,) uint16, distances between the codes.
        distances: (k,) float32 under the metric.
        radius: the Hamming distance that the coarse step went to; -1 if it found nothing.
        buckets: buckets taken.
        candidates: images in them, all compared by feature.
        timings_ms: milliseconds of the phases "coarse" and "fine".
    """

    ids: NDArray[np.int64]
    hamming: NDArray[np.uint16]
    distances: NDArray[np.float32]
    radius: int
    buckets: int
    candidates: int
    timings_ms: dict[str, float] = field(default_factory=dict, compare=False)


class Index(Protocol):
    """Searches images by code, then by feature."""

    bits: int

    def __len__(self) -> int: ...

    def search(
        self, codes: Codes, features: NDArray[np.floating], options: SearchOptions
    ) -> Sequence[Hits]:
        """Answer queries.

        Args:
            codes: (Q, W) uint8, packed.
            features: (Q, D) floating.
            options: what to take and how many.

        Returns:
            Q answers.

        Raises:
            MismatchError: codes or features of another width.
        """
        ...

    def verify(self) -> None:
        """Check everything that is stored.

        Raises:
            StorageError: something is damaged; the message names the file.
        """
        ...


def rank(
    distances: NDArray[np.float32], ids: NDArray[np.int64], options: SearchOptions
) -> NDArray[np.intp]:
    """Positions of the hits among the candidates, ordered by (distance, id).

    Args:
        distances: (M,) under the metric.
        ids: (M,) of the same candidates.
        options: `top` and `max_distance`.

    Returns:
        (k,) positions, k <= top.
    """
    positions = np.arange(len(distances))
    if options.max_distance is not None:
        positions = positions[distances <= options.max_distance]
    if len(positions) > options.top:
        # keep everything up to the k-th smallest distance, ties included
        kept = distances[positions]
        limit = np.partition(kept, options.top - 1)[options.top - 1]
        positions = positions[kept <= limit]
    order = np.lexsort((ids[positions], distances[positions]))
    return positions[order[: options.top]]
