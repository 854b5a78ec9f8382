"""What a data set holds: class counts as a table, as CSV and as a histogram."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..histogram import HistogramDrawer
from ..sources.base import Skipped

SKIPPED = "skipped.csv"
_TABLE, _COUNTS, _HISTOGRAM = "report.md", "class_counts.csv", "class_counts.png"


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

    def write(self, folder: Path, drawer: HistogramDrawer) -> None:
        """Write the table, the counts, the histogram and the list of what was skipped."""
        rows = self._rows()
        _write_csv(folder / SKIPPED, ("name", "reason"), self.skipped)
        numbered = [(number, *row) for number, row in enumerate(rows)]
        _write_csv(folder / _COUNTS, ("label", "name", "train", "val"), numbered)
        table = self._table()
        (folder / _TABLE).write_text(table, encoding="utf-8", errors="surrogateescape")
        picture = drawer.draw(self.labels, self.train_counts, self.val_counts)
        (folder / _HISTOGRAM).write_bytes(picture)

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
