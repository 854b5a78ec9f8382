#!/usr/bin/env python3
"""Find the images most similar to a file."""

from __future__ import annotations

import sys

import _cli  # isort: skip  (first: it finds the project's interpreter)

from pathlib import Path

from latenthash.distances import METRICS
from latenthash.engines import get_engine
from latenthash.errors import ImageError
from latenthash.index import SearchOptions
from latenthash.search import Answer, Searcher

DEFAULTS = SearchOptions()


def main() -> int:
    args = arguments()
    options = SearchOptions(
        args.top, args.metric, args.radius, args.candidates or None, args.max_distance
    )
    answers, failed = [], False
    engine = get_engine(args.engine, args.threads)
    with Searcher(args.index or _cli.latest_index(), engine) as searcher:
        for image in args.images:
            try:
                answers.append(searcher.search(image, options))
            except ImageError as error:
                failed = True
                print(f"error: {image}: {error}", file=sys.stderr)
        if args.save and answers:
            save(searcher, answers, args.save)
    if args.json:
        report = [answer.to_json() for answer in answers]
        _cli.report_json(report[0] if len(args.images) == 1 and report else report)
    else:
        print("\n\n".join(table(answer) for answer in answers))
    return _cli.USER_ERROR if failed else 0


def arguments() -> _cli.argparse.Namespace:
    parser = _cli.parser(
        "Find the images of an index that are most similar to image files.",
        "python tools/search.py img.jpg --top 5 --save hits.png",
    )
    parser.add_argument("images", type=Path, nargs="+", metavar="IMG", help="image file")
    parser.add_argument("--index", type=Path, help="index folder; default: the last one built")
    parser.add_argument("--top", type=int, default=DEFAULTS.top, help="hits wanted")
    parser.add_argument(
        "--metric", choices=METRICS, default=DEFAULTS.metric, help="distance between features"
    )
    parser.add_argument("--radius", type=int, help="only buckets within this Hamming distance")
    parser.add_argument(
        "--candidates",
        type=int,
        default=DEFAULTS.candidates,
        metavar="M",
        help="take nearest buckets until they hold M images; 0: no limit",
    )
    parser.add_argument("--max-distance", type=float, metavar="D", help="leave out farther hits")
    parser.add_argument("--save", type=Path, metavar="PNG", help="draw query and hits")
    _cli.add_engine(parser)
    _cli.add_json(parser)
    return parser.parse_args()


def table(answer: Answer) -> str:
    """The answer as a person reads it."""
    lines = [
        f"{answer.query}",
        f"  code {answer.code}",
        f"  {answer.candidates} candidates in {answer.buckets} buckets within radius "
        f"{answer.radius}, {sum(answer.timings_ms.values()):.1f} ms",
        f"  {'rank':>4}  {'distance':>10}  {'bits':>4}  {'label':<14}  name",
    ]
    lines += [
        f"  {hit.rank:>4}  {hit.distance:>10.4g}  {hit.hamming:>4}  {hit.label:<14}  {hit.name}"
        for hit in answer.hits
    ]
    lines += [f"  warning: {warning}" for warning in answer.warnings]
    return "\n".join(lines)


def save(searcher: Searcher, answers: list[Answer], path: Path) -> None:
    """Draw each query and its hits as a row."""
    from latenthash.sheets import Cell, Row, contact_sheet

    rows = [
        Row(
            Cell(Path(answer.query), "query"),
            [Cell(searcher.image_path(hit.name), hit.label or hit.name) for hit in answer.hits],
        )
        for answer in answers
    ]
    contact_sheet(rows, path)


if __name__ == "__main__":
    _cli.run(main)
