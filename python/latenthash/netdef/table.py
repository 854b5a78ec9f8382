"""A net's layers as a table for people and as rows for machines."""

from __future__ import annotations

from math import prod
from typing import Any

from .net import NetDef


def layer_rows(net: NetDef) -> list[dict[str, Any]]:
    """One row a layer: name, type, shape of its first top without the batch, parameters.

    Layers without a top, and tops of one number, have the shape [].
    """
    return [
        {
            "name": layer.name,
            "type": layer.type,
            "shape": list(net.blob_shapes[layer.tops[0]][1:]) if layer.tops else [],
            "parameters": sum(map(prod, net.param_shapes.get(layer.name, ()))),
        }
        for layer in net.layers
    ]


def layer_table(net: NetDef) -> str:
    """The rows with a heading and the sum of parameters, in aligned columns."""
    rows = layer_rows(net)
    cells = [("layer", "type", "output", "parameters")]
    for row in rows:
        shape = " x ".join(map(str, row["shape"]))
        cells.append((row["name"], row["type"], shape, f"{row['parameters']:,}"))
    cells.append(("total", "", "", f"{sum(row['parameters'] for row in rows):,}"))
    w, x, y, z = (max(map(len, column)) for column in zip(*cells, strict=True))
    return "\n".join(f"{a:{w}}  {b:{x}}  {c:>{y}}  {d:>{z}}" for a, b, c, d in cells)
