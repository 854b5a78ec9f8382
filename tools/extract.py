#!/usr/bin/env python3
"""Images to features and codes."""

from __future__ import annotations

import _cli  # isort: skip  (first: it finds the project's interpreter)

from pathlib import Path

from latenthash.errors import NetError
from latenthash.extract import DEFAULT_BATCH, ExtractReport, extract
from latenthash.hashing import METHODS, HashSettings, read_hash
from latenthash.model import FeatureModel, open_features, open_model, with_hash
from latenthash.pretrained import published_weights
from latenthash.search import index_model
from latenthash.sources import Source, open_source
from latenthash.sources.folders import STRAY, read_images

BITS = 64


def main() -> None:
    args = arguments()
    learning = None
    if args.hash in METHODS:
        learning = HashSettings(args.hash, args.bits or BITS, args.seed)
    elif args.bits:
        raise NetError("--bits without --hash", f"give --hash {'|'.join(METHODS)} too")
    with _cli.bar("extracting") as progress:
        report = extract(
            source_of(args),
            model_of(args),
            _cli.engine(args),
            args.output,
            learning=learning,
            batch=args.batch,
            workers=args.workers,
            strict=args.strict,
            on_progress=progress,
        )
    if args.json:
        _cli.report_json(facts(report))
    else:
        print(text(report))


def arguments() -> _cli.argparse.Namespace:
    parser = _cli.parser(
        "Give every image a feature and a binary code; write them to an HDF5 file. "
        "The codes are those of the net's latent layer; with --hash they are learned on the "
        "features of these images, without labels or training. "
        "An interrupted run goes on where it stopped. "
        "Images that cannot be used are listed in OUT.skipped.csv.",
        "python tools/extract.py photos/ --net lenet_48 "
        "--weights run/lenet_48/lenet_48_iter_1500.caffemodel -o codes.h5\n"
        "  python tools/extract.py photos/ --net efficientnet_lite0 --hash itq --bits 64 "
        "-o codes.h5\n"
        "  python tools/extract.py more/ --index run/index -o more.h5",
    )
    parser.add_argument(
        "source", type=Path, help="folder (of class folders), list file or data set"
    )
    parser.add_argument("--root", type=Path, help="folder that a list file's names are relative to")
    add_model(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, help="code file to write")
    parser.add_argument("--batch", type=int, default=DEFAULT_BATCH, help="images a forward pass")
    parser.add_argument("--workers", type=int, help="decoding threads; default: the free cores")
    _cli.add_engine(parser)
    parser.add_argument("--strict", action="store_true", help="fail at the first unusable image")
    _cli.add_json(parser)
    return parser.parse_args()


def add_model(parser: _cli.argparse.ArgumentParser) -> None:
    """What makes the features, and the codes."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--net", help="folder in prototxt/ or caffe_models/, or a deploy prototxt")
    which.add_argument(
        "--index",
        type=_cli.address,
        help="the network and hash of this index: for images to be added to it",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        help="caffemodel from train.py; default: the published ones, in caffe_models/NET",
    )
    parser.add_argument("--feature", metavar="BLOB", help="default: what the latent layer reads")
    parser.add_argument(
        "--hash",
        metavar=f"{'|'.join(METHODS)}|FILE",
        help="learn the codes on these images; or a hash learned before, OUT.hash.h5",
    )
    parser.add_argument("--bits", type=int, help=f"of a hash to learn; default: {BITS}")
    parser.add_argument("--seed", type=int, default=0, help="of a hash to learn")


def model_of(args: _cli.argparse.Namespace) -> FeatureModel:
    """The network that was asked for, with its hash if there is one already."""
    if args.index:
        for option in ("weights", "feature", "hash"):
            if getattr(args, option):
                raise NetError(f"--{option} with --index", "the index has its own; leave it out")
        return index_model(args.index)
    deploy = _cli.net_file(args.net, "deploy.prototxt")
    weights = args.weights or published_weights(_cli.ROOT / "caffe_models" / args.net)
    if not args.hash:
        return open_model(deploy, weights, feature=args.feature)
    model = open_features(deploy, weights, feature=args.feature)
    if args.hash in METHODS:
        return model
    return with_hash(model, read_hash(Path(args.hash)), Path(args.hash))


def source_of(args: _cli.argparse.Namespace) -> Source:
    """The images; a folder for a learned hash needs no order, so none in it is left out."""
    source = open_source(args.source, root=args.root, labelled=False)
    learned = args.hash or args.index
    if learned and args.source.is_dir() and any(why == STRAY for _, why in source.skipped):
        return read_images(args.source)
    return source


def facts(report: ExtractReport) -> dict[str, object]:
    """The report as JSON."""
    model = report.model
    return {
        "output": str(report.output),
        "images": report.images,
        "skipped": len(report.skipped),
        "bits": model.bits,
        "dim": model.dim,
        "hash": str(model.hash_file) if model.hash_file else None,
    }


def text(report: ExtractReport) -> str:
    """The report as a person reads it."""
    model = report.model
    lines = [
        f"{report.output}: {report.images} images, {model.bits} bits, {model.dim}-d features",
    ]
    if model.hash:
        lines.append(
            f"{model.hash.method} in {model.hash_file}, learned on {model.hash.learned_from} images"
        )
    if report.skipped:
        lines.append(f"{len(report.skipped)} skipped, see {report.output}.skipped.csv")
    return "\n".join(lines)


if __name__ == "__main__":
    _cli.run(main)
