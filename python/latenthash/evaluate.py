"""Ranking a query set against a database by code alone, and measuring the result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .codes import CodeSet
from .errors import DataError
from .hamming import Codes, distances
from .manifest import require_same
from .metrics import Relevance, map_at_k, precision_at
from .progress import Progress, silent

_QUERIES = 64  # ranked at a time: bounds the memory, whatever the number of queries


@dataclass(frozen=True)
class Evaluation:
    """Quality of a Hamming ranking; see `metrics` for the formulas.

    Attributes:
        map_at_k: mean average precision over the first k.
        k: the k of it.
        precision_at: {rank: precision} at 1, 5, 10, 100 and k.
        queries: number of queries.
        database: number of images ranked for each.
        distinct_codes: how many codes the database really uses.
    """

    map_at_k: float
    k: int
    precision_at: dict[int, float]
    queries: int
    database: int
    distinct_codes: int


def evaluate(
    database: CodeSet, queries: CodeSet, k: int = 1000, on_progress: Progress = silent
) -> Evaluation:
    """Rank the database for every query by (Hamming distance, id) and measure.

    Raises:
        MismatchError: the two sets come from different networks.
        DataError: nothing to rank, or no labels.
    """
    require_same(
        queries.manifest["model"],
        database.manifest["model"],
        ("deploy_sha256", "weights_sha256", "hash_sha256"),
        f"{queries.path} and {database.path}",
    )
    for codes in (database, queries):
        if not len(codes) or (codes.labels < 0).any():
            raise DataError(
                f"{codes.path}: has no labels", "extract from a folder of class folders"
            )
    k = min(k, len(database))
    ranks = sorted({rank for rank in (1, 5, 10, 100, k) if rank <= k})
    relevant = hamming_relevance(
        queries.codes, queries.labels, database.codes, database.labels, k, on_progress
    )
    return Evaluation(
        map_at_k=map_at_k(relevant),
        k=k,
        precision_at={rank: precision_at(relevant, rank) for rank in ranks},
        queries=len(queries),
        database=len(database),
        distinct_codes=len(np.unique(database.codes, axis=0)),
    )


def hamming_relevance(
    query_codes: Codes,
    query_labels: NDArray[np.int32],
    codes: Codes,
    labels: NDArray[np.int32],
    k: int,
    on_progress: Progress = silent,
) -> Relevance:
    """Relevance of the first k of the database, ordered by (Hamming distance, id).

    Args:
        query_codes: (Q, W) uint8, packed.
        query_labels: (Q,).
        codes: (N, W) uint8, packed.
        labels: (N,).
        k: ranks to keep, k <= N.
        on_progress: told of queries ranked.

    Returns:
        (Q, k) bool.
    """
    relevant = np.empty((len(query_codes), k), dtype=bool)
    for start in range(0, len(query_codes), _QUERIES):
        block = slice(start, start + _QUERIES)
        # a stable sort keeps ids ascending within a distance
        order = np.argsort(distances(query_codes[block], codes), axis=1, kind="stable")[:, :k]
        relevant[block] = labels[order] == query_labels[block, None]
        on_progress(min(start + _QUERIES, len(query_codes)), len(query_codes))
    return relevant
