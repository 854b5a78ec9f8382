"""A prototxt as its layers in one phase, with the shape of every blob and weight."""

from .net import Layer, NetDef, load_netdef

__all__ = ["Layer", "NetDef", "load_netdef"]
