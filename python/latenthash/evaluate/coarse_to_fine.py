"""The fine ranking measured: buckets near the code, then the distance between features."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from .. import metrics
from ..codes import CodeSet
from ..errors import DataError
from ..index import Address, SearchOptions, StoredIndex, build_index, open_index
from ..manifest import IDENTITY, require_same
from ..progress import Progress, silent
from .evaluation import Evaluation, Task, intervals
from .pool import Numbers, Pool
from .ranking import Values, values_at

NO_HIT = -1
_BLOCK = 64  # queries asked together
_PHASES = ("coarse", "fine", "rank")


@dataclass(frozen=True)
class Found:
    """What an index answered to Q queries.

    Attributes:
        rows: (Q, top) rows of the pool in rank order, -1 where there was no hit.
        candidates: (Q,) images compared by feature.
        radius: (Q,) largest Hamming distance among them, -1 if there were none.
        seconds: (Q,) for each query; the mean of its block where asked in blocks.
        phases: mean seconds of the coarse step, of the fine one, and of ordering.
    """

    rows: Numbers
    candidates: Numbers
    radius: Numbers
    seconds: Values
    phases: dict[str, float]


@dataclass(frozen=True)
class Fine:
    """The fine ranking beside the Hamming one, over the same queries.

    Attributes:
        options: how was searched.
        means: measure -> mean over the queries; those of `Evaluation` that look no
            further than rank k.
        intervals: measure -> its 95 % bootstrap interval.
        gains: measure -> by how much it is above the Hamming ranking's: mean, low and
            high end of the interval over the queries' differences.
        precision: (C,) mean precision at each of `ranks`.
        ranks: (C,) 1..k, as far as the database goes.
        found: the answers.
    """

    options: SearchOptions
    means: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    gains: dict[str, tuple[float, float, float]]
    precision: Values
    ranks: Numbers
    found: Found


@contextmanager
def opened_index(
    pool: Pool, database: Numbers, address: Address | None = None, on_progress: Progress = silent
) -> Iterator[StoredIndex]:
    """An index over rows of a pool; ids are places in `database`.

    Args:
        pool: the images.
        database: (N,) rows.
        address: of an index that was built of the pool's first file, and of all of it;
            None builds one for the time of the context.
        on_progress: told of images indexed.

    Raises:
        DataError: the index holds other images.
        MismatchError: it comes from another network.
        StorageError: no room for one.
    """
    if address is not None:
        with open_index(address) as index:
            _require_index_of(pool, database, index)
            yield index
        return
    with tempfile.TemporaryDirectory(prefix="latenthash-") as scratch:
        built = Path(scratch) / "index"
        if np.array_equal(database, pool.rows_of(0)):
            build_index(pool.sets[0], built, on_progress=on_progress)
        else:
            pool.write(database, Path(scratch) / "database.h5")
            with CodeSet(Path(scratch) / "database.h5") as codes:
                build_index(codes, built, on_progress=on_progress)
        with open_index(built) as index:
            yield index


def _require_index_of(pool: Pool, database: Numbers, index: StoredIndex) -> None:
    require_same(
        index.manifest["model"],
        pool.sets[0].manifest["model"],
        IDENTITY,
        f"{index.address} and {pool.paths}",
    )
    whole = np.array_equal(database, pool.rows_of(0))
    ids = np.arange(len(database))
    if not whole or len(index) != len(ids) or index.names(ids) != pool.names[: len(ids)]:
        raise DataError(
            f"{index.address}: holds other images than those that are ranked",
            "build it of the file given as --codes, or leave out --index",
        )


def ask(
    pool: Pool,
    task: Task,
    index: StoredIndex,
    options: SearchOptions,
    on_progress: Progress = silent,
    block: int = _BLOCK,
) -> Found:
    """Search an index over the task's database with the task's queries.

    Args:
        pool: the images.
        task: what asks and what the index holds.
        index: as `opened_index` gives it.
        options: how to search.
        on_progress: told of queries done.
        block: queries asked together; 1 gives each its own time.
    """
    queries = task.queries
    rows = np.full((len(queries), min(options.top, len(task.database))), NO_HIT, np.int64)
    facts = np.empty((len(queries), 2 + len(_PHASES)))  # the answers themselves are large
    seconds = np.empty(len(queries))
    for start in range(0, len(queries), block):
        part = queries[start : start + block]
        codes, features = pool.codes[part], pool.features(part)
        begin = perf_counter()
        answers = index.search(codes, features, options)
        seconds[start : start + block] = (perf_counter() - begin) / len(part)
        for place, answer in enumerate(answers, start):
            rows[place, : len(answer.ids)] = task.database[answer.ids]
            times = (answer.timings_ms[name] for name in _PHASES)
            facts[place] = answer.candidates, answer.radius, *times
        on_progress(start + len(part), len(queries))
    candidates, radius = facts[:, :2].T.astype(np.int64)
    phases = dict(zip(_PHASES, (facts[:, 2:].mean(axis=0) / 1e3).tolist(), strict=True))
    return Found(rows, candidates, radius, seconds, phases)


def relevance(pool: Pool, queries: Numbers, rows: Numbers) -> NDArray[np.bool_]:
    """Which hits are of the query's class: (Q, top) of (Q, top) rows; -1 is none."""
    same = pool.labels[rows] == pool.labels[queries][:, None]
    return np.asarray(same & (rows != NO_HIT))


def measure_fine(
    pool: Pool,
    coarse: Evaluation,
    index: StoredIndex,
    options: SearchOptions,
    on_progress: Progress = silent,
) -> Fine:
    """Measure the ranking by feature of what an index finds, beside that by code alone.

    Args:
        pool: the images.
        coarse: of the ranking by code; gives queries, database, k and seed.
        index: over its database.
        options: how to search; `top` becomes k.
        on_progress: told of queries done.
    """
    k, task = min(coarse.k, coarse.database), coarse.task
    options = replace(options, top=k)
    found = ask(pool, task, index, options, on_progress)
    relevant = relevance(pool, task.queries, found.rows)
    values = {
        f"map_at_{coarse.k}": metrics.average_precision_at_k(relevant),
        **values_at(relevant, _totals(pool, task), coarse.k),
    }
    gains = {name: values[name] - coarse.measured.values[name] for name in values}
    bounds = intervals(gains, coarse.seed)
    ranks = np.arange(1, k + 1)
    return Fine(
        options=options,
        means={name: float(of.mean()) for name, of in values.items()},
        intervals=intervals(values, coarse.seed),
        gains={name: (float(of.mean()), *bounds[name]) for name, of in gains.items()},
        precision=metrics.precision_by_rank(relevant),
        ranks=ranks,
        found=found,
    )


def _totals(pool: Pool, task: Task) -> Numbers:
    """Relevant images of the database for each query: (Q,)."""
    counts = np.bincount(pool.labels[task.database], minlength=int(pool.labels.max()) + 1)
    return np.asarray(counts[pool.labels[task.queries]])
