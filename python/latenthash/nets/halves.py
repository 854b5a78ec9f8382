"""Layers that cut a batch in two and put it together again."""

from __future__ import annotations

from collections.abc import Sequence

from ..proto.caffe_pb2 import EltwiseParameter, LayerParameter


def cut(blob: str) -> LayerParameter:
    """First and second half of a batch, as `<blob>_1` and `<blob>_2`."""
    layer = LayerParameter(name=f"{blob}_halves", type="Slice", bottom=[blob])
    layer.top.extend([f"{blob}_1", f"{blob}_2"])
    layer.slice_param.axis = 0
    return layer


def join(bottoms: Sequence[str], top: str) -> LayerParameter:
    """One batch after the other."""
    layer = LayerParameter(name=top, type="Concat", bottom=bottoms, top=[top])
    layer.concat_param.axis = 0
    return layer


def weigh(first: str, second: str, share: float, top: str) -> LayerParameter:
    """(1 - share) first + share second."""
    layer = LayerParameter(name=top, type="Eltwise", bottom=[first, second], top=[top])
    layer.eltwise_param.operation = EltwiseParameter.SUM
    layer.eltwise_param.coeff.extend([1 - share, share])
    return layer
