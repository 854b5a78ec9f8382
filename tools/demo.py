#!/usr/bin/env python3
"""The whole pipeline in one command; `make demo` runs it."""

from __future__ import annotations

from typing import Any

import _cli  # isort: skip  (first: it finds the project's interpreter)

from pathlib import Path

from latenthash.demo import Demo

DIGITS = _cli.ROOT / "data/mnist5k/mnist_5k.csv.gz"


def main() -> None:
    parser = _cli.parser(
        "Build LMDBs, train a net with a latent hash layer by Caffe's solver, extract, index, "
        "evaluate and search; report.json, training.png and results.png lie in OUT.",
        "python tools/demo.py --images photos/",
    )
    parser.add_argument(
        "--images", type=Path, help="folder of class folders; default: 5,000 digits"
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("demo"), help="folder to write")
    _cli.add_engine(parser, default="caffe")
    _cli.add_json(parser)
    args = parser.parse_args()

    demo = Demo(args.output, _cli.engine(args), _cli.announce)
    images = args.images or DIGITS
    report = demo.run(images, images.name if args.images else "mnist5k")
    _cli.remember_index(args.output / "index")
    if args.json:
        _cli.report_json(report)
    else:
        print(table(report, args.output))


def table(report: dict[str, Any], output: Path) -> str:
    """The report as a person reads it."""
    rows = [
        "data|{dataset}, {classes} classes: {train_images:,} images to train, "
        "{database_images:,} to search, {queries:,} queries",
        "network|{net} on {engine}: {bits}-bit codes, {distinct_codes} of them in use",
        "mAP at 1000|{map_at_1000:.4f}   ranked by the codes alone",
        "precision at 10|{precision_at_10:.4f}",
        "search|{search_p50_ms} ms (median, coarse to fine); "
        "{query_p50_ms} ms with decoding and the network",
        "time|{seconds}",
        "look at|{output}/training.png, {output}/results.png, {output}/report.json",
    ]
    return _cli.facts_table(rows, report, output)


if __name__ == "__main__":
    _cli.run(main)
