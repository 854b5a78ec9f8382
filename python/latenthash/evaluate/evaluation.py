"""A query set against a database, both extracted by one network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from ..codes import CodeSet
from ..errors import DataError
from ..metrics import bootstrap_intervals
from ..progress import Progress, silent
from .pool import Numbers, Pool
from .ranking import RADIUS, Measured, Values, measure


@dataclass(frozen=True)
class Task:
    """Which images ask and which are ranked.

    Attributes:
        queries: (Q,) rows of a `Pool`.
        database: (N,) rows; equal distances are ordered by the place here.
    """

    queries: Numbers
    database: Numbers


@dataclass(frozen=True)
class Evaluation:
    """Quality of a Hamming ranking; see `metrics` for the formulas.

    Attributes:
        means: measure -> mean over the queries.
        intervals: measure -> low and high end of its 95 % bootstrap interval.
        measured: the values of each query, and the curves.
        k: of `map_at_k`.
        queries: number of queries measured.
        database: number of images ranked for each.
        bits: of a code.
        distinct_codes: how many codes the database really uses.
        excluded: names of the queries left out, as the database holds the same file.
        seconds: of ranking and measuring, for all queries.
        seed: of the bootstrap.
        task: the queries measured, and what was ranked.
    """

    means: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    measured: Measured
    k: int
    queries: int
    database: int
    bits: int
    distinct_codes: int
    excluded: list[str]
    seconds: float
    seed: int
    task: Task

    @property
    def map_at_k(self) -> float:
        """Mean average precision over the first k."""
        return self.means[f"map_at_{self.k}"]

    @property
    def precision_at(self) -> dict[int, float]:
        """{rank: precision} at 1, 5, 10, 100 and k, as far as the database goes."""
        return self.at("precision")

    @property
    def radius_precision(self) -> float:
        """Precision within Hamming radius 2."""
        return self.means[f"radius{RADIUS}_precision"]

    def at(self, name: str) -> dict[int, float]:
        """{rank: mean} of "precision", "recall" or "f1"."""
        start = f"{name}_at_"
        return {
            int(key.removeprefix(start)): mean
            for key, mean in self.means.items()
            if key.startswith(start)
        }


def evaluate(
    database: CodeSet,
    queries: CodeSet,
    k: int = 1000,
    on_progress: Progress = silent,
    *,
    keep_known: bool = False,
    seed: int = 0,
    threads: int | None = None,
) -> Evaluation:
    """Rank the database for every query by (Hamming distance, id) and measure.

    Classes are matched by name where the two sets share names, else by number.

    Args:
        database: what is ranked.
        queries: each asks for the images of its class.
        k: ranks that `map_at_k` looks at.
        on_progress: told of queries done.
        keep_known: measure also the queries whose file, byte for byte, is in the
            database; they would find themselves.
        seed: of the bootstrap.
        threads: at most; None: see `threads.thread_count`.

    Raises:
        MismatchError: the two sets come from different networks.
        DataError: nothing to rank or no query left, no labels, or k below 1.
    """
    pool = Pool(database, queries)
    task = Task(pool.rows_of(1), pool.rows_of(0))
    return evaluate_task(
        pool, task, k, on_progress, keep_known=keep_known, seed=seed, threads=threads
    )


def evaluate_task(
    pool: Pool,
    task: Task,
    k: int = 1000,
    on_progress: Progress = silent,
    *,
    keep_known: bool = False,
    seed: int = 0,
    threads: int | None = None,
) -> Evaluation:
    """As `evaluate`, for chosen images of a pool.

    Raises:
        DataError: nothing to rank or no query left, or k below 1.
    """
    if k < 1:
        raise DataError(f"the first {k} ranks", "give 1 or more")
    known = pool.known(task.queries, task.database)
    asked = task.queries if keep_known else task.queries[~known]
    if not len(asked) or not len(task.database):
        raise DataError(
            f"{pool.paths}: all images are in the database too",
            "give others, or keep them (--keep-known)",
        )
    ranked = pool.labelled(task.database)
    begin = perf_counter()
    measured = measure(pool.labelled(asked), ranked, pool.bits, k, on_progress, threads)
    seconds = perf_counter() - begin
    return Evaluation(
        means={name: float(values.mean()) for name, values in measured.values.items()},
        intervals=intervals(measured.values, seed),
        measured=measured,
        k=k,
        queries=len(asked),
        database=len(ranked),
        bits=pool.bits,
        distinct_codes=len(np.unique(ranked.codes, axis=0)),
        excluded=[] if keep_known else [pool.names[row] for row in task.queries[known]],
        seconds=seconds,
        seed=seed,
        task=Task(asked, task.database),
    )


def intervals(values: Mapping[str, Values], seed: int) -> dict[str, tuple[float, float]]:
    """95 % bootstrap interval of the mean of each measure, given (Q,) values of each."""
    found = bootstrap_intervals(np.stack(list(values.values())), seed)
    return {
        name: (float(low), float(high)) for name, (low, high) in zip(values, found, strict=True)
    }
