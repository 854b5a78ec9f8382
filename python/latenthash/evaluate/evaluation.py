"""A query set against a database, both extracted by one network."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from ..codes import CodeSet
from ..errors import DataError
from ..manifest import require_same
from ..metrics import bootstrap_intervals
from ..progress import Progress, silent
from .ranking import RADIUS, Labelled, Measured, measure


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
    _require_comparable(database, queries)
    if k < 1:
        raise DataError(f"the first {k} ranks", "give 1 or more")
    known = _known(database, queries)
    used = np.ones(len(queries), bool) if keep_known else ~known
    if not used.any():
        raise DataError(
            f"{queries.path}: all images are in {database.path} too",
            "give others, or keep them (--keep-known)",
        )
    asked = Labelled(queries.codes[used], _labels_as(database, queries)[used])
    ranked = Labelled(database.codes, database.labels)
    begin = perf_counter()
    measured = measure(asked, ranked, database.bits, k, on_progress, threads)
    seconds = perf_counter() - begin
    return Evaluation(
        means={name: float(values.mean()) for name, values in measured.values.items()},
        intervals=_intervals(measured, seed),
        measured=measured,
        k=k,
        queries=len(asked),
        database=len(ranked),
        bits=database.bits,
        distinct_codes=len(np.unique(ranked.codes, axis=0)),
        excluded=[name for name, kept in zip(queries.names, used, strict=True) if not kept],
        seconds=seconds,
        seed=seed,
    )


def _require_comparable(database: CodeSet, queries: CodeSet) -> None:
    what = f"{queries.path} and {database.path}"
    keys = ("deploy_sha256", "weights_sha256", "hash_sha256")
    require_same(queries.manifest["model"], database.manifest["model"], keys, what)
    require_same(queries.manifest, database.manifest, ("bits",), what)
    for codes in (database, queries):
        if not len(codes) or (codes.labels < 0).any():
            raise DataError(
                f"{codes.path}: has no labels", "extract from a folder of class folders"
            )


def _known(database: CodeSet, queries: CodeSet) -> NDArray[np.bool_]:
    """Which queries the database holds, by the SHA-256 of their files: (Q,)."""
    there = {row.tobytes() for row in database.content}
    return np.array([row.tobytes() in there for row in queries.content])


def _labels_as(database: CodeSet, queries: CodeSet) -> NDArray[np.int32]:
    """The queries' labels as the database numbers the classes."""
    names, own = (codes.manifest.get("classes") or [] for codes in (database, queries))
    if names == own or not set(names) & set(own):  # the same, or told apart by number only
        return queries.labels
    numbers = {name: number for number, name in enumerate(names)}
    for name in own:  # a class that the database lacks: nothing is relevant
        numbers.setdefault(name, len(numbers))
    return np.array([numbers[name] for name in own], np.int32)[queries.labels]


def _intervals(measured: Measured, seed: int) -> dict[str, tuple[float, float]]:
    found = bootstrap_intervals(np.stack(list(measured.values.values())), seed)
    return {
        name: (float(low), float(high))
        for name, (low, high) in zip(measured.values, found, strict=True)
    }
