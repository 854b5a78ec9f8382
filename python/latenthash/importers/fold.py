"""Weights of nets whose normalisation is folded away; see `nets.folding`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import NetError
from ..nets.folding import Foldable, foldables
from ..proto.caffe_pb2 import NetParameter
from ..weights import Weights
from .base import Array


def fold_weights(net: NetParameter, weights: Weights) -> Weights:
    """Weights for `fold_net(net)`.

    Args:
        net: the deploy net with its normalisation.
        weights: that it was trained to; layers that it does not have stay.

    Raises:
        NetError: weights of a layer to be folded are missing.
    """
    folded = dict(weights)
    for found in foldables(net):
        needed = [layer.name for layer in (found.layer, found.norm, found.scale) if layer]
        if missing := [name for name in needed if name not in weights]:
            raise NetError(f"no weights for layer {missing[0]!r}", "give those of this net")
        folded[found.layer.name] = _fold(found, weights)
        for name in needed[1:]:
            del folded[name]
    return folded


def _fold(found: Foldable, weights: Weights) -> list[Array]:
    mean, variance, factor = (np.ravel(blob) for blob in weights[found.norm.name])
    times = 1 / factor[0] if factor[0] else 0.0
    scale = weights[found.scale.name] if found.scale else []
    own = weights[found.layer.name]
    return fold_values(
        own[0],
        own[1] if len(own) > 1 else None,
        mean * times,
        variance * times,
        found.norm.batch_norm_param.eps,
        scale,
    )


def fold_values(
    kernel: Array,
    bias: Array | None,
    mean: NDArray[np.floating],
    variance: NDArray[np.floating],
    epsilon: float,
    scale: list[Array],
) -> list[Array]:
    """Weight and bias that also do what follows.

    Args:
        kernel: (outputs, ...).
        bias: (outputs,) or None.
        mean: (outputs,) as is `variance`.
        variance: of what is normalised.
        epsilon: added to the variance.
        scale: none, a factor, or a factor and a shift, (outputs,) each.
    """
    gamma = np.ravel(scale[0]) if scale else np.float64(1)
    beta = np.ravel(scale[1]) if len(scale) > 1 else np.float64(0)
    factor = gamma / np.sqrt(np.asarray(variance, np.float64) + epsilon)
    weight = kernel * factor.reshape(-1, *[1] * (kernel.ndim - 1))
    start = 0 if bias is None else np.ravel(bias)
    return [weight.astype(np.float32), ((start - mean) * factor + beta).astype(np.float32)]
