"""Hash-then-rerank beside the plain search, query by query: the thesis' experiment.

Queries are images of the library itself. The thesis counts them among their own hits,
always at rank 1; the figures without them, and without byte-identical copies of them,
are given beside those.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import metrics
from ..index import SearchOptions, StoredIndex
from ..progress import Progress, silent
from .coarse_to_fine import NO_HIT, Found, ask, relevance
from .evaluation import Task
from .pool import Numbers, Pool
from .ranking import Values

TOP = 20  # hits that a query's precision looks at
RANKS = 100  # of the curves: the images that the thesis' page shows
ROUNDS = 3  # times that each query is asked; the median counts


@dataclass(frozen=True)
class Ranked:
    """One way to search, over Q queries.

    Attributes:
        precision: (Q,) at `TOP`.
        precision_by_rank: (R,) mean over the queries, R up to `RANKS`.
        map_by_rank: (R,) mean average precision of the first r, r = 1..R.
    """

    precision: Values
    precision_by_rank: Values
    map_by_rank: Values

    def to_json(self) -> dict[str, Any]:
        """The attributes, and the mean precision."""
        return {
            f"precision_at_{TOP}": float(self.precision.mean()),
            "per_query": self.precision.tolist(),
            "precision_by_rank": self.precision_by_rank.tolist(),
            "map_by_rank": self.map_by_rank.tolist(),
        }


@dataclass(frozen=True)
class InLibrary:
    """Both ways to search, over the same queries.

    Attributes:
        options: of the hashed search.
        rows: (Q,) the queries.
        with_self, without_self: way ("hashed", "plain") -> what it is worth.
        candidates: (Q,) images that the hashed search compared.
        radius: (Q,) Hamming distance that it went to.
        seconds: way -> (Q,), for each query the median of `ROUNDS`.
    """

    options: SearchOptions
    rows: Numbers
    with_self: dict[str, Ranked]
    without_self: dict[str, Ranked]
    candidates: Numbers
    radius: Numbers
    seconds: dict[str, Values]

    @property
    def saved(self) -> Values:
        """(Q,) share of the plain search's time that hashing saves."""
        return metrics.time_saved(self.seconds["plain"], self.seconds["hashed"])

    def to_json(self, pool: Pool) -> dict[str, Any]:
        """All of it; what differs from run to run is under "seconds"."""
        return {
            "metric": self.options.metric,
            "radius": self.options.radius,
            "candidates": self.options.candidates,
            "queries": [
                {"name": pool.names[row], "class": pool.class_name(row)}
                for row in self.rows.tolist()
            ],
            "with_self": {way: of.to_json() for way, of in self.with_self.items()},
            "without_self": {way: of.to_json() for way, of in self.without_self.items()},
            "images_compared": self.candidates.tolist(),
            "radius_reached": self.radius.tolist(),
            "seconds": {
                **{way: of.tolist() for way, of in self.seconds.items()},
                "saved": self.saved.tolist(),
                **{f"mean_{way}": float(of.mean()) for way, of in self.seconds.items()},
                "mean_saved": float(self.saved.mean()),
            },
        }


def measure_in_library(
    pool: Pool,
    task: Task,
    index: StoredIndex,
    options: SearchOptions,
    on_progress: Progress = silent,
) -> InLibrary:
    """Search hashed and plain with images of the library, one query at a time.

    Both go through one index in turns, so that other load falls on both alike; a first
    round that is not counted brings the features into memory.

    Args:
        pool: the images.
        task: queries that are of the database too.
        index: over the database.
        options: of the hashed search; its metric is the plain search's too.
        on_progress: told of queries done in all rounds.
    """
    copies = _copies(pool, task)
    top = RANKS + max(len(own) for own in copies)
    ways = {"hashed": replace(options, top=top, exact=False)}
    ways["plain"] = replace(ways["hashed"], exact=True)
    found: dict[str, list[Found]] = {way: [] for way in ways}
    total, step = (1 + ROUNDS) * len(ways) * len(task.queries), len(task.queries)
    for done in range(0, total, step * len(ways)):
        for place, (way, how) in enumerate(ways.items()):
            found[way].append(ask(pool, task, index, how, block=1))
            on_progress(done + (place + 1) * step, total)
    hashed = found["hashed"][0]
    return InLibrary(
        options=options,
        rows=task.queries,
        with_self={way: _ranked(pool, task, of[0].rows) for way, of in found.items()},
        without_self={
            way: _ranked(pool, task, _without(of[0].rows, copies)) for way, of in found.items()
        },
        candidates=hashed.candidates,
        radius=hashed.radius,
        seconds={
            way: np.median([one.seconds for one in of[1:]], axis=0) for way, of in found.items()
        },
    )


def _copies(pool: Pool, task: Task) -> list[Numbers]:
    """For each query the rows of the database that show the very same file."""
    content = pool.content[task.database]
    return [
        task.database[(content == pool.content[row]).all(axis=1)] for row in task.queries.tolist()
    ]


def _without(rows: Numbers, left_out: list[Numbers]) -> Numbers:
    """Hits that are left, moved up; -1 where they run out."""
    result = np.full_like(rows, NO_HIT)
    for found, own, kept in zip(rows, left_out, result, strict=True):
        others = found[~np.isin(found, own)]
        kept[: len(others)] = others
    return result


def _ranked(pool: Pool, task: Task, rows: Numbers) -> Ranked:
    relevant = relevance(pool, task.queries, rows)[:, :RANKS]
    ranks = range(1, relevant.shape[1] + 1)
    return Ranked(
        precision=metrics.precision_at(relevant, TOP),
        precision_by_rank=metrics.precision_by_rank(relevant),
        map_by_rank=np.array([metrics.map_at_k(relevant[:, :rank]) for rank in ranks]),
    )
