"""Nets that look at a picture and at its mirror image, and average the two features.

What a mirror image shows is the same, so a code should not depend on it; the average does
not. It costs each image twice the time. Caffe has no layer that mirrors, but its inner
product along the last axis, by a matrix with ones on the other diagonal, does it exactly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import NetError
from ..proto.caffe_pb2 import LayerParameter, NetParameter
from . import halves
from .renaming import renamed

_MIRROR = "mirror"


def mirror_net(net: NetParameter, feature: str) -> NetParameter:
    """A deploy net whose feature is the average of a picture's and its mirror image's.

    Args:
        net: one Input, of images; none of its layers looks across a batch.
        feature: blob to average; the layers that read it go on from the average.

    Raises:
        NetError: no images, no such blob, or a layer behind the feature reads what lies
            before it.
    """
    image, rest = net.layer[0], net.layer[1:]
    if image.type != "Input" or len(image.input_param.shape[0].dim) != 4:
        raise NetError(f"{net.name}: its first layer takes no images", "give a deploy net")
    writers = [place for place, layer in enumerate(rest) if feature in layer.top]
    if not writers:
        raise NetError(f"{net.name}: no blob {feature!r}", "name the feature's blob")
    before, behind = rest[: writers[-1] + 1], rest[writers[-1] + 1 :]
    _require_passage(net.name, [image, *before], list(behind), feature)
    blob, both = image.top[0], f"{feature}_both"
    joined = halves.join([blob, _MIRROR], f"{blob}_both")
    mirrored = NetParameter(name=net.name, layer=[image, _mirror(image), joined])
    mirrored.layer.extend(renamed(layer, {blob: joined.top[0], feature: both}) for layer in before)
    cut = halves.cut(both)
    first, second = cut.top
    mirrored.layer.extend([cut, halves.weigh(first, second, 0.5, feature), *behind])
    return mirrored


def mirror_weights(net: NetParameter) -> dict[str, list[NDArray[np.float32]]]:
    """Weights of the one layer that `mirror_net(net)` has beside those of `net`."""
    width = net.layer[0].input_param.shape[0].dim[3]
    return {_MIRROR: [np.eye(width, dtype=np.float32)[::-1].copy()]}


def _mirror(image: LayerParameter) -> LayerParameter:
    layer = LayerParameter(name=_MIRROR, type="InnerProduct", bottom=image.top, top=[_MIRROR])
    layer.inner_product_param.num_output = image.input_param.shape[0].dim[3]
    layer.inner_product_param.axis = 3
    layer.inner_product_param.bias_term = False
    return layer


def _require_passage(
    name: str, before: list[LayerParameter], behind: list[LayerParameter], feature: str
) -> None:
    made = {top for layer in before for top in layer.top} - {feature}
    for layer in behind:
        if around := made.intersection(layer.bottom):
            raise NetError(
                f"{name}: layer {layer.name!r} reads {min(around)!r}, past {feature!r}",
                "name a feature that all the rest is made of",
            )
