"""Draws the pictures of docs/method.md from what `make demo` left in demo/."""

from __future__ import annotations

import argparse
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import imread
from matplotlib.patches import FancyBboxPatch
from numpy.typing import NDArray

from latenthash.codes import CodeSet
from latenthash.distances import METRICS
from latenthash.hamming import distances, unpack
from latenthash.plots import canvas, save

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs/images/method"
SAME, OTHER, GREY, LATENT = "#1b7837", "#d95f02", "#8a8a8a", "#3f51b5"
CANDIDATES, EACH = 1000, 2
ASKED = "8/4306.png"  # a hard one: the order by code and that by feature differ


@dataclass(frozen=True)
class Digits:
    """Rows of a code file in memory.

    Attributes:
        names: N files, relative to demo/images.
        labels: (N,) the digit.
        codes: (N, W) packed.
        features: (N, D).
        bits: of a code.
    """

    names: list[str]
    labels: NDArray[np.int32]
    codes: NDArray[np.uint8]
    features: NDArray[np.float16]
    bits: int


def read(path: Path) -> Digits:
    """A whole code file."""
    with CodeSet(path) as found:
        return Digits(found.names, found.labels, found.codes, found.features(), found.bits)


def digit(axes: Axes, file: Path, colour: str = "white") -> None:
    """An image with a frame."""
    axes.imshow(imread(file), cmap="gray", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])
    for side in axes.spines.values():
        side.set(color=colour, linewidth=2)


def draw_network(path: Path) -> None:
    """The layers of lenet_48 as boxes; the new one in colour."""
    boxes = [
        ("image", "28 x 28", GREY),
        ("conv, pool", "20 of 12 x 12", GREY),
        ("conv, pool", "50 of 4 x 4", GREY),
        ("feature", "500 values", SAME),
        ("latent", "48 sigmoids", LATENT),
        ("classifier", "10 classes", GREY),
    ]
    figure = canvas((10, 2.2))
    axes = figure.subplots()
    axes.set(xlim=(-0.1, len(boxes) * 1.5 - 0.4), ylim=(-0.75, 1.05))
    axes.axis("off")
    for number, (name, size, colour) in enumerate(boxes):
        left = number * 1.5
        axes.add_patch(_box(left, colour))
        axes.text(left + 0.5, 0.6, name, ha="center", va="center", color="white", size=11)
        axes.text(left + 0.5, 0.28, size, ha="center", va="center", color="white", size=8.5)
        if number:
            axes.annotate("", (left - 0.02, 0.45), (left - 0.48, 0.45), arrowprops=_ARROW)
    for number, said in ((3, "ranks"), (4, "rounded to 48 bits:\nfinds the bucket")):
        axes.annotate(
            said, (number * 1.5 + 0.5, 0), (number * 1.5 + 0.5, -0.55), ha="center", va="center",
            size=9.5, arrowprops=_ARROW | {"arrowstyle": "<-"},
        )  # fmt: skip
    save(figure, path)


_ARROW = {"arrowstyle": "->", "color": "#555555"}


def _box(left: float, colour: str) -> FancyBboxPatch:
    corners = "round,pad=0,rounding_size=0.08"
    return FancyBboxPatch((left, 0), 1, 0.9, boxstyle=corners, fc=colour, ec="none")


def draw_codes(found: Digits, images: Path, path: Path) -> None:
    """Some digits of each class beside their codes."""
    rows = [row for label in range(10) for row in np.flatnonzero(found.labels == label)[:EACH]]
    figure = canvas((10, 8))
    grid = figure.add_gridspec(len(rows), 2, width_ratios=(1, 24), hspace=0.12, wspace=0.02)
    for line, row in enumerate(rows):
        digit(figure.add_subplot(grid[line, 0]), images / found.names[row])
        axes = figure.add_subplot(grid[line, 1])
        axes.imshow(unpack(found.codes[row], found.bits)[None], cmap="Blues", vmin=0, vmax=1.3,
                    aspect="auto")  # fmt: skip
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color("#cccccc")
    save(figure, path)


