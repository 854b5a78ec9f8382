"""A prototxt as its layers in one phase, with the shape of every blob and weight."""

from .net import Layer, NetDef, load_netdef
from .table import layer_rows, layer_table

__all__ = ["Layer", "NetDef", "layer_rows", "layer_table", "load_netdef"]
