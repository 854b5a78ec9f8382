"""VGG's weights from HDF5 files of Keras.

Kernels lie as (height, width, inputs, outputs) there and inner products as (inputs,
outputs); what is flattened for the first of those is (height, width, channels). Keras took
these weights from VGG's release for Caffe, so channels are BGR and the mean is VGG's.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from ..errors import NetError
from ..netdef import NetDef
from ..weights import Weights
from .base import Array, Imported, Taker, require_fit
from .vgg import KERNELS, flattened, vgg_layers

BGR_MEAN = (103.939, 116.779, 123.68)
_INNER = {"fc6": "fc1", "fc7": "fc2", "fc8": "predictions"}
_UNUSED = ("predictions/weight", "predictions/bias")


def import_keras_vgg(path: Path, net: NetDef) -> Imported:
    """Weights of Keras's VGG16 or VGG19 for a net with Caffe's layer names.

    Args:
        path: as of `keras.applications` (`..._tf_dim_ordering_tf_kernels.h5`, with or
            without its top, which then starts fresh), or such a model saved as HDF5.
        net: train_val or deploy of vgg16 or vgg19.

    Raises:
        NetError: the file is missing, damaged or of another network.
    """
    take = Taker(path, _read(path))
    weights: Weights = {}
    for layer in vgg_layers(net):
        block, _, index = layer.removeprefix("conv").partition("_")
        name = _INNER.get(layer, f"block{block}_conv{index}")
        if layer in _INNER and f"{name}/weight" not in take:
            continue
        kernel, bias = take(f"{name}/weight"), take(f"{name}/bias")
        if kernel.ndim == KERNELS:
            kernel = kernel.transpose(3, 2, 0, 1)
        else:
            kernel = _inner(kernel, flattened(net, layer))
        weights[layer] = [np.ascontiguousarray(kernel), bias]
    require_fit(net, weights, path)
    return Imported(weights, BGR_MEAN, 1.0, take.unused(_UNUSED))


def _inner(weight: Array, shape: tuple[int, ...]) -> Array:
    """(inputs, outputs) to (outputs, inputs), inputs from (H, W, C) to (C, H, W)."""
    outputs = weight.shape[1]
    if len(shape) == KERNELS - 1 and weight.shape[0] == np.prod(shape):
        channels, height, width = shape
        weight = weight.reshape(height, width, channels, outputs).transpose(2, 0, 1, 3)
    return weight.reshape(-1, outputs).T


def _read(path: Path) -> dict[str, Array]:
    """`<layer>/weight` and `<layer>/bias` of every layer that has both."""
    if not path.is_file():
        raise NetError(f"{path}: no such file", "check the path")
    try:
        with h5py.File(path, "r") as file:
            model = file.get("model_weights", file)
            arrays: dict[str, Array] = {}
            for layer in _names(model.attrs["layer_names"]):
                group = model[layer]
                found = [group[name] for name in _names(group.attrs["weight_names"])]
                if len(found) == 2:
                    weight, bias = (np.asarray(values, np.float32) for values in found)
                    arrays |= {f"{layer}/weight": weight, f"{layer}/bias": bias}
            return arrays
    except (OSError, KeyError, ValueError) as error:
        raise NetError(
            f"{path}: is no whole HDF5 file of Keras's weights ({error})",
            "give one with the attribute layer_names, as keras.applications has them",
        ) from error


def _names(stored: np.ndarray[tuple[int], np.dtype[np.object_]]) -> list[str]:
    return [name.decode() if isinstance(name, bytes) else str(name) for name in stored]
