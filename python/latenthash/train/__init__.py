"""Solver to caffemodel, with everything checked before Caffe starts."""

from .override import Override
from .plan import Plan, make_plan
from .run import TrainResult, train

__all__ = ["Override", "Plan", "TrainResult", "make_plan", "train"]
