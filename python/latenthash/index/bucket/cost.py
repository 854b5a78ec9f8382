"""What a step of the coarse search costs on this machine, in seconds.

The three ways of the coarse step do three kinds of work: they read codes from first to
last, look into tables, and fetch single codes to compare them. What one of each costs
is measured once and kept in the user's cache folder; a way's cost is then a sum.
"""

from __future__ import annotations

import json
import logging
import os
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from time import perf_counter

import numpy as np

from ... import __version__, kernels

_log = logging.getLogger(__name__)
_CODES, _LOOKUPS, _QUERIES = 1 << 19, 1 << 14, 16


@dataclass(frozen=True)
class Costs:
    """Seconds of the kinds of work.

    Attributes:
        step: of any step, however little it does.
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
        return self.step + words * (self.batch_word if batched else self.word)

    def probe(self, steps: float, lookups: float, compared: float) -> float:
        """Looking up neighbours in tables and comparing what they hold."""
        return steps * self.step + lookups * self.lookup + compared * self.compare


@lru_cache(maxsize=1)
def machine_costs() -> Costs:
    """Costs on this machine: from the cache folder, else measured and put there."""
    path = _cache_folder() / f"costs-{__version__}-{platform.node()}.json"
    try:
        return Costs(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        _log.debug("%s: %s; measuring", path, error)
    costs = measure()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}")
        partial.write_text(json.dumps(asdict(costs)))
        partial.replace(path)
    except OSError as error:  # measured again next time; nothing else is lost
        _log.debug("%s: %s", path, error)
    return costs


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "latenthash"


def measure() -> Costs:
    """Measure; takes some hundredths of a second."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2**63, (_CODES, 1), dtype=np.uint64)
    sizes, out = np.ones(_CODES, np.int32), np.empty(_CODES, np.uint16)
    anywhere = rng.integers(0, _CODES, _LOOKUPS)
    table = np.arange(_CODES, dtype=np.int32)
    keys = rng.integers(0, 1 << 16, _CODES, dtype=np.uint16)
    query = codes[0]

    def scan() -> None:
        distances, _ = kernels.scan_rings(codes, sizes, query, 64, out)
        kernels.within(distances, 20)

    return Costs(
        step=_seconds(lambda: np.flatnonzero(table[:1] == 0)) * 20,
        word=_seconds(scan) / _CODES,
        batch_word=_seconds(
            lambda: kernels.rings_batch(codes, sizes, codes[:_QUERIES], 64)
        ) * 2 / _CODES / _QUERIES,  # a second pass selects
        lookup=_seconds(lambda: table[anywhere]) / _LOOKUPS,
        compare=_seconds(lambda: np.bitwise_count(codes[anywhere] ^ query)) / _LOOKUPS * 4,
        sort=_seconds(lambda: np.argsort(keys, kind="stable")) / _CODES,
    )  # fmt: skip


def _seconds(work: Callable[[], object]) -> float:
    """The shortest of a few runs: the others were disturbed."""
    times = []
    for _ in range(4):
        begin = perf_counter()
        work()
        times.append(perf_counter() - begin)
    return min(times)
