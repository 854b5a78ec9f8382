#!/usr/bin/env python3
"""Class folders to a list of the classes that a network may see in training."""

from __future__ import annotations

import _cli  # isort: skip  (first: it finds the project's interpreter)

from pathlib import Path

from latenthash.evaluate import hold_out, write_seen_list
from latenthash.evaluate.splits import UNSEEN_SHARE
from latenthash.sources import open_source


def main() -> None:
    parser = _cli.parser(
        "Hold out a share of the classes: list the training images of the others for "
        "build_lmdb.py. evaluate.py --protocol cifar10-unseen then asks for the classes held out.",
        "python tools/hold_out.py data/cifar10 -o run/seen",
    )
    parser.add_argument("source", type=Path, help="image set, as build_lmdb.py takes it")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the list")
    parser.add_argument("--share", type=float, default=UNSEEN_SHARE, help="of classes held out")
    parser.add_argument("--seed", type=int, default=0, help="of the choice")
    _cli.add_json(parser)
    args = parser.parse_args()

    source = open_source(args.source)
    seen, unseen = hold_out(source.labels, args.share, args.seed)
    with _cli.bar("unpacking") as progress:
        made = write_seen_list(source, seen, args.output, progress)
    if args.json:
        facts = {"list": str(made.path), "root": str(made.root), "images": made.images}
        _cli.report_json({**facts, "seen": seen, "unseen": unseen})
        return
    print(f"{made.images} images of {', '.join(seen)} in {made.path}")
    print(f"held out: {', '.join(unseen)}")
    print(f"next: python tools/build_lmdb.py {made.path} DATA --root {made.root}")


if __name__ == "__main__":
    _cli.run(main)
