#!/usr/bin/env python3
"""Quality of the codes: rank a database for every query, by code and by feature."""

from __future__ import annotations

import _cli  # isort: skip  (first: it finds the project's interpreter)

import json
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from _evaluate_text import text
from latenthash.distances import METRICS
from latenthash.errors import DataError
from latenthash.evaluate import (
    PROTOCOLS,
    Outcome,
    Run,
    differences,
    execute,
    read_report,
    run_again,
)
from latenthash.files import atomic_file
from latenthash.plots import precision_by_rank, precision_recall

STDOUT = Path("-")
_SHOWN = 10  # differences of a replay


def main() -> int:
    args = arguments()
    command = [Path(sys.argv[0]).name, *sys.argv[1:]]
    if args.replay:
        return replay(args, command)
    if args.codes is None:
        raise DataError("no code file", "give --codes, or --replay a report")
    run = Run(**{field.name: getattr(args, field.name) for field in fields(Run)})
    show(execute(run, command, _cli.announce, args.threads), args)
    return 0


def replay(args: _cli.argparse.Namespace, command: Sequence[str]) -> int:
    """Run a report's command again; 1 if it comes to other numbers."""
    before = read_report(args.replay)
    moved = {name: getattr(args, name) for name in ("codes", "queries", "index")}
    for field in fields(Run):
        if field.name not in moved and getattr(args, field.name) != field.default:
            option = "--" + field.name.replace("_", "-")
            raise DataError(f"{option}: is in {args.replay} already", f"leave out {option}")
    outcome = execute(run_again(before, **moved), command, _cli.announce, args.threads)
    if args.json:
        show(outcome, args)
    found = differences(before, outcome.report)
    lines = [
        f"{args.replay}: {f'{len(found)} values differ' if found else 'the same numbers again'}"
    ]
    lines += [f"  {line}" for line in found[:_SHOWN]]
    then, now = before.get("versions"), outcome.report["versions"]
    if then != now:
        lines.append(f"  versions {then} before, {now} now")
    print("\n".join(lines), file=sys.stderr if args.json == STDOUT else sys.stdout)
    return 1 if found else 0


def arguments() -> _cli.argparse.Namespace:
    parser = _cli.parser(
        "Rank the database for every query by Hamming distance (ties by id) and measure: "
        "mean average precision in three variants, precision and recall at several ranks, "
        "precision within radius 2, with 95 % intervals over the queries.",
        "python tools/evaluate.py --codes database.h5 --queries queries.h5 --plots curves",
    )
    parser.add_argument("--codes", help="code file of the database")
    parser.add_argument("--queries", help="code file of the queries")
    add_protocol(parser)
    add_rerank(parser)
    parser.add_argument("--seed", type=int, default=0, help="of splits and intervals")
    parser.add_argument("--threads", type=int, help="default: the free cores")
    parser.add_argument(
        "--json", type=Path, nargs="?", const=STDOUT, metavar="OUT",
        help="report as JSON, into OUT or on stdout",
    )  # fmt: skip
    parser.add_argument("--plots", type=Path, metavar="DIR", help="draw the curves into DIR")
    parser.add_argument(
        "--replay", type=Path, metavar="REPORT",
        help="run what this JSON tells of again, and say whether the numbers are the same; "
        "--codes, --queries and --index say where files are now",
    )  # fmt: skip
    return parser.parse_args()


def add_protocol(parser: _cli.argparse.ArgumentParser) -> None:
    """Which images ask and which are ranked."""
    known = "; ".join(f"{one.name}: {one.says}" for one in PROTOCOLS.values())
    parser.add_argument(
        "--protocol", choices=PROTOCOLS, metavar="NAME",
        help=f"one of those in docs/protocols.md; {known}".replace("%", "%%"),
    )  # fmt: skip
    parser.add_argument(
        "--other-data",
        action="store_true",
        help="the data are not the protocol's own (a subset, another set): name the answer so",
    )
    parser.add_argument(
        "--seen", type=class_names, metavar="CLASS,CLASS",
        help="cifar10-unseen: classes that the network was trained on; default: those in its "
        "training's data set",
    )  # fmt: skip
    parser.add_argument(
        "--query-share", type=float, default=Run.query_share, metavar="S",
        help="folder: share of each class that asks",
    )  # fmt: skip
    parser.add_argument("--k", type=int, help="ranks that mAP looks at; default: 1000")
    parser.add_argument(
        "--keep-known",
        action="store_true",
        help="measure also queries whose very file is in the database; they are left out else",
    )


def class_names(given: str) -> list[str]:
    """Names between commas."""
    return [name.strip() for name in given.split(",")]


def add_rerank(parser: _cli.argparse.ArgumentParser) -> None:
    """The fine ranking, with the coarse step's options as in search.py."""
    parser.add_argument(
        "--rerank", choices=METRICS,
        help="measure also the ranking by this distance between features, through the index",
    )  # fmt: skip
    parser.add_argument("--radius", type=int, help="only buckets within this Hamming distance")
    parser.add_argument(
        "--candidates", type=int, default=Run.candidates, metavar="M",
        help="take nearest buckets until they hold M images; 0: no limit",
    )  # fmt: skip
    parser.add_argument("--exact", action="store_true", help="compare all images by feature")
    parser.add_argument(
        "--index",
        help="index of --codes, a folder or milvus://host:port/collection; default: one for the "
        "time of the run",
    )


def show(outcome: Outcome, args: _cli.argparse.Namespace) -> None:
    """Plots, JSON, and what people read."""
    if args.plots:
        draw(outcome, args.plots)
    if args.json == STDOUT:
        _cli.report_json(outcome.report)
        return
    if args.json:
        write(outcome.report, args.json)
    print(text(outcome))


def write(found: dict[str, Any], path: Path) -> None:
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def draw(outcome: Outcome, folder: Path) -> None:
    result, fine, library = outcome.evaluation, outcome.fine, outcome.in_library
    curves, ranks = result.measured.curves, result.measured.ranks
    name = f"{result.bits} bits"
    near = ranks <= result.k
    lines = {name: (ranks[near], curves["precision"][near])}
    if fine:
        lines[f"{name}, reranked by {fine.options.metric}"] = (fine.ranks, fine.precision)
    best = (ranks[near], curves["best_precision"][near])
    precision_by_rank(lines, folder / "precision_at_rank.png", best=best)
    precision_recall(
        {
            f"{name}, by rank": (curves["recall"], curves["precision"]),
            f"{name}, by radius": (curves["radius_recall"], curves["radius_precision"]),
        },
        folder / "precision_recall.png",
    )
    if library:
        by_way = {
            f"{way}{alone}": (range(1, len(of.precision_by_rank) + 1), of.precision_by_rank)
            for alone, ways in (("", library.with_self), (", without self", library.without_self))
            for way, of in ways.items()
        }
        precision_by_rank(by_way, folder / "in_library.png")


if __name__ == "__main__":
    _cli.run(main)
