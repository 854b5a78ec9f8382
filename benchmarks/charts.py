"""The benchmarks' pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

Report = dict[str, Any]
Seconds = dict[str, list[float]]
_OURS = "#d95f02"
_COLOURS = {
    "LatentHash": _OURS,
    "FAISS Flat": "#1f77b4",
    "FAISS Hash": "#1b7837",
    "FAISS MultiHash": "#7b3294",
}
_NAMES = {
    "ours": "LatentHash",
    "faiss_flat": "FAISS: IndexBinaryFlat, features",
    "faiss": "FAISS IndexBinaryFlat",
    "faiss_sharded": "FAISS: one a core",
    "numpy_linear": "NumPy, linear scan",
}
_LINES = {
    "ours": _OURS,
    "faiss_sharded": "#7b3294",
    "numpy_linear": "#555555",
}
_TITLES = {"clustered": "clustered codes", "random": "random codes (worst case)"}


def latencies(report: Report, times: dict[str, dict[str, Seconds]], path: Path) -> None:
    """Draw the share of queries done within a time: whole queries and the coarse step.

    Args:
        report: of search_bench.py.
        times: {kind: {"whole" | "coarse": {way: seconds of each query}}}.
        path: PNG to write.
    """
    figure = Figure(figsize=(11, 1.2 + 3.4 * len(times)), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.subplots(len(times), 2, squeeze=False)
    for axes, (kind, parts) in zip(rows, times.items(), strict=True):
        _shares(axes[0], parts["whole"], f"whole query, {_TITLES[kind]}")
        _shares(axes[1], parts["coarse"], f"coarse step, {_TITLES[kind]}")
    command = report["command"]
    figure.suptitle(
        f"{command['images']:,} images, {command['bits']} bits, {command['dim']:,}-d "
        f"{command['storage']}, {command['candidates']:,} candidates, top {command['top']:,}, "
        f"{command['metric']}{', ' + command['cold'] + ' not cached' if command['cold'] else ''}; "
        f"{report['machine']['cores']} cores"
    )
    figure.savefig(path)


def _shares(axes: Axes, seconds: Seconds, title: str) -> None:
    for name, values in seconds.items():
        ordered = 1e3 * np.sort(values)
        share = 100 * np.arange(1, len(ordered) + 1) / len(ordered)
        label = f"{_NAMES[name]}: median {np.median(ordered):.3g} ms"
        axes.step(ordered, share, where="post", color=_LINES.get(name, "#1f77b4"), label=label)
    axes.set(xscale="log", xlabel="milliseconds", ylabel="queries done (%)", title=title)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter() if _decades(seconds) > 1 else "{x:g}")
    axes.axhline(50, color="black", linewidth=0.5, alpha=0.3)
    # room for the names above the curves: beside them there is none
    axes.set_ylim(-4, 106 + 9 * len(seconds))
    axes.set_yticks(range(0, 101, 20))
    _finish(axes, "upper left")


def _decades(seconds: Seconds) -> float:
    """How many powers of ten the axis spans."""
    everything = np.concatenate([np.asarray(values) for values in seconds.values()])
    return float(np.log10(everything.max() / everything.min()))


def growth(report: Report, path: Path) -> None:
    """Draw time and memory over the number of codes.

    Args:
        report: of scaling.py.
        path: PNG to write.
    """
    command = report["command"]
    figure = Figure(figsize=(13, 4.8), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    panels = {
        "nearest": f"the {command['candidates']:,} nearest",
        "radius": f"all within {command['radius']} bits",
        "mb": "memory",
    }
    for axes, (part, title) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        for method, colour in _COLOURS.items():
            points = _points(report, method, part)
            if points:
                axes.plot(*zip(*points, strict=True), "o-", color=colour, label=method, ms=4)
        _slope(axes)
        unit = "MB" if part == "mb" else "median milliseconds a query"
        axes.set(xscale="log", yscale="log", xlabel="codes", ylabel=unit, title=title)
        axes.yaxis.set_major_formatter("{x:g}")
        _finish(axes)
    figure.suptitle(
        f"Coarse step over {command['bits']}-bit codes, {_TITLES[command['data']]}; "
        f"{report['machine']['cores']} cores"
    )
    figure.savefig(path)


def _points(report: Report, method: str, part: str) -> list[tuple[int, float]]:
    found = []
    for step in report["steps"]:
        measured = step["methods"][method].get(part)
        if measured:
            found.append((step["codes"], measured if part == "mb" else measured["p50_ms"]))
    return found


def _slope(axes: Axes) -> None:
    """A dotted line of linear growth through the first point of the lowest curve."""
    lines = [line.get_xydata() for line in axes.get_lines()]
    if not lines:
        return
    (x, y), last = min((line[0] for line in lines), key=lambda p: p[1]), max(
        line[-1][0] for line in lines
    )  # fmt: skip
    axes.plot([x, last], [y, y * last / x], ":", color="gray", label="linear", zorder=0)


def _finish(axes: Axes, place: str = "best") -> None:
    axes.grid(alpha=0.3, which="major")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, framealpha=0.8, edgecolor="none", loc=place)
