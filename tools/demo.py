#!/usr/bin/env python3
"""The whole pipeline in one command; `make demo` runs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import _cli  # isort: skip  (first: it finds the project's interpreter)

from pathlib import Path

from latenthash.demo import Demo
from latenthash.progress import Progress

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

    demo = Demo(args.output, _cli.engine(args), announce)
    images = args.images or DIGITS
    report = demo.run(images, images.name if args.images else "mnist5k")
    _cli.remember_index(args.output / "index")
    if args.json:
        _cli.report_json(report)
    else:
        print(table(report, args.output))


@contextmanager
def announce(stage: str) -> Iterator[Progress]:
    """A bar a stage."""
    with _cli.bar(f"{stage:<12}", unit="") as progress:
        yield progress


def table(report: dict[str, Any], output: Path) -> str:
    """The report as a person reads it."""
    seconds = ", ".join(f"{stage} {value:.1f} s" for stage, value in report["seconds"].items())
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
    facts = {**report, "seconds": seconds, "output": output}
    split = (row.format(**facts).split("|", 1) for row in rows)
    return "\n".join(f"{name:<16} {text}" for name, text in split)


if __name__ == "__main__":
    _cli.run(main)
