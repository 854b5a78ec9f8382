"""Engines that execute Caffe's files."""

from .base import Engine, Net, OnStep, Step, TrainingStopped, get_engine

__all__ = ["Engine", "Net", "OnStep", "Step", "TrainingStopped", "get_engine"]
