"""Pictures of what was measured. Matplotlib is imported where it draws."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .files import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .index.health import Health

_BLUE, _ORANGE, _GREEN = "#1f77b4", "#d95f02", "#1b7837"
_COLOURS = (_BLUE, _ORANGE, _GREEN, "#7b3294", "#666666", "#b8860b", "#000000", "#e377c2")
_MOST_INSIDE = 6  # names in a legend that find room beside the curves
_SIZE = (10, 6.4)  # inches at 100 dots each: 1000 x 640
_LARGE = (11, 8)
_DPI = 100
_FEW_POINTS = 130  # of a curve, that are worth a dot each
Curve = tuple[ArrayLike, ArrayLike]


def training_curves(log: Path, path: Path) -> None:
    """Draw a training log: losses above, accuracies below, over iterations.

    Args:
        log: JSONL as training writes it.
        path: PNG to write.
    """
    steps = [json.loads(line) for line in log.read_text().splitlines()]
    figure = canvas()
    losses, accuracies = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    _draw_losses(losses, steps)
    _draw_accuracies(accuracies, steps)
    save(figure, path)


def canvas(size: tuple[float, float] = _SIZE) -> Figure:
    """An empty figure, `size` in inches, that needs no screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a PNG."""
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
    finish(axes)


def _draw_accuracies(axes: Axes, steps: list[dict[str, Any]]) -> None:
    for name in _names(steps, "test", "accuracy"):
        iterations, values = _curve(steps, "test", name)
        label = f"{name}, {values[-1]:.1%} at the end"
        axes.plot(iterations, 100 * values, color=_GREEN, marker="o", markersize=4, label=label)
    axes.set_ylabel("test accuracy (%)")
    axes.set_xlabel("iteration")
    finish(axes)


def finish(axes: Axes) -> None:
    """A light grid, no box, and a legend if anything has a name; of many, below."""
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    named = axes.get_legend_handles_labels()
    if len(named[0]) > _MOST_INSIDE:
        axes.figure.legend(*named, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    elif named[0]:
        axes.legend(frameon=False)


def colours() -> Iterator[str]:
    """Colours that are told apart in gray too, again and again."""
    return cycle(_COLOURS)


def styles() -> Iterator[tuple[str, str]]:
    """A colour and a kind of line for each curve: where colours come again, the line differs."""
    return ((colour, line) for line in cycle(("-", "--", ":")) for colour in _COLOURS)


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


def health_picture(health: Health, path: Path) -> None:
    """Draw what the codes of an index are worth.

    Four pictures: sizes of the buckets, share of ones per bit (dead bits in orange),
    correlation between bits, candidates within each radius.

    Args:
        health: of the index.
        path: PNG to write.
    """
    figure = canvas(_LARGE)
    sizes, balance, correlation, candidates = figure.subplots(2, 2).ravel()
    _draw_sizes(sizes, health)
    _draw_balance(balance, health)
    _draw_correlation(correlation, health)
    _draw_candidates(candidates, health)
    figure.suptitle(
        f"{health.images:,} images in {len(health.sizes):,} buckets, {health.bits} bits "
        f"(worth {health.independent_bits:.1f} independent ones)"
    )
    save(figure, path)


def precision_by_rank(curves: Mapping[str, Curve], path: Path, best: Curve | None = None) -> None:
    """Draw precision over the rank, one line a method.

    Args:
        curves: name -> ranks (C,) and precisions (C,) in 0..1.
        path: PNG to write.
        best: likewise, of a perfect order.
    """
    figure = canvas()
    axes = figure.subplots()
    for style, (name, (ranks, precisions)) in zip(styles(), curves.items(), strict=False):
        colour, line = style
        axes.plot(ranks, 100 * np.asarray(precisions), line, color=colour, linewidth=2, label=name)
    if best is not None:
        axes.plot(best[0], 100 * np.asarray(best[1]), "--", color="gray", label="perfect order")
    last = max(float(np.max(ranks)) for ranks, _ in curves.values())
    axes.set(xlabel="rank", ylabel="precision (%)", title="precision at every rank")
    axes.set(xlim=(1, max(last, 2)), ylim=(0, 102))
    finish(axes)
    save(figure, path)


def precision_recall(curves: Mapping[str, Curve], path: Path) -> None:
    """Draw precision over recall, one line a method; a dot where the line is short.

    Args:
        curves: name -> recalls (C,) and precisions (C,) in 0..1.
        path: PNG to write.
    """
    figure = canvas()
    axes = figure.subplots()
    for style, (name, (recalls, precisions)) in zip(styles(), curves.items(), strict=False):
        colour, line = style
        marker = "o" if np.size(recalls) <= _FEW_POINTS else ""
        axes.plot(100 * np.asarray(recalls), 100 * np.asarray(precisions), line, color=colour,
                  linewidth=2, marker=marker, markersize=4, label=name)  # fmt: skip
    axes.set(xlabel="recall (%)", ylabel="precision (%)", title="precision and recall")
    axes.set(xlim=(0, 102), ylim=(0, 102))
    finish(axes)
    save(figure, path)


def _draw_sizes(axes: Axes, health: Health) -> None:
    """Per size class: share of the buckets, share of the images."""
    rows = health.size_distribution()
    names = [str(row["from"]) if row["from"] == 1 else f"{row['from']:,}+" for row in rows]
    places = np.arange(len(rows))
    for shift, what, colour, total in (
        (-0.2, "buckets", _BLUE, len(health.sizes)),
        (0.2, "images", _ORANGE, health.images),
    ):
        shares = [100 * row[what] / total for row in rows]
        axes.bar(places + shift, shares, 0.4, color=colour, label=what)
    axes.set_xticks(places, names, rotation=45 if len(rows) > 8 else 0)
    axes.set(xlabel="images in a bucket", ylabel="share (%)", title="bucket sizes")
    finish(axes)


def _draw_balance(axes: Axes, health: Health) -> None:
    colours = [_ORANGE if bit in health.dead else _BLUE for bit in range(health.bits)]
    axes.bar(np.arange(health.bits), 100 * (health.balance - 0.5), 0.9, 50, color=colours)
    for bit in health.dead:
        axes.axvline(bit, color=_ORANGE, linewidth=1)
    axes.axhline(50, color="black", linewidth=0.8)
    axes.set(xlabel="bit", ylabel="images with a 1 (%)", title="balance of the bits", ylim=(0, 100))
    finish(axes)


def _draw_correlation(axes: Axes, health: Health) -> None:
    image = axes.imshow(health.correlation, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    axes.figure.colorbar(image, ax=axes, shrink=0.9)
    axes.set(xlabel="bit", ylabel="bit", title="correlation between bits")


def _draw_candidates(axes: Axes, health: Health) -> None:
    radii = np.arange(health.bits + 1)
    if len(health.candidates):
        low, median, high = (health.reached(share) for share in (0.1, 0.5, 0.9))
        axes.fill_between(radii, low, high, color=_BLUE, alpha=0.2, linewidth=0, label="10 to 90 %")
        axes.plot(radii, median, color=_BLUE, linewidth=2, label="median query")
        axes.set_yscale("log")
    axes.set(xlabel="Hamming radius", ylabel="candidates", title="images within a radius")
    finish(axes)
