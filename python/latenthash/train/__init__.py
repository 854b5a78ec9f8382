"""Solver to caffemodel, with everything checked before Caffe starts."""

from .plan import Plan, make_plan
from .run import TrainResult, train

__all__ = ["Plan", "TrainResult", "make_plan", "train"]
