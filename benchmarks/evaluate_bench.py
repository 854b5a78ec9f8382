"""The evaluator beside the usual script's way, in one run.

Ours ranks the whole database for every query and takes all measures. A usual script
loops over the queries: Hamming distances as (bits - q B') / 2 of codes of -1 and 1, one
argsort, and mean average precision over the first k alone; once in NumPy, once in
PyTorch. The scripts get fewer queries, as they take long, in turns with ours, so that
other load on the machine falls on all alike; figures are medians over the turns, per
query. The scripts sort as they mostly do, with ties in any order, which is faster; that
they come to our mean average precision with a stable sort is checked untimed.

    python benchmarks/evaluate_bench.py --json evaluate.json
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from harness import Report, command, machine, peak_mb, say, timed, versions, write_json
from latenthash.evaluate import Labelled, Measured, measure
from latenthash.threads import thread_count

_NOISE = 0.25  # of the bits differ from those of the class


def make(count: int, bits: int, classes: int, seed: int) -> Labelled:
    """Codes around one of each class."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).random((classes, bits)) < 0.5
    labels = rng.integers(0, classes, count, dtype=np.int32)
    return Labelled(np.packbits(centres[labels] ^ (rng.random((count, bits)) < _NOISE), 1), labels)


def signs(codes: Labelled, bits: int) -> NDArray[np.float32]:
    """Codes as scripts hold them: (N, bits) of -1 and 1."""
    return np.unpackbits(codes.codes, axis=1, count=bits).astype(np.float32) * 2 - 1


def numpy_script(
    queries: NDArray[np.float32],
    query_labels: NDArray[np.int32],
    codes: NDArray[np.float32],
    labels: NDArray[np.int32],
    k: int,
    stable: bool = False,
) -> float:
    """Mean average precision over the first k, query by query."""
    total = 0.0
    for query, label in zip(queries, query_labels, strict=True):
        distances = 0.5 * (codes.shape[1] - codes @ query)
        order = np.argsort(distances, stable=stable)
        relevant = (labels == label)[order][:k]
        found = np.flatnonzero(relevant) + 1.0
        total += float(np.mean(np.arange(1, len(found) + 1) / found)) if len(found) else 0.0
    return total / len(queries)


def torch_script(
    queries: torch.Tensor,
    query_labels: torch.Tensor,
    codes: torch.Tensor,
    labels: torch.Tensor,
    k: int,
    stable: bool = False,
) -> float:
    """The same in PyTorch."""
    total = 0.0
    for query, label in zip(queries, query_labels, strict=True):
        distances = 0.5 * (codes.shape[1] - codes @ query)
        order = torch.argsort(distances, stable=stable)
        relevant = (labels == label)[order][:k]
        found = torch.nonzero(relevant)[:, 0] + 1.0
        if len(found):
            total += float(torch.mean(torch.arange(1, len(found) + 1) / found))
    return total / len(queries)


def ways_of(
    args: argparse.Namespace, some: Labelled, database: Labelled, codes: NDArray[np.float32]
) -> dict[str, Callable[[bool], float]]:
    """The three ways to the mean average precision of some queries; True sorts stably."""
    asked = signs(some, args.bits)
    tensors = [torch.from_numpy(array) for array in (asked, some.labels, codes, database.labels)]
    return {
        "ours": lambda _: mean_ap(measure(some, database, args.bits, args.k), args.k),
        "numpy_script": lambda stable: numpy_script(
            asked, some.labels, codes, database.labels, args.k, stable
        ),
        "torch_script": lambda stable: torch_script(*tensors, args.k, stable),
    }


def turns(args: argparse.Namespace, queries: Labelled, database: Labelled) -> Report:
    """The three ways in turn, over other queries each time."""
    codes = signs(database, args.bits)
    seconds: dict[str, list[float]] = {}
    for turn in range(args.turns):
        part = slice(turn * args.script_queries, (turn + 1) * args.script_queries)
        some = Labelled(queries.codes[part], queries.labels[part])
        ways = ways_of(args, some, database, codes)
        for name, way in ways.items():
            took, _ = timed(lambda way=way: way(False))  # type: ignore[misc]
            seconds.setdefault(name, []).append(took / len(some))
    median = {name: statistics.median(took) for name, took in seconds.items()}
    report: Report = {
        name: {"ms_per_query": round(1e3 * took, 3), "times_ours": round(took / median["ours"], 2)}
        for name, took in median.items()
    }
    stable = [way(True) for way in ways.values()]
    return {**report, "largest_difference_of_map": max(stable) - min(stable)}


def mean_ap(measured: Measured, k: int) -> float:
    """Mean average precision over the first k."""
    return float(measured.values[f"map_at_{k}"].mean())


def run(args: argparse.Namespace) -> Report:
    """All measures of all queries once; then in turns with the scripts."""
    load = os.getloadavg()[0]
    queries = make(args.queries, args.bits, args.classes, 1)
    database = make(args.database, args.bits, args.classes, 2)
    before = peak_mb()
    took, measured = timed(lambda: measure(queries, database, args.bits, args.k))
    peak = peak_mb()
    say(f"all measures of {args.queries} queries: {took:.1f} s, {peak:.0f} MB")
    return {
        "what": command(args),
        "machine": machine(),
        "versions": versions(),
        "threads": thread_count(),
        "load_before": round(load, 2),
        "all": {
            "seconds": round(took, 2),
            "peak_mb": peak,
            "peak_mb_before": before,
            "map_at_k": mean_ap(measured, args.k),
            "map_all": float(measured.values["map_all"].mean()),
        },
        **turns(args, queries, database),
    }


def main() -> None:
    """Measure, tell, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options: dict[str, Any] = {
        "queries": 10_000, "database": 50_000, "bits": 48, "classes": 10, "k": 1000,
        "turns": 5, "script-queries": 200,
    }  # fmt: skip
    for name, value in options.items():
        parser.add_argument(f"--{name}", type=int, default=value, help=f"default: {value}")
    parser.add_argument("--json", type=Path, help="report")
    args = parser.parse_args()
    torch.set_num_threads(thread_count())
    report = run(args)
    for name in ("ours", "numpy_script", "torch_script"):
        say(f"{name:<13} {report[name]['ms_per_query']} ms a query")
    if args.json:
        write_json(report, args.json)


if __name__ == "__main__":
    main()
