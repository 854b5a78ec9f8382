#!/usr/bin/env python3
"""Images to features and codes on a Spark cluster, and to an index."""

from __future__ import annotations

import _cli  # isort: skip  (first: it finds the project's interpreter)

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latenthash.errors import DataError
from latenthash.extract import DEFAULT_BATCH
from latenthash.hashing import read_hash
from latenthash.index.bucket.layout import STORAGE
from latenthash.model import HashModel, open_features, open_model, with_hash
from latenthash.pretrained import published_weights

if TYPE_CHECKING:  # --help needs no Spark
    from latenthash.adapters.spark import CodeTable, Images


def main() -> None:
    args = arguments()
    from latenthash.adapters import spark as on_spark

    if not (args.source or args.shards or args.index):
        raise DataError("neither a source nor --shards nor --index", "say what to do")
    report: dict[str, Any] = {}
    session = on_spark.open_session(args.master, settings(args.conf))
    try:
        if args.source:
            with _cli.bar("extracting") as progress:
                made = on_spark.extract_table(
                    session,
                    images(args),
                    model_of(args),
                    args.output,
                    engine=args.engine,
                    precision=args.precision,
                    batch=args.batch,
                    images_per_batch=args.images_per_batch,
                    on_progress=progress,
                )
            report |= asdict(made)
        if args.shards or args.index:
            report |= index(args, on_spark.CodeTable(session, args.output))
    finally:
        session.stop()
    if args.json:
        _cli.report_json(report)
    else:
        print(text(args, report))


def arguments() -> _cli.argparse.Namespace:
    parser = _cli.parser(
        "Give every image a feature and a binary code on a Spark cluster; write them to a table "
        "in Parquet. Run again, it does what is missing, by the images' SHA-256. Images that "
        "cannot be used are in the table's quarantine, with the reason. --index makes an index of "
        "the table, here or in Milvus; without a source, of a table that is there.",
        "python tools/spark_extract.py hdfs://host/photos -o hdfs://host/codes "
        "--master spark://host:7077 --net alexnet_48 --weights run/alexnet_48.caffemodel "
        "--index run/index",
    )
    parser.add_argument(
        "source", nargs="?", help="folder (of class folders) that Hadoop reads, or --parquet"
    )
    parser.add_argument("-o", "--output", required=True, help="address of the table")
    parser.add_argument(
        "--parquet",
        metavar="NAME,BYTES[,LABEL]",
        help="the source is Parquet; these are its columns",
    )
    add_model(parser)
    parser.add_argument("--master", help="of the cluster; default: what Spark is configured for")
    parser.add_argument(
        "--conf", action="append", default=[], metavar="KEY=VALUE", help="more settings of Spark's"
    )
    parser.add_argument("--batch", type=int, default=DEFAULT_BATCH, help="images a forward pass")
    parser.add_argument(
        "--images-per-batch", type=int, default=20_000, help="images that are written together"
    )
    parser.add_argument("--shards", type=Path, help="folder for the code files; default: none kept")
    parser.add_argument("--shard-images", type=int, default=1_000_000, help="of a code file")
    parser.add_argument(
        "--index", help="index to build: a folder, or milvus://host:port/collection"
    )
    parser.add_argument(
        "--storage", choices=STORAGE, default="float16", help="of the features in a folder"
    )
    _cli.add_json(parser)
    return parser.parse_args()


def add_model(parser: _cli.argparse.ArgumentParser) -> None:
    """What makes the codes, and what runs it."""
    parser.add_argument("--net", help="folder in prototxt/ or caffe_models/, or a deploy prototxt")
    parser.add_argument(
        "--weights", type=Path, help="caffemodel; default: the published ones, in caffe_models/NET"
    )
    parser.add_argument("--feature", metavar="BLOB", help="default: what the latent layer reads")
    parser.add_argument("--hash", type=Path, metavar="FILE", help="a hash that was learned before")
    parser.add_argument(
        "--engine",
        choices=["auto", "caffe", "torch"],
        default="auto",
        help="what runs the net on every worker; auto takes the faster one that is installed here",
    )
    parser.add_argument(
        "--precision", choices=["float32", "bfloat16"], help="what PyTorch computes in"
    )


def settings(given: list[str]) -> dict[str, str]:
    """Settings of Spark's from KEY=VALUE."""
    pairs = [text.partition("=") for text in given]
    for (key, equals, _), whole in zip(pairs, given, strict=True):
        if not (key and equals):
            raise DataError(f"--conf {whole}", "give KEY=VALUE")
    return {key: value for key, _, value in pairs}


def images(args: _cli.argparse.Namespace) -> Images:
    """The source."""
    from latenthash.adapters.spark import ImageFolder, ImageTable

    if args.parquet is None:
        return ImageFolder(args.source)
    columns = args.parquet.split(",")
    if len(columns) not in (2, 3):
        raise DataError(f"--parquet {args.parquet}", "name 2 or 3 columns: NAME,BYTES[,LABEL]")
    return ImageTable(args.source, columns[0], columns[1], (*columns, None)[2])


def model_of(args: _cli.argparse.Namespace) -> HashModel:
    """The network that was asked for, with its hash if it has no codes of its own."""
    if not args.net:
        raise DataError("a source without --net", "say which network makes the codes")
    deploy = _cli.net_file(args.net, "deploy.prototxt")
    weights = args.weights or published_weights(_cli.ROOT / "caffe_models" / args.net)
    if not args.hash:
        return open_model(deploy, weights, feature=args.feature)
    model = open_features(deploy, weights, feature=args.feature)
    return with_hash(model, read_hash(args.hash), args.hash)


def index(args: _cli.argparse.Namespace, table: CodeTable) -> dict[str, Any]:
    """Code files and the index of a table; facts of both."""
    from latenthash.adapters.spark import index_shards, load_milvus, write_shards

    with tempfile.TemporaryDirectory(dir=None if args.shards else _beside(args.index)) as scratch:
        with _cli.bar("writing") as progress:
            shards = write_shards(
                table, args.shards or Path(scratch) / "shards", args.shard_images, progress
            )
        facts: dict[str, Any] = {"shards": len(shards)}
        if args.index:
            with _cli.bar("indexing", unit="shard") as progress:
                if args.index.startswith("milvus:"):
                    made = load_milvus(shards, args.index, progress)
                else:
                    made = index_shards(shards, Path(args.index), args.storage, progress)
                    _cli.remember_index(Path(args.index))
            facts |= {"index": args.index, "images": made.images, "duplicates": made.duplicates}
    return facts


def _beside(index: str) -> Path | None:
    """A folder on the index's disk, for what may not fit into the system's temporary one."""
    if index.startswith("milvus:"):
        return None
    parent = Path(index).absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    return parent


def text(args: _cli.argparse.Namespace, report: dict[str, Any]) -> str:
    """The report as a person reads it."""
    lines = []
    if "found" in report:
        lines.append(
            f"{args.output}: {report['found']} images found: {report['written']} written, "
            f"{report['quarantined']} in quarantine, {report['unchanged']} there already"
        )
    if args.shards:
        lines.append(f"{args.shards}: {report['shards']} code files")
    if args.index:
        left_out = len(report["duplicates"])
        lines.append(f"{args.index}: {report['images']} images, {left_out} duplicates left out")
    return "\n".join(lines)


if __name__ == "__main__":
    _cli.run(main)
