#!/usr/bin/env python3
"""Quality of the codes: rank a database for every query, by code alone."""

from __future__ import annotations

from dataclasses import asdict

import _cli  # isort: skip  (first: it finds the project's interpreter)

from pathlib import Path

from latenthash.codes import CodeSet
from latenthash.evaluate import evaluate


def main() -> None:
    parser = _cli.parser(
        "Rank the database for every query by Hamming distance (ties by id) and measure: "
        "mean average precision over the first K, precision at several ranks.",
        "python tools/evaluate.py --codes database.h5 --queries queries.h5 --json",
    )
    parser.add_argument("--codes", type=Path, required=True, help="code file of the database")
    parser.add_argument("--queries", type=Path, required=True, help="code file of the queries")
    parser.add_argument("--k", type=int, default=1000, help="ranks that mAP looks at")
    _cli.add_json(parser)
    args = parser.parse_args()

    with (
        CodeSet(args.codes) as database,
        CodeSet(args.queries) as queries,
        _cli.bar("evaluating", "query") as progress,
    ):
        result = evaluate(database, queries, args.k, progress)
    if args.json:
        _cli.report_json(asdict(result))
        return
    print(f"{result.queries} queries, {result.database} images, {result.distinct_codes} codes used")
    print(f"mAP at {result.k:<5} {result.map_at_k:.4f}")
    for rank, precision in result.precision_at.items():
        print(f"precision at {rank:<5} {precision:.4f}")


if __name__ == "__main__":
    _cli.run(main)
