"""Ranks a database by (Hamming distance, id) for blocks of queries and measures each.

Only the measures are kept: the memory does not grow with queries times images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from .. import metrics
from ..hamming import Codes, words
from ..kernels import rank
from ..metrics import Relevance
from ..parallel import ordered_map
from ..progress import Progress, silent
from ..threads import thread_count

Values = NDArray[np.float64]
RADIUS = 2
CURVES = ("precision", "recall", "best_precision", "radius_precision", "radius_recall")
_RANKS = (1, 5, 10, 100)
_POINTS = 200  # of the curve beyond rank k
_BLOCK_BYTES = 1 << 22  # of one array over a block of queries: stays in the cache
_MOST = 256  # queries of a block, so that progress is seen


@dataclass(frozen=True)
class Labelled:
    """Codes and classes of a set of images.

    Attributes:
        codes: (N, W) uint8, packed.
        labels: (N,) int32.
    """

    codes: Codes
    labels: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Measured:
    """What the rankings of some queries are worth; see `metrics` for the formulas.

    Attributes:
        values: measure -> its value for each query, (Q,) float64.
        curves: measure -> its mean over the queries at each of `ranks`, or at each
            radius 0..bits where its name says so; `best_precision` is that of a perfect
            order, which runs out of relevant images.
        ranks: (C,) every rank up to k, then 200 evenly spread on a log scale.
    """

    values: dict[str, Values]
    curves: dict[str, Values]
    ranks: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.values["map_all"])


def measure(
    queries: Labelled,
    database: Labelled,
    bits: int,
    k: int = 1000,
    on_progress: Progress = silent,
    threads: int | None = None,
) -> Measured:
    """Rank the whole database for every query and measure.

    An image is relevant to a query of the same label. Equal distances are ordered by
    the place in the database.

    Args:
        queries: Q of them, at least one.
        database: N images, at least one.
        bits: of a code.
        k: ranks that AP at k looks at; those beyond N hold no hit.
        on_progress: told of queries done.
        threads: at most; None: see `threads.thread_count`.
    """
    ranks = curve_ranks(k, len(database))
    coded = words(database.codes)
    work = partial(_measure_block, coded=coded, labels=database.labels, bits=bits, ranks=ranks, k=k)
    values: list[dict[str, Values]] = []
    curves, done = dict.fromkeys(CURVES, np.zeros(1)), 0
    for part in ordered_map(work, _blocks(queries, len(database)), thread_count(threads)):
        values.append(part.values)
        # summed as they come: there may be as many blocks as queries
        curves = {name: curve + len(part) * part.curves[name] for name, curve in curves.items()}
        done += len(part)
        on_progress(done, len(queries))
    joined = {name: np.concatenate([some[name] for some in values]) for name in values[0]}
    return Measured(joined, {name: curve / done for name, curve in curves.items()}, ranks)


def curve_ranks(k: int, count: int) -> NDArray[np.int64]:
    """Ranks at which the curves are taken: each up to k, then ever fewer up to `count`."""
    near = np.arange(1, min(k, count) + 1)
    far = np.geomspace(min(k, count), count, _POINTS).round().astype(np.int64)
    return np.union1d(near, far)


def _blocks(queries: Labelled, images: int) -> Iterator[Labelled]:
    step = min(_MOST, max(1, _BLOCK_BYTES // (4 * images)))
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        yield Labelled(queries.codes[part], queries.labels[part])


def _measure_block(
    queries: Labelled,
    coded: NDArray[np.uint64],
    labels: NDArray[np.int32],
    bits: int,
    ranks: NDArray[np.int64],
    k: int,
) -> Measured:
    order, rings = rank(coded, words(queries.codes), bits)
    relevant = _relevance(order, labels, queries.labels)
    totals = relevant.sum(axis=1)
    near = hits_by_distance(relevant, rings)
    precision, recall = metrics.precision_recall_curve(relevant, totals, ranks)
    best = (np.minimum(totals[:, None], ranks) / ranks).mean(axis=0)
    inside = metrics.radius_curve(near, rings)
    curves = dict(zip(CURVES, (precision, recall, best, *inside), strict=True))
    return Measured(_values(relevant, totals, near, rings, k), curves, ranks)


def _relevance(
    order: NDArray[np.int32], labels: NDArray[np.int32], wanted: NDArray[np.int32]
) -> Relevance:
    """relevant[q, r] = labels[order[q, r]] == wanted[q]."""
    relevant = np.empty(order.shape, bool)
    for places, label, row in zip(order, wanted, relevant, strict=True):
        np.take(labels == label, places, out=row, mode="clip")  # clip: written in place
    return relevant


def hits_by_distance(relevant: Relevance, rings: NDArray[np.int32]) -> NDArray[np.int32]:
    """Relevant images at each distance.

    Args:
        relevant: (Q, N) bool, in the order of distance.
        rings: (Q, D) images at each distance.

    Returns:
        (Q, D) int32.
    """
    hits = np.zeros((len(relevant), relevant.shape[1] + 1), np.int32)
    np.cumsum(relevant, axis=1, dtype=np.int32, out=hits[:, 1:])
    ends = np.cumsum(rings, axis=1)
    return np.diff(np.take_along_axis(hits, ends, axis=1), axis=1, prepend=0)


def _values(
    relevant: Relevance,
    totals: NDArray[np.int64],
    near: NDArray[np.int32],
    rings: NDArray[np.int32],
    k: int,
) -> dict[str, Values]:
    values = {
        f"map_at_{k}": metrics.average_precision_at_k(relevant[:, :k]),
        "map_all": metrics.average_precision_all(relevant, totals),
        "map_tie_aware": metrics.tie_aware_average_precision(near, rings),
        f"radius{RADIUS}_precision": metrics.precision_within(near, rings, RADIUS),
        f"radius{RADIUS}_recall": metrics.recall_within(near, RADIUS),
    }
    for r in ranks_within(relevant.shape[1], k):
        values[f"tie_aware_precision_at_{r}"] = metrics.tie_aware_precision_at(near, rings, r)
    return values | values_at(relevant, totals, k)


def ranks_within(most: int, k: int) -> list[int]:
    """The ranks that are told of, 1, 5, 10, 100 and k, as far as there are ranks."""
    return sorted({r for r in (*_RANKS, k) if r <= most})


def values_at(relevant: Relevance, totals: NDArray[np.integer], k: int) -> dict[str, Values]:
    """Precision, recall and F1 at each of `ranks_within`.

    Args:
        relevant: (Q, R) bool, in rank order.
        totals: (Q,) relevant images of the whole database.
        k: the last rank.

    Returns:
        Measure -> (Q,).
    """
    values = {}
    for r in ranks_within(relevant.shape[1], k):
        values[f"precision_at_{r}"] = metrics.precision_at(relevant, r)
        values[f"recall_at_{r}"] = metrics.recall_at(relevant, totals, r)
        values[f"f1_at_{r}"] = metrics.f_beta_at(relevant, totals, r)
    return values