def draw_distances(database: Digits, queries: Digits, path: Path) -> None:
    """Bits that differ: between classes on average, and of pairs alike or not."""
    bits = distances(queries.codes, database.codes)
    alike = queries.labels[:, None] == database.labels[None]
    means = np.array([
        [bits[np.ix_(queries.labels == q, database.labels == d)].mean() for d in range(10)]
        for q in range(10)
    ])  # fmt: skip
    figure = canvas((10, 4.4))
    table, histogram = figure.subplots(1, 2, width_ratios=(1, 1.2))
    table.imshow(means, cmap="Blues_r")
    for (q, d), value in np.ndenumerate(means):
        shade = "white" if value < means.max() / 2 else "black"
        table.text(d, q, f"{value:.0f}", ha="center", va="center", size=9, color=shade)
    table.set(xticks=range(10), yticks=range(10), xlabel="digit in the database", ylabel="query",
              title="bits that differ, on average")  # fmt: skip
    edges = np.arange(_largest(bits) + 2) - 0.5
    for chosen, name, colour in ((alike, "same digit", SAME), (~alike, "another digit", OTHER)):
        weights = np.full(int(chosen.sum()), 100 / chosen.sum())
        histogram.hist(bits[chosen], edges, weights=weights, label=name, color=colour, alpha=0.75)
    histogram.set(xlabel="bits that differ", ylabel="% of the pairs", title="all pairs")
    histogram.legend(frameon=False)
    save(figure, path)


def _largest(bits: NDArray[np.uint16]) -> int:
    """The largest distance that occurs."""
    return int(bits.max())


def draw_search(database: Digits, queries: Digits, images: Path, path: Path) -> None:
    """One query: rings of buckets, then the order by code and by feature."""
    row = queries.names.index(ASKED)
    feature, label = queries.features[row].astype(np.float32), queries.labels[row]
    bits = distances(queries.codes[row : row + 1], database.codes)[0]
    order = np.argsort(bits, kind="stable")
    radius = int(bits[order[CANDIDATES - 1]])
    near = np.flatnonzero(bits <= radius)
    fine = METRICS["l2"](feature, database.features[near].astype(np.float32))
    ranked = near[np.lexsort((near, fine))]

    figure = canvas((10, 6))
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.25, 1))
    asked, rings = top.subplots(1, 2, width_ratios=(1, 5))
    digit(asked, images / ASKED, LATENT)
    asked.set_title("query")
    _draw_rings(rings, bits, database.labels == label, radius)
    cells = bottom.subplots(2, 10)
    for line, (said, found) in zip(
        cells, (("by code", order), ("by feature", ranked)), strict=True
    ):
        for axes, hit in zip(line, found[:10], strict=True):
            colour = SAME if database.labels[hit] == label else OTHER
            digit(axes, images / database.names[hit], colour)
        line[0].set_ylabel(said)
    save(figure, path)


def _draw_rings(
    axes: Axes, bits: NDArray[np.uint16], alike: NDArray[np.bool_], radius: int
) -> None:
    counts = np.arange(_largest(bits) + 1)
    below = np.zeros(len(counts), int)
    for chosen, name, colour in ((alike, "same digit", SAME), (~alike, "another digit", OTHER)):
        heights = np.bincount(bits[chosen], minlength=len(counts))
        axes.bar(counts, heights, bottom=below, color=colour, label=name, width=0.85)
        below = below + heights
    axes.axvline(radius + 0.5, color=LATENT, linewidth=2)
    said = f"compared by feature: {below[: radius + 1].sum():,} "
    top = axes.get_ylim()[1] * 0.97
    axes.text(radius + 0.3, top, said, ha="right", va="top", color=LATENT)
    axes.set(xlabel="bits that differ from the query's code", ylabel="images")
    axes.legend(frameon=False, loc="upper right")


def main() -> None:
    """Draw all."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("demo", type=Path, nargs="?", default=ROOT / "demo")
    demo = options.parse_args().demo
    PICTURES.mkdir(parents=True, exist_ok=True)
    database, queries = read(demo / "database.h5"), read(demo / "queries.h5")
    draw_network(PICTURES / "network.png")
    draw_codes(queries, demo / "images", PICTURES / "codes.png")
    draw_distances(database, queries, PICTURES / "distances.png")
    draw_search(database, queries, demo / "images", PICTURES / "search.png")
    shutil.copyfile(demo / "training.png", PICTURES / "training.png")


if __name__ == "__main__":
    main()
