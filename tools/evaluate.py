#!/usr/bin/env python3
"""Quality of the codes: rank a database for every query, by code alone."""

from __future__ import annotations

import _cli  # isort: skip  (first: it finds the project's interpreter)

import json
import sys
from pathlib import Path
from typing import Any

from latenthash.codes import CodeSet
from latenthash.evaluate import Evaluation, evaluate, report
from latenthash.files import atomic_file
from latenthash.plots import precision_by_rank, precision_recall

STDOUT = Path("-")


def main() -> None:
    parser = _cli.parser(
        "Rank the database for every query by Hamming distance (ties by id) and measure: "
        "mean average precision in three variants, precision and recall at several ranks, "
        "precision within radius 2, with 95 % intervals over the queries.",
        "python tools/evaluate.py --codes database.h5 --queries queries.h5 --plots curves",
    )
    parser.add_argument("--codes", type=Path, required=True, help="code file of the database")
    parser.add_argument("--queries", type=Path, required=True, help="code file of the queries")
    parser.add_argument("--k", type=int, default=1000, help="ranks that mAP looks at")
    parser.add_argument(
        "--keep-known",
        action="store_true",
        help="measure also queries whose very file is in the database; they are left out else",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the intervals")
    parser.add_argument("--threads", type=int, help="default: the free cores")
    parser.add_argument(
        "--json", type=Path, nargs="?", const=STDOUT, metavar="OUT",
        help="report as JSON, into OUT or on stdout",
    )  # fmt: skip
    parser.add_argument("--plots", type=Path, metavar="DIR", help="draw the curves into DIR")
    args = parser.parse_args()

    with (
        CodeSet(args.codes) as database,
        CodeSet(args.queries) as queries,
        _cli.bar("evaluating", "query") as progress,
    ):
        result = evaluate(
            database, queries, args.k, progress,
            keep_known=args.keep_known, seed=args.seed, threads=args.threads,
        )  # fmt: skip
        found = report(result, database, queries, [Path(sys.argv[0]).name, *sys.argv[1:]])
    if args.plots:
        draw(result, args.plots)
    if args.json == STDOUT:
        _cli.report_json(found)
        return
    if args.json:
        write(found, args.json)
    print(text(result))


def text(result: Evaluation) -> str:
    """What people read."""
    lines = [
        f"{result.queries} queries, {result.database} images, {result.distinct_codes} codes used"
    ]
    if result.excluded:
        lines.append(f"left out, as the database holds the very file: {len(result.excluded)}")
    for name, key in (
        (f"mAP at {result.k}", f"map_at_{result.k}"),
        ("mAP over all", "map_all"),
        ("mAP, ties random", "map_tie_aware"),
        ("precision within 2", "radius2_precision"),
        *((f"precision at {rank}", f"precision_at_{rank}") for rank in result.precision_at),
    ):
        low, high = result.intervals[key]
        lines.append(f"{name:<18} {result.means[key]:.4f}  95 %: {low:.4f} to {high:.4f}")
    return "\n".join(lines)


def write(found: dict[str, Any], path: Path) -> None:
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def draw(result: Evaluation, folder: Path) -> None:
    curves, ranks = result.measured.curves, result.measured.ranks
    name = f"{result.bits} bits"
    near = ranks <= result.k
    precision_by_rank(
        {name: (ranks[near], curves["precision"][near])},
        folder / "precision_at_rank.png",
        best=(ranks[near], curves["best_precision"][near]),
    )
    precision_recall(
        {
            f"{name}, by rank": (curves["recall"], curves["precision"]),
            f"{name}, by radius": (curves["radius_recall"], curves["radius_precision"]),
        },
        folder / "precision_recall.png",
    )


if __name__ == "__main__":
    _cli.run(main)
