"""Layers under other names."""

from __future__ import annotations

from collections.abc import Mapping

from ..proto.caffe_pb2 import LayerParameter


def renamed(
    layer: LayerParameter, blobs: Mapping[str, str], layers: Mapping[str, str] | None = None
) -> LayerParameter:
    """Copy of a layer whose bottoms and tops, and itself, have other names where there are some."""
    copy = LayerParameter()
    copy.CopyFrom(layer)
    copy.name = (layers or {}).get(layer.name, layer.name)
    copy.bottom[:] = [blobs.get(blob, blob) for blob in layer.bottom]
    copy.top[:] = [blobs.get(blob, blob) for blob in layer.top]
    return copy
