"""What the importers of VGG's weights share."""

from __future__ import annotations

import re

from ..errors import NetError
from ..netdef import NetDef
from ..netdef.rules import Shape

KERNELS = 4  # axes of a convolution's weight


def vgg_layers(net: NetDef) -> list[str]:
    """Names of a net's layers that VGG's weights are for, in order: conv1_1 to fc8.

    Raises:
        NetError: it has none.
    """
    names = [name for name in net.param_shapes if re.fullmatch(r"conv\d_\d|fc[678]", name)]
    if not names:
        raise NetError(f"{net.path}: has no layer of VGG's", "give a net of vgg16 or vgg19")
    return names


def flattened(net: NetDef, layer: str) -> Shape:
    """Shape, without the batch, of what a layer reads."""
    return net.blob_shapes[net.layer(layer).bottoms[0]][1:]
