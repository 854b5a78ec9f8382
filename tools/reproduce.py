#!/usr/bin/env python3
"""Measure everything that the data at hand allow, beside what was published."""

from __future__ import annotations

import _cli  # isort: skip  (first: it finds the project's interpreter)

from pathlib import Path
from time import perf_counter

from latenthash.model import open_features, open_model
from latenthash.pretrained import published_weights
from latenthash.reproduce import Reproduction, write_report

LEARNED, GENERIC = "efficientnet_lite0_48_cifar10", "efficientnet_lite0"


def main() -> None:
    parser = _cli.parser(
        "Run every experiment on CIFAR-10, or without it on MNIST's digits, and write "
        "DOCS/results.md with its JSON files and plots. What was made before of the same images "
        "and weights is used again.",
        "python tools/reproduce.py --images data/cifar10",
    )
    parser.add_argument(
        "--images", type=Path, help="CIFAR-10 in folders train and test, or as published"
    )
    parser.add_argument("--digits", type=Path, help="MNIST's digits, instead of --images")
    parser.add_argument(
        "--subset", type=int, help="images of the database at most, for a quick look"
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("run/reproduce"),
                        help="folder for what is made on the way")  # fmt: skip
    parser.add_argument("--docs", type=Path, default=Path("docs"),
                        help="folder for results.md, results/ and images/results/")  # fmt: skip
    _cli.add_engine(parser)
    args = parser.parse_args()

    begin = perf_counter()
    run = Reproduction(
        args.output, _cli.engine(args), _cli.announce,
        results=args.docs / "results", pictures=args.docs / "images/results", subset=args.subset,
    )  # fmt: skip
    if args.digits:
        run.digits(args.digits)
    else:
        folder = _cli.ROOT / "caffe_models"
        deploy = _cli.net_file(LEARNED, "deploy.prototxt")
        learned = open_model(deploy, published_weights(folder / LEARNED))
        generic = open_features(
            _cli.net_file(GENERIC, "deploy.prototxt"), published_weights(folder / GENERIC)
        )
        run.cifar10(args.images, learned, generic)
    write_report(run.results, run.pictures, args.docs / "results.md")
    print(f"report {args.docs}/results.md, after {(perf_counter() - begin) / 60:.0f} minutes")


if __name__ == "__main__":
    _cli.run(main)
