"""Normalisation folded into the layer before it, for nets that only run.

A convolution followed by BatchNorm and Scale computes s (Wx + b - mean) + beta with
s = gamma / sqrt(variance + eps): a convolution with kernels s W and bias s (b - mean) + beta.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..proto.caffe_pb2 import LayerParameter, NetParameter


@dataclass(frozen=True)
class Foldable:
    """Consecutive layers that one can do the work of.

    Attributes:
        layer: Convolution or InnerProduct.
        norm: the BatchNorm that reads it.
        scale: the Scale that reads that, if one does.
    """

    layer: LayerParameter
    norm: LayerParameter
    scale: LayerParameter | None

    @property
    def last(self) -> LayerParameter:
        """The layer whose top the others read."""
        return self.scale or self.norm


def foldables(net: NetParameter) -> Iterator[Foldable]:
    """What can be folded in a deploy net, in its order.

    Left as they are: normalisation by the batch's own statistics, and blobs that a layer
    besides the normalisation reads.
    """
    reads = [bottom for layer in net.layer for bottom in layer.bottom]
    following = zip(net.layer, net.layer[1:], [*net.layer[2:], LayerParameter()], strict=False)
    for first, norm, scale in following:
        if not (_has_outputs(first) and _is_constant(norm) and _continues(first, norm, reads)):
            continue
        scaled = scale.type == "Scale" and _per_channel(scale) and _continues(norm, scale, reads)
        yield Foldable(first, norm, scale if scaled else None)


def _has_outputs(layer: LayerParameter) -> bool:
    """Whether the first axis of its weights is that of its outputs."""
    if layer.type == "InnerProduct":
        return not layer.inner_product_param.transpose and layer.inner_product_param.axis == 1
    return layer.type == "Convolution" and len(layer.top) == 1


def _is_constant(norm: LayerParameter) -> bool:
    """Whether it normalises by moving averages, as a net that runs does unless told not to."""
    setting = norm.batch_norm_param
    own = setting.HasField("use_global_stats") and not setting.use_global_stats
    return norm.type == "BatchNorm" and not own


def _continues(above: LayerParameter, layer: LayerParameter, reads: list[str]) -> bool:
    """Whether `layer` reads what `above` makes, and nothing else needs that."""
    (made,) = above.top
    return list(layer.bottom) == [made] and (layer.top[0] == made or reads.count(made) == 1)


def _per_channel(scale: LayerParameter) -> bool:
    return scale.scale_param.axis == 1 and scale.scale_param.num_axes == 1


def fold_net(net: NetParameter) -> NetParameter:
    """A deploy net without the normalisation that can be folded; names stay."""
    folds = {found.layer.name: found for found in foldables(net)}
    gone = {found.norm.name for found in folds.values()}
    gone |= {found.scale.name for found in folds.values() if found.scale is not None}
    folded = NetParameter()
    folded.CopyFrom(net)
    del folded.layer[:]
    for layer in net.layer:
        if layer.name not in gone:
            kept = folded.layer.add()
            kept.CopyFrom(layer)
            if layer.name in folds:
                _with_bias(kept, folds[layer.name].last.top[0])
    return folded


def _with_bias(layer: LayerParameter, top: str) -> None:
    layer.top[0] = top
    if layer.type == "Convolution":
        layer.convolution_param.ClearField("bias_term")  # true unless said otherwise
    else:
        layer.inner_product_param.ClearField("bias_term")
