"""What one iteration does to the weights: Caffe's solvers, on lists of tensors at once.

Order and formulas are Caffe's: clip, normalise by iter_size, regularise, update. In the
formulas g is the gradient, r the rate, m the momentum, h a history.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...proto.caffe_pb2 import SolverParameter
from .parameters import Learnable

Tensors = list[Tensor]


@dataclass(frozen=True)
class _Turn:
    """One update of tensors that have the same rate.

    Attributes:
        settings: the solver's.
        gradients: clipped, normalised and regularised; free to be overwritten.
        histories: one list for each that the solver keeps; changed in place.
        rate: of these tensors.
        iteration: updates done before.
    """

    settings: SolverParameter
    gradients: Tensors
    histories: Sequence[Tensors]
    rate: float
    iteration: int

    @property
    def history(self) -> Tensors:
        """The first."""
        return self.histories[0]


def _sgd(turn: _Turn) -> Tensors:
    """h = m h + r g; the weights lose h."""
    torch._foreach_mul_(turn.history, turn.settings.momentum)
    torch._foreach_add_(turn.history, turn.gradients, alpha=turn.rate)
    return turn.history


def _nesterov(turn: _Turn) -> Tensors:
    """As SGD, but the weights lose (1 + m) h - m h_before."""
    momentum = turn.settings.momentum
    steps = torch._foreach_mul(turn.history, -momentum)
    _sgd(turn)
    torch._foreach_add_(steps, turn.history, alpha=1 + momentum)
    return list(steps)


def _adagrad(turn: _Turn) -> Tensors:
    """h = h + g^2; the weights lose r g / (sqrt(h) + delta)."""
    torch._foreach_addcmul_(turn.history, turn.gradients, turn.gradients)
    return _scaled(turn, turn.gradients, turn.history, turn.rate)


def _rmsprop(turn: _Turn) -> Tensors:
    """h = d h + (1 - d) g^2; the weights lose r g / (sqrt(h) + delta)."""
    _average_squares(turn.history, turn.gradients, turn.settings.rms_decay)
    return _scaled(turn, turn.gradients, turn.history, turn.rate)


def _adadelta(turn: _Turn) -> Tensors:
    """h = m h + (1 - m) g^2; u = g sqrt((k + delta) / (h + delta)); k like h of u.

    The weights lose r u.
    """
    squares, steps = turn.histories
    _average_squares(squares, turn.gradients, turn.settings.momentum)
    factors = list(torch._foreach_add(steps, turn.settings.delta))
    torch._foreach_div_(factors, torch._foreach_add(squares, turn.settings.delta))
    torch._foreach_sqrt_(factors)
    torch._foreach_mul_(factors, turn.gradients)
    _average_squares(steps, factors, turn.settings.momentum)
    torch._foreach_mul_(factors, turn.rate)
    return factors


def _adam(turn: _Turn) -> Tensors:
    """h = m h + (1 - m) g; k = n k + (1 - n) g^2; the weights lose c r h / (sqrt(k) + delta).

    c corrects both averages for their start at 0.
    """
    means, squares = turn.histories
    first, second, count = turn.settings.momentum, turn.settings.momentum2, turn.iteration + 1
    torch._foreach_mul_(means, first)
    torch._foreach_add_(means, turn.gradients, alpha=1 - first)
    _average_squares(squares, turn.gradients, second)
    correction = math.sqrt(1 - second**count) / (1 - first**count)
    return _scaled(turn, means, squares, turn.rate * correction)


def _average_squares(averages: Tensors, values: Tensors, kept: float) -> None:
    torch._foreach_mul_(averages, kept)
    torch._foreach_addcmul_(averages, values, values, value=1 - kept)


def _scaled(turn: _Turn, values: Tensors, squares: Tensors, rate: float) -> Tensors:
    """rate * values / (sqrt(squares) + delta)."""
    roots = torch._foreach_sqrt(squares)
    torch._foreach_add_(roots, turn.settings.delta)
    steps = torch._foreach_div(values, roots)
    torch._foreach_mul_(steps, rate)
    return list(steps)


SOLVERS: dict[str, tuple[Callable[[_Turn], Tensors], int]] = {
    "SGD": (_sgd, 1),
    "Nesterov": (_nesterov, 1),
    "AdaGrad": (_adagrad, 1),
    "RMSProp": (_rmsprop, 1),
    "AdaDelta": (_adadelta, 2),
    "Adam": (_adam, 2),
}
"""By type: the rule, and how many histories it keeps for a weight."""


class Updater:
    """Updates weights by their gradients.

    Attributes:
        history: in Caffe's order: the first history of all learnable parameters, then
            the second if the solver keeps two. Those of what is not learned stay 0.
    """

    def __init__(self, learnables: Sequence[Learnable], settings: SolverParameter) -> None:
        self._settings = settings
        self._all = learnables
        self._rule, kept = SOLVERS[settings.type]
        self.history = [torch.zeros_like(one.tensor) for _ in range(kept) for one in learnables]
        self._groups: dict[tuple[float, float], list[int]] = defaultdict(list)
        for number, one in enumerate(learnables):
            if one.lr_mult:
                self._groups[one.lr_mult, one.decay_mult].append(number)

    @torch.no_grad()
    def update(self, rate: float, iteration: int) -> None:
        """Change the weights once and forget the gradients."""
        gradients = self._gradients()
        self._clip(list(gradients.values()))
        for (lr_mult, decay_mult), numbers in self._groups.items():
            own = [gradients[number] for number in numbers]
            weights = [self._all[number].tensor for number in numbers]
            if self._settings.iter_size > 1:
                torch._foreach_div_(own, self._settings.iter_size)
            self._regularise(own, weights, self._settings.weight_decay * decay_mult)
            turn = _Turn(self._settings, own, self._kept(numbers), rate * lr_mult, iteration)
            torch._foreach_sub_(weights, self._rule(turn))

    def _gradients(self) -> dict[int, Tensor]:
        """By number of the parameter, taken away from it; 0 where no loss depends on it."""
        found = {}
        for numbers in self._groups.values():
            for number in numbers:
                weight = self._all[number].tensor
                found[number] = torch.zeros_like(weight) if weight.grad is None else weight.grad
                weight.grad = None
        return found

    def _kept(self, numbers: Sequence[int]) -> list[Tensors]:
        starts = range(0, len(self.history), len(self._all))
        return [[self.history[start + number] for number in numbers] for start in starts]

    def _clip(self, gradients: Tensors) -> None:
        """Scale all gradients down so that together they are no longer than clip_gradients."""
        longest = self._settings.clip_gradients
        if longest < 0 or not gradients:
            return
        length = torch.stack(torch._foreach_norm(gradients)).norm()
        tiny = torch.finfo(length.dtype).tiny
        torch._foreach_mul_(gradients, (longest / length.clamp(min=tiny)).clamp(max=1))

    def _regularise(self, gradients: Tensors, weights: Tensors, decay: float) -> None:
        if not decay:
            return
        if self._settings.regularization_type == "L1":
            torch._foreach_add_(gradients, torch._foreach_sign(weights), alpha=decay)
        else:
            torch._foreach_add_(gradients, weights, alpha=decay)
