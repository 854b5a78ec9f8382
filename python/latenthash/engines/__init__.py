"""Engines that execute Caffe's files."""

from .base import Engine, Net, OnStep, Step, get_engine

__all__ = ["Engine", "Net", "OnStep", "Step", "get_engine"]
