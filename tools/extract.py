#!/usr/bin/env python3
"""Images to features and codes."""

from __future__ import annotations

import _cli  # isort: skip  (first: it finds the project's interpreter)

from pathlib import Path

from latenthash.extract import DEFAULT_BATCH, extract
from latenthash.model import open_model
from latenthash.sources import open_source


def main() -> None:
    parser = _cli.parser(
        "Give every image a feature and a binary code; write them to an HDF5 file. "
        "An interrupted run goes on where it stopped. "
        "Images that cannot be used are listed in OUT.skipped.csv.",
        "python tools/extract.py photos/ --net lenet_48 "
        "--weights run/lenet_48/lenet_48_iter_1500.caffemodel -o codes.h5",
    )
    parser.add_argument(
        "source", type=Path, help="folder (of class folders), list file or data set"
    )
    parser.add_argument("--root", type=Path, help="folder that a list file's names are relative to")
    parser.add_argument("--net", required=True, help="folder in prototxt/, or a deploy prototxt")
    parser.add_argument("--weights", type=Path, required=True, help="caffemodel from train.py")
    parser.add_argument("-o", "--output", type=Path, required=True, help="code file to write")
    parser.add_argument("--batch", type=int, default=DEFAULT_BATCH, help="images a forward pass")
    parser.add_argument("--workers", type=int, help="decoding threads; default: the free cores")
    _cli.add_engine(parser)
    parser.add_argument("--strict", action="store_true", help="fail at the first unusable image")
    _cli.add_json(parser)
    args = parser.parse_args()

    model = open_model(_cli.net_file(args.net, "deploy.prototxt"), args.weights)
    engine = _cli.engine(args)
    with _cli.bar("extracting") as progress:
        report = extract(
            open_source(args.source, root=args.root, labelled=False),
            model,
            engine,
            args.output,
            batch=args.batch,
            workers=args.workers,
            strict=args.strict,
            on_progress=progress,
        )
    if args.json:
        _cli.report_json(
            {
                "output": str(report.output),
                "images": report.images,
                "skipped": len(report.skipped),
                "bits": model.bits,
                "dim": model.dim,
            }
        )
    else:
        print(f"{report.output}: {report.images} images, {model.bits} bits, {model.dim}-d features")
        if report.skipped:
            print(f"{len(report.skipped)} skipped, see {report.output}.skipped.csv")


if __name__ == "__main__":
    _cli.run(main)
