"""Pictures of the report, beside the ones that `plots` draws for every evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..plots import Curve, canvas, colours, finish, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

_Text = tuple[list[float], str]  # where a dot lies, what is written there
_ROOM = (45, 13)  # pixels across and down; nearer dots of a line share a text
_LEAST_SPAN = 5  # points of quality along an axis: less makes hills of what is level


def bars_by_bits(values: Mapping[str, Mapping[int, float]], path: Path) -> None:
    """Draw mean average precision by method, a bar for each number of bits.

    Args:
        values: method -> {bits: value in 0..1}; the order is kept.
        path: PNG to write.
    """
    figure = canvas()
    axes = figure.subplots()
    widths = sorted({bits for by_bits in values.values() for bits in by_bits})
    height = 0.8 / len(widths)
    for number, (bits, colour) in enumerate(zip(widths, colours(), strict=False)):
        at = [place for place, by_bits in enumerate(values.values()) if bits in by_bits]
        sizes = [100 * by_bits[bits] for by_bits in values.values() if bits in by_bits]
        shift = (number - (len(widths) - 1) / 2) * height
        axes.barh(np.add(at, shift), sizes, height, color=colour, label=f"{bits} bits")
    axes.set_yticks(range(len(values)), list(values))
    axes.invert_yaxis()
    axes.set(xlabel="mean average precision at 1,000 (%)", xlim=(0, 100))
    finish(axes)
    save(figure, path)


def quality_over_time(curves: Mapping[str, Curve], marks: Mapping[str, Sequence[str]], path: Path,
                      what: str) -> None:  # fmt: skip
    """Draw quality over milliseconds per query, one line a method, settings at its dots.

    Args:
        curves: method -> milliseconds (S,) and quality (S,) in 0..1.
        marks: method -> setting of each dot.
        path: PNG to write.
        what: is measured.
    """
    figure = canvas()
    axes = figure.subplots()
    for colour, (name, (times, qualities)) in zip(colours(), curves.items(), strict=False):
        axes.plot(times, 100 * np.asarray(qualities), "o-", color=colour, label=name)
    _decades(axes)
    axes.set(xlabel="milliseconds per query", ylabel=f"{what} (%)")
    finish(axes)
    figure.draw_without_rendering()  # settles where dots are
    written: list[_Text] = []
    for name, (times, qualities) in curves.items():
        dots = np.column_stack([times, 100 * np.asarray(qualities)])
        written += _together(axes, dots, marks.get(name, ()))
    _write(axes, written)
    save(figure, path)


def _together(axes: Axes, dots: NDArray[np.float64], marks: Sequence[str]) -> list[_Text]:
    """What to write beside which dot: those of a line that nearly meet share one text."""
    groups: list[list[int]] = []
    places = axes.transData.transform(dots)
    for number in range(min(len(dots), len(marks))):
        if groups and (np.abs(places[groups[-1][-1]] - places[number]) < _ROOM).all():
            groups[-1].append(number)
        else:
            groups.append([number])
    return [
        (
            dots[max(group, key=lambda one: places[one, 0])].tolist(),
            "; ".join(marks[n] for n in group),
        )
        for group in groups
    ]


def _write(axes: Axes, marks: Sequence[_Text]) -> None:
    """Write beside dots, each text below those that it would meet."""
    taken: list[Bbox] = []
    for dot, mark in marks:
        text = axes.annotate(
            mark,
            (dot[0], dot[1]),
            xytext=(6, -11),
            textcoords="offset points",
            fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5},
        )
        while any(text.get_window_extent().overlaps(other) for other in taken):
            text.xyann = (text.xyann[0], text.xyann[1] - 10)
        taken.append(text.get_window_extent())


def time_histogram(times: Mapping[str, Sequence[float]], path: Path) -> None:
    """Draw how many queries took how long.

    Args:
        times: way of searching -> milliseconds of each query.
        path: PNG to write.
    """
    figure = canvas()
    axes = figure.subplots()
    together = np.concatenate([np.asarray(values) for values in times.values()])
    edges = np.geomspace(together.min() * 0.95, together.max() * 1.05, 30).tolist()
    for colour, (name, values) in zip(colours(), times.items(), strict=False):
        axes.hist(values, edges, color=colour, alpha=0.7, label=name)
    _decades(axes)
    axes.set(xlabel="milliseconds per query", ylabel="queries")
    finish(axes)
    save(figure, path)


def _decades(axes: Axes) -> None:
    """A logarithmic axis of times, with plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def quality_by_rank(curves: Mapping[str, Sequence[float]], path: Path) -> None:
    """Draw mean average precision of the first r hits over r, one line a way of searching.

    Args:
        curves: way -> values in 0..1 for r = 1, 2, ..
        path: PNG to write.
    """
    figure = canvas()
    axes = figure.subplots()
    for colour, (name, values) in zip(colours(), curves.items(), strict=False):
        ranks = np.arange(1, len(values) + 1)
        axes.plot(ranks, 100 * np.asarray(values), color=colour, linewidth=2, label=name)
    axes.set(xlabel="rank", ylabel="mean average precision of the first hits (%)")
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, high - _LEAST_SPAN), high + 0.02 * _LEAST_SPAN)
    finish(axes)
    save(figure, path)
