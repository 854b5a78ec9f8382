"""Hash functions learned on the same features, and what each is worth."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from time import perf_counter
from typing import Any

from ..cache import NOTHING_KEPT, Cache, Stage, versions
from ..errors import DataError
from ..evaluate import Labelled, measure
from ..evaluate.evaluation import intervals
from ..evaluate.ranking import CURVES
from ..hamming import Codes
from ..hashing import (
    METHODS,
    SAMPLE,
    SUPERVISED,
    HashFunction,
    HashSettings,
    learn,
    read_hash,
    sample_rows,
    write_hash,
)
from ..progress import Progress, silent
from .sets import ImageSet

OWN = "own"
"""The codes that the images have already: those of the network."""
BITS = (12, 32, 48, 128)
LEARN = Stage("learn_hash", 1)
"""Its number grows when another function would be learned from the same features."""
MEASURE = Stage("measure_hash", 2)
"""Its number grows when the measures of the same codes would be others."""
_PACKAGES = {"itq": ("faiss",), "ksh": ("threadpoolctl",)}
_DIGITS = 6
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HashResult:
    """One hash function at one width; all of it goes into JSON and comes back.

    Attributes:
        method: key of `HashSettings`, or `OWN`.
        bits: of a code.
        learned_from: features that it was learned from; 0 for `OWN`.
        means: measure -> mean over the queries, as `evaluate` names them.
        intervals: measure -> [low, high] of the 95 % bootstrap interval.
        curves: of `Measured`: precision, recall and the best possible precision at
            `ranks`, and precision and recall at every radius from 0.
        ranks: where the curves are taken.
        seconds: "learn" and "encode" (database and queries), of the run that made it.
        reason: why there is no such function; empty where there is one.
    """

    method: str
    bits: int
    learned_from: int = 0
    means: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, list[float]] = field(default_factory=dict)
    curves: dict[str, list[float]] = field(default_factory=dict)
    ranks: list[int] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


@dataclass(frozen=True)
class _Comparison:
    """What is the same for all functions."""

    training: ImageSet
    database: ImageSet
    queries: ImageSet
    k: int
    seed: int
    cache: Cache
    threads: int | None


def compare_hashes(
    training: ImageSet,
    database: ImageSet,
    queries: ImageSet,
    methods: Sequence[str] = (*METHODS, *SUPERVISED),
    bits: Sequence[int] = BITS,
    *,
    k: int = 1000,
    seed: int = 0,
    cache: Cache = NOTHING_KEPT,
    threads: int | None = None,
    on_progress: Progress = silent,
) -> list[HashResult]:
    """Learn each function on the training features and rank the database by its codes.

    Learned from a seeded sample of `SAMPLE` training images at most (ksh: of 5,000). A
    width that a method cannot have, as pca has no more bits than features have values, is
    a result with a `reason`.

    Args:
        training: what is learned from; labels are for the supervised ones alone.
        database: what is ranked; may be the same as `training`.
        queries: each asks for the images of its class.
        methods: of `HashSettings`; `OWN` takes the codes that the images have, at their
            own width alone.
        bits: widths.
        k: ranks that `map_at_k` looks at.
        seed: of sample, functions and intervals.
        cache: remembers functions and measures.
        threads: of the ranking, at most; None: see `threads.thread_count`.
        on_progress: told of functions done.

    Returns:
        Results by method, then by width, in the order asked for.

    Raises:
        DataError: no such method or width; nothing to rank; no labels to learn from.
        MismatchError: features of different sizes.
        EngineError: what learns a function is not installed.
    """
    if not len(database) or not len(queries):
        raise DataError(f"{len(queries)} queries, {len(database)} images", "give some of both")
    if k < 1:
        raise DataError(f"the first {k} ranks", "give 1 or more")
    wanted = [pair for method in methods for pair in _widths(method, bits, database)]
    for settings in wanted:
        if settings is not None:
            settings.require_installed()
    shared = _Comparison(training, database, queries, k, seed, cache, threads)
    results = []
    for done, settings in enumerate(wanted):
        on_progress(done, len(wanted))
        results.append(_own(shared) if settings is None else _learned(shared, settings))
    on_progress(len(wanted), len(wanted))
    return results


def _widths(method: str, bits: Sequence[int], database: ImageSet) -> list[HashSettings | None]:
    """What to learn; None for the images' own codes."""
    if method != OWN:
        return [HashSettings(method, width) for width in bits]
    if database.codes is None:
        raise DataError("own codes of images that have none", "leave them out")
    return [None]


