"""Turn an image set into what Caffe trains on: LMDBs, mean, labels and a report."""

import _cli  # isort: skip  (first: hands over to the project's environment)

import argparse
from pathlib import Path

from latenthash.dataset import augment_of, build_lmdb


def size(text: str) -> tuple[int, int]:
    """(height, width) from "256" or "320x240" (width x height)."""
    width, _, height = text.partition("x")
    try:
        return int(height or width), int(width)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 256 or 320x240") from None


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = _cli.parser(__doc__, "python tools/build_lmdb.py photos/ data/photos --resize 256")
    parser.add_argument(
        "source",
        type=Path,
        metavar="SRC",
        help="folder of class folders (also below train/ and test/), list file with lines "
        "'relative/path label', folder of MNIST idx files or CIFAR-10 batches, "
        "Caltech-101's folder, or CSV of pixels and label",
    )
    parser.add_argument("output", type=Path, metavar="OUT", help="folder to write")
    parser.add_argument(
        "--resize",
        type=size,
        metavar="N|WxH",
        help="warp images to this size; without it they keep theirs if all have one, "
        "else become 256x256",
    )
    gray = parser.add_mutually_exclusive_group()
    gray.add_argument("--gray", action="store_true", default=None, help="one channel")
    gray.add_argument(
        "--colour", dest="gray", action="store_false", default=None, help="three channels"
    )
    parser.add_argument(
        "--encode",
        choices=("jpeg", "raw"),
        help="how images are stored; jpeg is ten times smaller "
        "(default: jpeg for image files, raw for arrays)",
    )
    parser.add_argument("--quality", type=int, default=95, help="of JPEG, 1 to 100")
    parser.add_argument(
        "--val",
        type=float,
        metavar="SHARE",
        help="share of each class for validation (default: the set's own split, else 0.2)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of split, order and copies")
    parser.add_argument("--root", type=Path, help="what a list file's paths are relative to")
    parser.add_argument("--background", action="store_true", help="keep BACKGROUND_Google")
    parser.add_argument(
        "--augment",
        nargs="+",
        metavar="CHANGE=X",
        help="add copies of the training images: zoom=X cuts up to X of the area off and fills "
        "the frame again; erase=X covers a square of up to X; colour=X, or any of brightness=X "
        "contrast=X saturation=X, changes colours by factors from 1 - X to 1 + X (mirror and crop "
        "are options of train.py)",
    )
    parser.add_argument(
        "--copies", type=int, metavar="N", help="of each training image, with --augment (1)"
    )
    parser.add_argument("--workers", type=int, help="images decoded at once (default: one a core)")
    parser.add_argument("--strict", action="store_true", help="fail if an image is skipped")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser.parse_args()


def main() -> None:
    """Build, then say what was built."""
    args = arguments()
    with _cli.bar("build_lmdb") as progress:
        report = build_lmdb(
            args.source,
            args.output,
            resize=args.resize,
            gray=args.gray,
            encode=args.encode,
            quality=args.quality,
            val_fraction=args.val,
            seed=args.seed,
            root=args.root,
            background=args.background,
            augment=augment_of(args.augment, args.copies),
            strict=args.strict,
            workers=args.workers,
            on_progress=progress,
        )
    if args.json:
        _cli.report_json(report.to_json())
    else:
        print(report.summary())


if __name__ == "__main__":
    _cli.run(main)
