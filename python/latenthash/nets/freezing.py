"""Fine-tuning with the first layers as they are: no gradient reaches them, so steps are shorter."""

from __future__ import annotations

from ..errors import NetError
from ..proto.caffe_pb2 import NetParameter

_SHOWN = 5


def freeze(net: NetParameter, last: str) -> None:
    """Stop the layers up to `last` from learning, in place.

    BatchNorm among them goes on normalising by each batch; see `dsl.fix_statistics`.

    Args:
        net: train_val, its layers in order.
        last: the last layer whose weights stay as they are.

    Raises:
        NetError: there is no such layer, or nothing would learn any more.
    """
    names = [layer.name for layer in net.layer]
    if last not in names:
        near = [name for name in names if name.startswith(last)] or names
        raise NetError(
            f"{net.name} has no layer {last!r}",
            f"name one of its layers: {', '.join(near[:_SHOWN])}, ...",
        )
    count = names.index(last) + 1
    if not any(spec.lr_mult for layer in net.layer[count:] for spec in layer.param):
        raise NetError(f"{net.name}: nothing after layer {last!r} learns", "name an earlier layer")
    for layer in net.layer[:count]:
        for spec in layer.param:
            spec.lr_mult = spec.decay_mult = 0
