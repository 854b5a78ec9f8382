"""Learning rates by iteration, as Caffe's policies give them."""

from __future__ import annotations

import math

from ...proto.caffe_pb2 import SolverParameter

POLICIES = ("fixed", "step", "exp", "inv", "multistep", "poly", "sigmoid")


class LearningRate:
    """The rate of one iteration after the other.

    Attributes:
        current_step: steps taken so far by "step" and "multistep"; part of a snapshot.
    """

    def __init__(self, settings: SolverParameter) -> None:
        self.current_step = 0
        self._settings = settings

    def at(self, iteration: int) -> float:
        """Rate of an iteration; to be asked once for each, in order.

        "multistep" takes at most one step an iteration, as in Caffe.
        """
        settings = self._settings
        if settings.lr_policy == "step":
            self.current_step = iteration // settings.stepsize
        elif settings.lr_policy == "multistep":
            values, done = settings.stepvalue, self.current_step
            self.current_step += done < len(values) and iteration >= values[done]
        return settings.base_lr * self._factor(iteration)

    def _factor(self, iteration: int) -> float:
        settings = self._settings
        gamma, power = settings.gamma, settings.power
        policy = settings.lr_policy
        if policy in ("step", "multistep"):
            return float(gamma**self.current_step)
        if policy == "exp":
            return float(gamma**iteration)
        if policy == "inv":
            return float((1 + gamma * iteration) ** -power)
        if policy == "poly":
            return float((1 - iteration / settings.max_iter) ** power)
        if policy == "sigmoid":
            return 1 / (1 + math.exp(-gamma * (iteration - settings.stepsize)))
        return 1.0
