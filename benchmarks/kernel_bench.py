"""The compiled kernels against the memory: GB/s of each, beside a plain read.

Every round runs all of them in turn, so that other load on the machine falls on all
alike; the share is that of the plain read. Bytes are what a kernel must read and write.

    python benchmarks/kernel_bench.py
    python benchmarks/kernel_bench.py --codes 10000000 --bits 48 --threads 1 --json out.json
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from latenthash import kernels
from latenthash.distances import METRICS
from latenthash.kernels import library
from latenthash.kernels.team import team_size, together

READ = "plain read"
_READ_BYTES = 256 << 20  # far more than any cache
Work = dict[str, tuple[Callable[[], object], int]]


def read_work(threads: int | None) -> Work:
    """A plain read of memory, compiled like the kernels."""
    native = library.native()
    if native is None:
        sys.exit("error: there are no compiled kernels to measure - pip install -e .")
    data = np.ones(_READ_BYTES // 8, np.uint64)

    def read() -> None:
        taken = ctypes.c_int64(0)

        def work(_: int) -> None:
            native.lh_read(data.ctypes.data, len(data), ctypes.byref(taken))

        together(work, team_size(data.nbytes, threads))

    return {READ: (read, data.nbytes)}


def code_work(count: int, bits: int, wanted: int, threads: int | None) -> Work:
    """Kernels over random codes, the hardest: all distinct, no clusters."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2**64, (count, -(-bits // 64)), np.uint64)
    if bits % 64:  # padding bits are 0: which of the others do not matter to a distance
        codes[:, -1] &= np.uint64(2 ** (bits % 64) - 1)
    sizes, out = np.ones(count, np.int32), np.empty(count, np.uint16)
    query, batch = codes[count // 2], codes[:: count // 16][:16]
    sample = kernels.sample_of(codes, sizes)
    limit = int(np.argmax(np.cumsum(kernels.scan_rings(codes, sizes, query, bits)[1]) >= wanted))
    limits = np.full(len(batch), limit)

    def nearest(queries: NDArray[np.uint64]) -> object:
        return kernels.nearest(codes, sizes, queries, bits, wanted, None, sample, threads)

    every = len(batch) * codes.nbytes  # as if each query read all codes
    return {
        "scan": (lambda: kernels.scan(codes, query, out, threads), codes.nbytes + 2 * count),
        "scan_rings": (
            lambda: kernels.scan_rings(codes, sizes, query, bits, out, threads),
            codes.nbytes + 6 * count,
        ),
        "within": (lambda: kernels.within(out, limit, threads), 2 * count),
        "nearest": (lambda: nearest(query[None]), codes.nbytes),
        "nearest x16": (lambda: nearest(batch), every),
        "rings_batch x16": (
            lambda: kernels.rings_batch(codes, sizes, batch, bits, threads),
            every,
        ),
        "select_batch x16": (
            lambda: kernels.select_batch(codes, batch, limits, 4 * wanted, threads),
            every,
        ),
    }


def feature_work(dim: int, candidates: int, threads: int | None) -> Work:
    """The fine step: rows scattered over 8 times as many."""
    rng = np.random.default_rng(1)
    rows = np.sort(rng.choice(8 * candidates, candidates, replace=False))
    query = rng.random(dim, np.float32)
    int8 = rng.integers(0, 127, (8 * candidates, dim), np.int8)
    scale = np.full(dim, 0.01, np.float32)
    stored: list[tuple[NDArray[np.generic], NDArray[np.float32] | None]] = [
        (int8, scale),
        (int8.astype(np.float16), None),
    ]
    return {
        f"fine {metric} {features.dtype}": (
            lambda metric=metric, features=features, scale=scale: kernels.fine(  # type: ignore[misc]
                metric, features, scale, rows, query, threads=threads
            ),
            candidates * dim * features.itemsize,
        )
        for features, scale in stored
        for metric in METRICS
    }


def measure(work: Work, rounds: int) -> dict[str, dict[str, float]]:
    """{name: ms, gb_s, share}: medians; the share is of the plain read in the same round."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for number in range(rounds + 1):  # the first warms up
        for name, (call, _) in work.items():
            begin = perf_counter()
            call()
            if number:
                seconds[name].append(perf_counter() - begin)
    results = {}
    for name, (_, size) in work.items():
        rates = [size / time / 1e9 for time in seconds[name]]
        reads = [work[READ][1] / time / 1e9 for time in seconds[READ]]
        share = statistics.median(a / b for a, b in zip(rates, reads, strict=True))
        milliseconds = 1e3 * statistics.median(seconds[name])
        results[name] = {"ms": milliseconds, "gb_s": statistics.median(rates), "share": share}
    return results


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--codes", type=int, default=2_500_000)
    parser.add_argument("--bits", type=int, default=128)
    parser.add_argument("--dim", type=int, default=4096)
    parser.add_argument("--candidates", type=int, default=10_000)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    work = read_work(args.threads)
    work |= code_work(args.codes, args.bits, args.candidates, args.threads)
    work |= feature_work(args.dim, args.candidates, args.threads)
    results = measure(work, args.rounds)
    print(f"{'kernel':22}{'ms':>9}{'GB/s':>8}{'share':>8}")
    for name, figures in results.items():
        print(f"{name:22}{figures['ms']:9.3f}{figures['gb_s']:8.1f}{figures['share']:8.0%}")
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
