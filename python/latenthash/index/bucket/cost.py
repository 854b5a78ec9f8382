"""What a step of the coarse search costs on this machine, in seconds.

The three ways of the coarse step do three kinds of work: they read codes from first to
last, look into tables, and fetch single codes to compare them. What one of each costs
is measured once in a process, when two ways are first compared, which a process of a
single query never does; a way's cost is then a sum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from time import perf_counter

import numpy as np

from ... import kernels
from .tables import Tables, work

_CODES, _TABLED, _QUERIES = 1 << 19, 1 << 16, 16
_STEPS = 18


@dataclass(frozen=True)
class Costs:
    """Seconds of the kinds of work.

    Attributes:
        step: of looking into the tables at all.
        word: of a 64-bit word of code, read and counted in passing.
        batch_word: the same, for each query of a batch.
        lookup: of an entry looked up in a table.
        compare: of a code fetched from anywhere and compared.
        sort: of a code sorted into one table.
    """

    step: float
    word: float
    batch_word: float
    lookup: float
    compare: float
    sort: float

    def scan(self, words: int, batched: bool = False) -> float:
        """Reading all codes of a segment, `words` in all."""
        return words * (self.batch_word if batched else self.word)

    def probe(self, lookups: float, compared: float) -> float:
        """Looking up neighbours in tables and comparing what they hold."""
        return self.step + lookups * self.lookup + compared * self.compare


@lru_cache(maxsize=1)
def machine_costs() -> Costs:
    """Costs on this machine, measured when first asked for."""
    return measure()


def measure() -> Costs:
    """Measure; takes some hundredths of a second."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2**63, (_CODES, 1), dtype=np.uint64)
    sizes, keys = np.ones(_CODES, np.int32), codes[:, 0].astype(np.uint16)
    sample = kernels.sample_of(codes, sizes)
    tables = Tables(codes[:_TABLED], 64, 4)  # as many codes as a field has values
    lookups, compared = work(64, 4, _TABLED, 0, _STEPS)

    def scan(queries: int) -> float:
        near = partial(kernels.nearest, codes, sizes, codes[:queries], 64, 1000, 64, sample)
        return _seconds(near) / _CODES / queries

    step = _seconds(lambda: tables.steps(0, 0, codes[0]))
    looking = _seconds(lambda: tables.steps(0, _STEPS, codes[0])) - step
    return Costs(
        step=step,
        word=scan(1),
        batch_word=scan(_QUERIES),
        lookup=looking / 2 / lookups,  # the two were measured together
        compare=looking / 2 / compared,
        sort=_seconds(lambda: np.argsort(keys, kind="stable")) / _CODES,
    )


def _seconds(work: Callable[[], object]) -> float:
    """The shortest of a few runs: the others were disturbed."""
    times = []
    for _ in range(4):
        begin = perf_counter()
        work()
        times.append(perf_counter() - begin)
    return min(times)