def _own(shared: _Comparison) -> HashResult:
    database, queries = shared.database, shared.queries
    if database.codes is None or queries.codes is None or queries.bits != database.bits:
        raise DataError(
            f"queries with codes of {queries.bits} bits, the database's have {database.bits}",
            "give codes of one network",
        )
    result = HashResult(OWN, database.bits)
    inputs = {"database": database.code_hash, "queries": queries.code_hash, "bits": database.bits}
    codes = database.codes, queries.codes
    return _recalled(shared, inputs, lambda: _measured(shared, result, *codes))


def _learned(shared: _Comparison, settings: HashSettings) -> HashResult:
    settings = replace(settings, seed=shared.seed)
    inputs = {
        "learned": _learning_inputs(shared, settings),
        "database": shared.database.content_hash,
        "queries": shared.queries.content_hash,
    }
    try:
        return _recalled(shared, inputs, lambda: _learn_and_measure(shared, settings))
    except DataError as error:
        _log.info("%s of %d bits: %s", settings.method, settings.bits, error.problem)
        return HashResult(settings.method, settings.bits, reason=error.problem)


def _recalled(
    shared: _Comparison, inputs: dict[str, Any], make: Callable[[], HashResult]
) -> HashResult:
    settings = {"k": shared.k, "seed": shared.seed, **inputs}
    return HashResult(**shared.cache.recall_json(MEASURE, settings, lambda: make().to_json()))


def _learning_inputs(shared: _Comparison, settings: HashSettings) -> dict[str, Any]:
    return {
        "settings": asdict(settings),
        "most": SAMPLE,
        "training": shared.training.content_hash,
        "versions": versions("numpy", *_PACKAGES.get(settings.method, ())),
    }


def _learn_and_measure(shared: _Comparison, settings: HashSettings) -> HashResult:
    seconds: dict[str, float] = {}

    def learned() -> HashFunction:
        begin = perf_counter()
        sample = shared.training.taken(sample_rows(len(shared.training), settings.seed, SAMPLE))
        function = learn(sample.features, settings, sample.labels)
        seconds["learn"] = round(perf_counter() - begin, 3)
        return function

    function = shared.cache.recall(
        LEARN, _learning_inputs(shared, settings), ".h5", learned, write_hash, read_hash
    )
    begin = perf_counter()
    codes = [function.encode(images.features) for images in (shared.database, shared.queries)]
    seconds["encode"] = round(perf_counter() - begin, 3)
    result = HashResult(settings.method, settings.bits, function.learned_from, seconds=seconds)
    return _measured(shared, result, *codes)


def _measured(
    shared: _Comparison, result: HashResult, database: Codes, queries: Codes
) -> HashResult:
    """The result, with measures of these codes."""
    measured = measure(
        Labelled(queries, shared.queries.labels),
        Labelled(database, shared.database.labels),
        result.bits,
        shared.k,
        threads=shared.threads,
    )
    ends = intervals(measured.values, shared.seed)
    return replace(
        result,
        means={name: float(values.mean()) for name, values in measured.values.items()},
        intervals={name: list(pair) for name, pair in ends.items()},
        curves={name: measured.curves[name].round(_DIGITS).tolist() for name in CURVES},
        ranks=measured.ranks.tolist(),
    )
