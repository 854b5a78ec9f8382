"""What a data set holds: class counts as a table, as CSV and as a histogram."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..sources.base import Skipped

SKIPPED = "skipped.csv"
_TABLE, _COUNTS, _HISTOGRAM = "report.md", "class_counts.csv", "class_counts.png"
_TRAIN_COLOUR, _VAL_COLOUR = "#2b5c8a", "#f0a04b"
_MOST_NAMED = 150  # classes; beyond it names would run into each other


@dataclass(frozen=True)
class DatasetReport:
    """What `build_lmdb` made.

    Attributes:
        output: the folder.
        kind: of the source, e.g. "class folders".
        labels: class names.
        train_counts: training images of each class.
        val_counts: validation images of each class.
        shape: (C, H, W) of every image.
        encode: "jpeg" or "raw".
        skipped: (name, reason) of everything left out.
    """

    output: Path
    kind: str
    labels: list[str]
    train_counts: list[int]
    val_counts: list[int]
    shape: tuple[int, int, int]
    encode: str
    skipped: list[Skipped]

    def summary(self) -> str:
        """Closing line for people."""
        channels, height, width = self.shape
        line = (
            f"{sum(self.train_counts):,} training and {sum(self.val_counts):,} validation "
            f"images of {len(self.labels)} classes, {width}x{height} "
            f"{'gray' if channels == 1 else 'colour'}, in {self.output}"
        )
        if not self.skipped:
            return f"{line}; nothing skipped"
        return f"{line}; {len(self.skipped)} skipped, listed in {self.output / SKIPPED}"

    def to_json(self) -> dict[str, Any]:
        """The report for machines."""
        return {
            "output": str(self.output),
            "source": self.kind,
            "shape": list(self.shape),
            "encode": self.encode,
            "train_images": sum(self.train_counts),
            "val_images": sum(self.val_counts),
            "classes": [
                {"label": label, "name": name, "train": train, "val": val}
                for label, (name, train, val) in enumerate(self._rows())
            ],
            "skipped": [{"name": name, "reason": reason} for name, reason in self.skipped],
        }

    def _rows(self) -> list[tuple[str, int, int]]:
        return list(zip(self.labels, self.train_counts, self.val_counts, strict=True))

    def write(self, folder: Path) -> None:
        """Write the table, the counts, the histogram and the list of what was skipped."""
        rows = self._rows()
        _write_csv(folder / SKIPPED, ("name", "reason"), self.skipped)
        numbered = [(number, *row) for number, row in enumerate(rows)]
        _write_csv(folder / _COUNTS, ("label", "name", "train", "val"), numbered)
        table = self._table()
        (folder / _TABLE).write_text(table, encoding="utf-8", errors="surrogateescape")
        draw_histogram(self.labels, self.train_counts, self.val_counts, folder / _HISTOGRAM)

    def _table(self) -> str:
        channels, height, width = self.shape
        totals = [train + val for _, train, val in self._rows()]
        lines = [
            "# Data set",
            "",
            f"From {self.kind}: {sum(totals):,} images of {len(self.labels)} classes, "
            f"{width}x{height}, {channels} channel{'s' if channels > 1 else ''}, {self.encode}. "
            f"A class has {min(totals):,} to {max(totals):,} images. "
            f"{len(self.skipped):,} skipped (`{SKIPPED}`).",
            "",
            f"![Images of each class]({_HISTOGRAM})",
            "",
            "| label | class | training | validation | total |",
            "|---:|---|---:|---:|---:|",
        ]
        for label, (name, train, val) in enumerate(self._rows()):
            cell = name.replace("|", "\\|")
            lines.append(f"| {label} | {cell} | {train:,} | {val:,} | {train + val:,} |")
        train, val = sum(self.train_counts), sum(self.val_counts)
        lines.append(f"| | **all** | **{train:,}** | **{val:,}** | **{train + val:,}** |")
        return "\n".join(lines) + "\n"


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def draw_histogram(
    labels: Sequence[str], train_counts: Sequence[int], val_counts: Sequence[int], path: Path
) -> None:
    """Draw the images of each class as stacked bars; PNG, wide enough to read each name."""
    # Imported here: it takes longer than a small build.
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    count = len(labels)
    named = count <= _MOST_NAMED
    width = min(max(5.0, 1.5 + 0.17 * count), 30.0)
    figure = Figure(figsize=(width, 4.5), layout="constrained")
    axes = figure.add_subplot()
    places = range(count)
    axes.bar(places, train_counts, 0.8, color=_TRAIN_COLOUR, label="training")
    axes.bar(places, val_counts, 0.8, train_counts, color=_VAL_COLOUR, label="validation")
    if named:
        shown = [_printable(label, name) for label, name in enumerate(labels)]
        upright = max(map(len, shown)) * count > 60
        axes.set_xticks(places, shown, rotation=90 if upright else 0, fontsize=8)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(20, integer=True))
    axes.set_xlabel("class" if named else "label")
    axes.set_ylabel("images")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(-0.6 - 0.5 * (count < 4), count - 0.4 + 0.5 * (count < 4))
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylim(0, 1.15 * max(map(sum, zip(train_counts, val_counts, strict=True))))
    axes.legend(ncols=2, frameon=False, loc="upper right")
    figure.savefig(path, dpi=120, metadata={"Software": None})


def _printable(label: int, name: str, longest: int = 24) -> str:
    """A name cut to what fits, or the label where the font lacks a letter of it."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties()))
    if not all(font.get_char_index(ord(letter)) for letter in name):
        return str(label)
    short = name if len(name) <= longest else name[: longest - 1] + "…"
    return short.replace("$", r"\$")  # else it would be a formula
