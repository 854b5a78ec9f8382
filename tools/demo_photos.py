#!/usr/bin/env python3
"""A folder of photos made searchable, without labels or training; `make demo-photos` runs it."""

from __future__ import annotations

from typing import Any

import _cli  # isort: skip  (first: it finds the project's interpreter)

from pathlib import Path

from latenthash.model import open_features
from latenthash.photos_demo import PhotosDemo
from latenthash.pretrained import published_weights

STAMPS = _cli.ROOT / "data/stamps/photos"


def main() -> None:
    parser = _cli.parser(
        "Give every photo of a folder a feature by a published network, learn 64-bit codes on "
        "them, index, search and measure; report.json and results.png lie in OUT.",
        "python tools/demo_photos.py --images photos/",
    )
    parser.add_argument(
        "--images", type=Path, default=STAMPS, help="folder; its subfolders are searched too"
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("demo-photos"),
                        help="folder to write")  # fmt: skip
    parser.add_argument("--net", default="efficientnet_lite0", help="folder in prototxt/")
    parser.add_argument("--weights", type=Path, help="default: the published ones")
    parser.add_argument("--feature", metavar="BLOB", help="default: what the weights' readme names")
    _cli.add_engine(parser)
    _cli.add_json(parser)
    args = parser.parse_args()

    weights = args.weights or published_weights(_cli.ROOT / "caffe_models" / args.net)
    deploy = _cli.net_file(args.net, "deploy.prototxt")
    model = open_features(deploy, weights, feature=args.feature)
    report = PhotosDemo(args.output, _cli.engine(args), _cli.announce).run(args.images, model)
    _cli.remember_index(args.output / "index")
    if args.json:
        _cli.report_json(report)
    else:
        print(table(report, args.output))


def table(report: dict[str, Any], output: Path) -> str:
    """The report as a person reads it."""
    rows = [
        "photos|{images:,} of {images_from}, {skipped} skipped",
        "features|{dim} values by {net} on {engine}, {images_per_s} photos/s",
        "codes|{bits} bits, {hash} learned on these photos; {distinct_codes:,} distinct",
        "crops|{crop_map_features:.1%} find their photo by feature, {crop_map_codes:.1%} by code "
        "alone (mean of 1 / rank, {crops} crops)",
        "ten nearest|{recall_at_10_shortlist:.0%} of those by feature are among the {shortlist} "
        "nearest by code, {recall_at_10_codes:.0%} among the first ten",
        "search|{search_p50_ms} ms (median, coarse to fine); "
        "{query_p50_ms} ms with decoding and the network",
        "time|{seconds}",
        "look at|{output}/results.png, {output}/report.json",
        "ask|python tools/search.py YOUR_PICTURE.jpg --save hits.png",
    ]
    return _cli.facts_table(rows, report, output)


if __name__ == "__main__":
    _cli.run(main)
