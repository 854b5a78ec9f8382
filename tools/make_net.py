"""Write a network's train_val, deploy and solver prototxt."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from _cli import ROOT, parser, report_json, run
from latenthash import nets
from latenthash.dataset import copies_in
from latenthash.errors import NetError
from latenthash.lmdb_store import DatumReader
from latenthash.netdef import layer_rows, layer_table, load_netdef


def main() -> None:
    """Parse, build, write, report."""
    args = _arguments()
    if args.features:
        _make_features(args)
        return
    if args.bits is None or args.classes is None:
        raise NetError("--bits or --classes is missing", "give both, or --features")
    folder = args.output or ROOT / "prototxt" / f"{args.net}_{args.bits}"
    train_images, val_images = _images(args.data, "train"), _images(args.data, "val")
    files = nets.build(
        args.net, args.bits, args.classes, args.data, _shown(folder), train_images, val_images,
        size=args.size, fixed_statistics=args.fixed_statistics, mixed=args.mix,
        frozen_to=args.freeze,
    )  # fmt: skip
    paths = nets.write_net(files, folder, replace=args.force)
    family = nets.NETS[args.net].sized(args.size or nets.NETS[args.net].crop)
    net = load_netdef(folder / "deploy.prototxt", "TEST")
    report = {
        "name": files.name,
        "about": files.about,
        "files": [_shown(path) for path in paths],
        "layers": layer_rows(net),
        "feature": net.feature_blob,
        "code": net.code_blob,
        "resize": family.resize,
        "crop": family.crop,
        "weights": f"caffe_models/{family.weights}" if family.weights else None,
    }
    if args.json:
        report_json(report)
        return
    print(f"{files.name}: {files.about}\n\n{layer_table(net)}\n")
    print(f"feature {net.feature_blob}, code {net.code_blob}")
    print(f"images resized to {family.resize}, cropped to {family.crop}")
    print(f"starts from {report['weights'] or 'scratch'}")
    print(f"wrote {', '.join(_shown(path) for path in paths)}")
    print(nets.ADVICE)


def _make_features(args: Namespace) -> None:
    """The trunk alone, as a net that runs."""
    net = nets.features(args.net, args.size)
    folder = args.output or ROOT / "prototxt" / args.net
    (path,) = nets.write_features(net, folder, replace=args.force)
    made = load_netdef(path, "TEST")
    report = {
        "name": net.name,
        "files": [_shown(path)],
        "layers": layer_rows(made),
        "feature": made.layers[-1].tops[0],
    }
    if args.json:
        report_json(report)
        return
    print(f"{layer_table(made)}\n\nfeature {report['feature']}\nwrote {_shown(path)}")


def _arguments() -> Namespace:
    families = "\n".join(f"  {family.name:18} {family.summary}" for family in nets.NETS.values())
    options = parser(
        f"{__doc__}\n\nnets:\n{families}\n\n{nets.ADVICE}",
        "python tools/make_net.py --net alexnet --bits 48 --classes 10 --data data/cifar10",
    )
    options.add_argument("--net", required=True, choices=nets.NETS, help="family of nets")
    options.add_argument("--bits", type=int, help="width of the codes")
    options.add_argument("--classes", type=int, help="number of classes")
    options.add_argument(
        "--features", action="store_true", help="only a net to features, for --hash; no classes"
    )
    options.add_argument("--data", help="folder of train_lmdb, val_lmdb and mean.binaryproto")
    options.add_argument("--size", type=int, help="side of the net's input, where a net can choose")
    options.add_argument(
        "--fixed-statistics",
        action="store_true",
        help="train with the normalisation that the weights bring, for small batches",
    )
    options.add_argument(
        "--mix", type=float, metavar="X",
        help="train on pairs of images, mixed X to 1 - X (0.25), against learning by heart",
    )  # fmt: skip
    options.add_argument(
        "--freeze", metavar="LAYER",
        help="the layers up to this one keep their weights: shorter steps, for fine-tuning",
    )  # fmt: skip
    options.add_argument("-o", "--output", type=Path, help="folder (prototxt/NET_BITS)")
    options.add_argument("--force", action="store_true", help="replace another net there")
    options.add_argument("--json", action="store_true", help="print the report as JSON")
    return options.parse_args()


def _images(data: str | None, split: str) -> int | None:
    """Images in an LMDB, their copies not counted; None before it is built."""
    path = Path(data or "") / f"{split}_lmdb"
    if data is None or not path.exists():
        return None
    with DatumReader(path) as reader:
        return len(reader) // (1 + (copies_in(Path(data)) if split == "train" else 0))


def _shown(path: Path) -> str:
    """Relative to the project's root where it lies inside, as Caffe is run there."""
    absolute = path.absolute()
    return str(absolute.relative_to(ROOT) if absolute.is_relative_to(ROOT) else absolute)


if __name__ == "__main__":
    run(main)
