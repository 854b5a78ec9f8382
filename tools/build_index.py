#!/usr/bin/env python3
"""Code file to index."""

from __future__ import annotations

import _cli  # isort: skip  (first: it finds the project's interpreter)

from pathlib import Path

from latenthash.codes import CodeSet
from latenthash.index import open_index
from latenthash.index.bucket.layout import STORAGE
from latenthash.index.opening import build

KEYS = ("images", "buckets", "bits", "dim", "storage", "feature_loss")


def main() -> None:
    parser = _cli.parser(
        "Build the index of a code file: images that share a code lie together. "
        "It becomes the default of search.py.",
        "python tools/build_index.py codes.h5 run/index",
    )
    parser.add_argument("codes", type=Path, help="output of extract.py")
    parser.add_argument(
        "index",
        type=_cli.address,
        help="folder to write, or milvus://host:port/collection; an index there is replaced",
    )
    parser.add_argument(
        "--storage",
        choices=STORAGE,
        help="of the features in a folder, float16 unless said; int8 halves them and the time "
        "to read them, and says what it costs",
    )
    _cli.add_json(parser)
    args = parser.parse_args()

    with CodeSet(args.codes) as codes, _cli.bar("indexing") as progress:
        build(codes, args.index, args.storage, progress)
    _cli.remember_index(args.index)
    with open_index(args.index) as index:
        facts = index.manifest
    if args.json:
        _cli.report_json(
            {
                "index": str(args.index),
                **{key: facts[key] for key in KEYS if key in facts},
            }
        )
    else:
        buckets = f" in {facts['buckets']} buckets" if "buckets" in facts else ""
        print(
            f"{args.index}: {facts['images']} images{buckets}, "
            f"{facts['bits']} bits, {facts['dim']}-d {facts['storage']} features"
        )


if __name__ == "__main__":
    _cli.run(main)
