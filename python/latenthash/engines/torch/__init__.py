"""Caffe's files executed by PyTorch."""

from .engine import TorchEngine, TorchNet, make_engine

__all__ = ["TorchEngine", "TorchNet", "make_engine"]
