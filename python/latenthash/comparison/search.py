"""Nearest-neighbour searches of the same database: what each finds, and what it takes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..baselines import LinearSearch, NeighbourSearch
from ..baselines.faiss_search import one_thread
from ..codes import CodeSet
from ..errors import DataError
from ..metrics import average_precision_at_k, precision_at, recall_of_exact
from ..progress import Progress, silent
from ..threads import VARIABLE
from .sets import ImageSet, choose, images_of

QUERIES = 1000
"""Queries asked at most, unless said otherwise."""
_WARM_UP = 5
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class SearchResult:
    """One search of the database.

    Attributes:
        method: its name.
        settings: its own.
        k: neighbours asked for.
        queries: asked, one at a time.
        threads: that answered a query: 1.
        recall: share of the exact k nearest that it found, mean.
        map_at_k: by labels, over its own k; see `metrics`.
        precision_at_k: share of its k that are of the query's class, mean.
        median_ms: time of one query.
        p99_ms: likewise, of all but the slowest hundredth.
        memory_bytes: what is kept to answer queries.
        build_seconds: from the code file on; features are read in it.
    """

    method: str
    settings: dict[str, Any]
    k: int
    queries: int
    threads: int
    recall: float
    map_at_k: float
    precision_at_k: float
    median_ms: float
    p99_ms: float
    memory_bytes: int
    build_seconds: float

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def compare_search(
    database: CodeSet,
    queries: CodeSet,
    methods: Sequence[NeighbourSearch],
    k: int = 10,
    *,
    most: int = QUERIES,
    keep_known: bool = False,
    seed: int = 0,
    on_progress: Progress = silent,
) -> list[SearchResult]:
    """Build each search, ask it the same queries one at a time, and measure.

    One search is held at a time, so that memory suffices for the largest; each is asked
    by one thread, after a few queries that do not count.

    Args:
        database: what is searched, by Euclidean distance of its features.
        queries: what is asked.
        methods: built here, and closed.
        k: neighbours.
        most: queries asked at most, drawn at random.
        keep_known: ask also queries whose file is in the database.
        seed: of the draw.
        on_progress: told of methods done.

    Raises:
        MismatchError: the two files come from different networks.
        DataError: no labels, no query left, too few images for a method, or k below 1.
        EngineError: FAISS is not installed.
    """
    if k < 1 or most < 1:
        raise DataError(f"{k} neighbours of {most} queries", "give 1 or more")
    pool, ranked, rows = choose(database, queries, keep_known)
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    asked, labels = images_of(pool, rows), pool.labels[ranked]
    exact = _exact(database, asked, k)
    results = []
    for done, method in enumerate(methods):
        on_progress(done, len(methods))
        with method, _one_thread():
            results.append(_measured(method, database, asked, labels, exact))
    on_progress(len(methods), len(methods))
    return results


def _exact(database: CodeSet, asked: ImageSet, k: int) -> Ids:
    """(Q, k) rows of the nearest."""
    with LinearSearch() as linear:
        linear.build(database)
        codes = _codes(asked)
        return linear.search(asked.features.astype(np.float32), codes, k).ids


def _codes(images: ImageSet) -> NDArray[np.uint8]:
    assert images.codes is not None  # they are of a code file
    return images.codes


def _measured(
    method: NeighbourSearch,
    database: CodeSet,
    asked: ImageSet,
    labels: NDArray[np.int32],
    exact: Ids,
) -> SearchResult:
    begin = perf_counter()
    method.build(database)
    built = perf_counter() - begin
    found, seconds = _asked_singly(method, asked, exact.shape[1])
    relevant = (labels[found] == asked.labels[:, None]) & (found >= 0)
    median, slow = np.percentile(seconds, (50, 99)) * 1e3
    return SearchResult(
        method=method.name,
        settings=dict(method.settings),
        k=exact.shape[1],
        queries=len(asked),
        threads=1,
        recall=float(recall_of_exact(found, exact).mean()),
        map_at_k=float(average_precision_at_k(relevant).mean()),
        precision_at_k=float(precision_at(relevant, exact.shape[1]).mean()),
        median_ms=round(float(median), 4),
        p99_ms=round(float(slow), 4),
        memory_bytes=method.memory_bytes,
        build_seconds=round(built, 6),
    )


def _asked_singly(
    method: NeighbourSearch, asked: ImageSet, k: int
) -> tuple[Ids, NDArray[np.float64]]:
    """Ids (Q, k) and seconds (Q,) of queries asked one after the other."""
    features, codes = asked.features.astype(np.float32), _codes(asked)
    found = np.empty((len(asked), k), np.int64)
    seconds = np.empty(len(asked))
    for row in range(-min(_WARM_UP, len(asked)), len(asked)):
        query = slice(row % len(asked), row % len(asked) + 1)
        begin = perf_counter()
        answer = method.search(features[query], codes[query], k)
        seconds[query] = perf_counter() - begin
        found[query] = answer.ids
    return found, seconds


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread for FAISS and for our own kernels, which ask the environment each time."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "1"
    try:
        with one_thread():
            yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before
