"""Pictures of what was measured. Matplotlib is imported where it draws."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .files import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BLUE, _ORANGE, _GREEN = "#1f77b4", "#d95f02", "#1b7837"
_SIZE = (10, 6.4)  # inches at 100 dots each: 1000 x 640
_DPI = 100


def training_curves(log: Path, path: Path) -> None:
    """Draw a training log: losses above, accuracies below, over iterations.

    Args:
        log: JSONL as training writes it.
        path: PNG to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    steps = [json.loads(line) for line in log.read_text().splitlines()]
    figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    losses, accuracies = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    _draw_losses(losses, steps)
    _draw_accuracies(accuracies, steps)
    with atomic_file(path) as partial:
        figure.savefig(partial, format="png")


def _draw_losses(axes: Axes, steps: list[dict[str, Any]]) -> None:
    iterations, values = _curve(steps, "train", "loss")
    axes.plot(iterations, values, color=_BLUE, linewidth=0.8, alpha=0.35, label="training")
    if len(values) > 2:
        axes.plot(iterations, smooth(values), color=_BLUE, linewidth=2, label="training, smoothed")
    for name in _names(steps, "test", "loss"):
        iterations, values = _curve(steps, "test", name)
        label = f"test, {values[-1]:.3g} at the end"
        axes.plot(iterations, values, color=_ORANGE, marker="o", markersize=4, label=label)
    axes.set_ylabel("loss")
    _finish(axes)


def _draw_accuracies(axes: Axes, steps: list[dict[str, Any]]) -> None:
    for name in _names(steps, "test", "accuracy"):
        iterations, values = _curve(steps, "test", name)
        label = f"{name}, {values[-1]:.1%} at the end"
        axes.plot(iterations, 100 * values, color=_GREEN, marker="o", markersize=4, label=label)
    axes.set_ylabel("test accuracy (%)")
    axes.set_xlabel("iteration")
    _finish(axes)


def _finish(axes: Axes) -> None:
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_lines():
        axes.legend(frameon=False)


def _names(steps: Iterable[dict[str, Any]], phase: str, part: str) -> list[str]:
    """Names of the phase's values that contain `part`."""
    found = {name for step in steps if step["phase"] == phase for name in step["values"]}
    return sorted(name for name in found if part in name)


def _curve(
    steps: Iterable[dict[str, Any]], phase: str, name: str
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Iterations and values of one output; NaN where it was not finite."""
    points = [
        (step["iteration"], np.nan if (value := step["values"][name]) is None else value)
        for step in steps
        if step["phase"] == phase and name in step["values"]
    ]
    return np.array([i for i, _ in points], np.int64), np.array([v for _, v in points], np.float64)


def smooth(values: NDArray[np.float64], weight: float = 0.9) -> NDArray[np.float64]:
    """Exponential moving average, corrected for its start; it passes over NaN and infinity.

    Args:
        values: (N,) float64.
        weight: of the past, 0 to 1.

    Returns:
        (N,) float64; NaN before the first finite value.
    """
    smoothed = np.full(len(values), np.nan)
    total = mass = 0.0
    for index, value in enumerate(values):
        if np.isfinite(value):
            total = weight * total + (1 - weight) * value
            mass = weight * mass + (1 - weight)
        if mass:
            smoothed[index] = total / mass
    return smoothed
