"""VGG's weights from state dicts of torchvision.

torchvision feeds RGB, (pixel / 255 - mean) / deviation by channel. Caffe subtracts a mean
and takes one factor for all channels; the factors by channel go into the first kernels,
which is exact at the borders too, since padding is 0 after the mean in both.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ..errors import NetError
from ..netdef import NetDef
from ..weights import Weights
from .base import Imported, Taker, require_fit
from .checkpoint import read_checkpoint
from .vgg import vgg_layers

RGB_MEAN = (0.485, 0.456, 0.406)
RGB_DEVIATION = (0.229, 0.224, 0.225)
_INNER = {"fc6": "classifier.0", "fc7": "classifier.3", "fc8": "classifier.6"}


def import_torchvision_vgg(path: Path, net: NetDef) -> Imported:
    """Weights of torchvision's vgg16 or vgg19 for a net with Caffe's layer names.

    Args:
        path: state dict (.pth).
        net: train_val or deploy of vgg16 or vgg19; its data layers must subtract the mean
            that is returned, in place of VGG's own.

    Raises:
        EngineError: PyTorch is not installed.
        NetError: the file is missing, damaged or of another network, as of vgg16_bn.
    """
    state = read_checkpoint(path)
    take = Taker(path, state)
    layers = vgg_layers(net)
    places = sorted(
        int(n.split(".")[1]) for n in state if re.fullmatch(r"features\.\d+\.weight", n)
    )
    convs = [name for name in layers if name not in _INNER]
    if len(places) != len(convs):
        raise NetError(
            f"{path}: has {len(places)} layers of features, {net.path} {len(convs)}",
            "give the weights of the same network, without batch normalisation",
        )
    sources = {**_INNER, **{c: f"features.{n}" for c, n in zip(convs, places, strict=True)}}
    weights: Weights = {
        name: [take(f"{sources[name]}.weight"), take(f"{sources[name]}.bias")] for name in layers
    }
    first = weights[convs[0]]
    deviation = 255 * np.array(RGB_DEVIATION, np.float32).reshape(1, 3, 1, 1)
    first[0] = np.ascontiguousarray((first[0] / deviation)[:, ::-1])
    require_fit(net, weights, path)
    blue, green, red = (255 * value for value in reversed(RGB_MEAN))
    return Imported(
        weights, (blue, green, red), 1.0, take.unused(("classifier.6.weight", "classifier.6.bias"))
    )
