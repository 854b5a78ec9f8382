#!/usr/bin/env python3
"""Find the images most similar to a file."""

from __future__ import annotations

import sys

import _cli  # isort: skip  (first: it finds the project's interpreter)

from pathlib import Path

from _index_text import near_copies
from latenthash.distances import METRICS
from latenthash.errors import DataError, ImageError
from latenthash.index import Filter, SearchOptions
from latenthash.index.bucket.memory import parse_size
from latenthash.search import Answer, Searcher

DEFAULTS = SearchOptions()


def main() -> int:
    args = arguments()
    if not args.images and not args.like:
        raise DataError("no query", "give an image file, or --like NAME")
    options = search_options(args)
    answers, failed = [], False
    engine = _cli.engine(args, few=True) if args.images else None
    ram = parse_size(args.ram) if args.ram else None
    with Searcher(args.index or _cli.latest_index(), engine, ram) as searcher:
        answers += [searcher.search_name(name, options, args.fold) for name in args.like]
        for image in args.images:
            try:
                answers.append(searcher.search(image, options, args.fold))
            except ImageError as error:
                failed = True
                print(f"error: {image}: {error}", file=sys.stderr)
        if args.save and answers:
            save(searcher, answers, args.save, len(args.like))
    if args.json:
        report = [answer.to_json() for answer in answers]
        single = len(args.images) + len(args.like) == 1 and report
        _cli.report_json(report[0] if single else report)
    else:
        print("\n\n".join(table(answer) for answer in answers))
    return _cli.USER_ERROR if failed else 0


def search_options(args: _cli.argparse.Namespace) -> SearchOptions:
    chosen = Filter(args.label, args.not_label, names=args.name, not_names=args.not_name)
    return SearchOptions(
        top=args.top,
        metric=args.metric,
        radius=args.radius,
        candidates=args.candidates or None,
        max_distance=args.max_distance,
        exact=args.exact,
        filter=chosen if chosen != Filter() else None,
    )


def arguments() -> _cli.argparse.Namespace:
    parser = _cli.parser(
        "Find the images of an index that are most similar to image files, or to one of its own.",
        "python tools/search.py img.jpg --top 5 --save hits.png",
    )
    parser.add_argument("images", type=Path, nargs="*", metavar="IMG", help="image file")
    parser.add_argument(
        "--like",
        action="append",
        default=[],
        metavar="NAME",
        help="query with this image of the index, as search.py names it; needs no network",
    )
    _cli.add_index(parser)
    parser.add_argument("--top", type=int, default=DEFAULTS.top, help="hits wanted")
    parser.add_argument(
        "--metric", choices=METRICS, default=DEFAULTS.metric, help="distance between features"
    )
    add_coarse(parser)
    add_filter(parser)
    parser.add_argument("--max-distance", type=float, metavar="D", help="leave out farther hits")
    parser.add_argument("--fold", action="store_true", help="of near-copies show the best only")
    parser.add_argument("--ram", metavar="SIZE", help="lock so much of the index in memory: 2G")
    parser.add_argument("--save", type=Path, metavar="PNG", help="draw query and hits")
    _cli.add_engine(parser)
    _cli.add_json(parser)
    return parser.parse_args()


def add_coarse(parser: _cli.argparse.ArgumentParser) -> None:
    """How many images are compared by feature."""
    parser.add_argument("--radius", type=int, help="only buckets within this Hamming distance")
    parser.add_argument(
        "--candidates",
        type=int,
        default=DEFAULTS.candidates,
        metavar="M",
        help="take nearest buckets until they hold M images; 0: no limit",
    )
    parser.add_argument("--exact", action="store_true", help="compare all images by feature")


def add_filter(parser: _cli.argparse.ArgumentParser) -> None:
    """Which images may be found; each option can be given more than once."""
    for option, what in (
        ("--label", "only images of this class"),
        ("--not-label", "no images of this class"),
    ):
        parser.add_argument(option, action="append", metavar="CLASS", help=what)
    for option, target, what in (
        ("--name-pattern", "name", "only images named so: * is any text, ? one character"),
        ("--not-name-pattern", "not_name", "no images named so"),
    ):
        parser.add_argument(option, dest=target, action="append", metavar="GLOB", help=what)


def table(answer: Answer) -> str:
    """The answer as a person reads it."""
    lines = [
        f"{answer.query}",
        f"  code {answer.code}",
        f"  {answer.candidates} candidates in {answer.buckets} buckets within radius "
        f"{answer.radius}{', exact' if answer.exact else ''}, "
        f"{sum(answer.timings_ms.values()):.1f} ms",
        f"  {'rank':>4}  {'distance':>10}  {'bits':>4}  {'label':<14}  name",
    ]
    lines += [
        f"  {hit.rank:>4}  {hit.distance:>10.4g}  {hit.hamming:>4}  {hit.label:<14}  {hit.name}"
        + near_copies(hit.near_copies)
        for hit in answer.hits
    ]
    lines += [f"  warning: {warning}" for warning in answer.warnings]
    return "\n".join(lines)


def save(searcher: Searcher, answers: list[Answer], path: Path, named: int) -> None:
    """Draw each query and its hits as a row; the first `named` queries are of the index."""
    from latenthash.sheets import Cell, Row, contact_sheet

    files = [
        searcher.image_path(answer.query) if number < named else Path(answer.query)
        for number, answer in enumerate(answers)
    ]
    rows = [
        Row(
            Cell(file, "query"),
            [Cell(searcher.image_path(hit.name), hit.label or hit.name) for hit in answer.hits],
        )
        for file, answer in zip(files, answers, strict=True)
    ]
    contact_sheet(rows, path)


if __name__ == "__main__":
    _cli.run(main)
