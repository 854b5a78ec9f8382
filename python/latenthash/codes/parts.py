"""A code file in the making: parts that survive an interruption."""

from __future__ import annotations

import csv
import json
import logging
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..files import atomic_file
from ..manifest import Manifest, write_manifest
from .codeset import CodeSet, CodeWriter, Encode, Rows, merge

Skipped = list[tuple[str, str]]
_log = logging.getLogger(__name__)


class Parts:
    """The folder `<output>.parts`: part files, what each one skipped, and the plan.

    Parts that were made to another plan (other images, another network) are thrown away.
    """

    def __init__(self, output: Path, plan: Manifest) -> None:
        """Take up the parts of `output` that were made to the same plan."""
        self.output, self.plan = output, plan
        self.folder = output.with_name(output.name + ".parts")
        if self.folder.exists() and not self._same_plan():
            _log.info("%s: made of other images or by another network, starting anew", self.folder)
            shutil.rmtree(self.folder)
        if not self.folder.exists():
            write_manifest(plan, self.folder / "plan.json")

    def _same_plan(self) -> bool:
        try:
            known: Any = json.loads((self.folder / "plan.json").read_text())
        except (OSError, ValueError):
            return False
        return bool(known == json.loads(json.dumps(self.plan)))

    def _file(self, number: int, suffix: str) -> Path:
        return self.folder / f"{number:06d}{suffix}"

    def done(self, number: int) -> bool:
        """Whether part `number` is on disk, whole."""
        return self._file(number, ".json").is_file()

    def write(self, number: int, count: int, blocks: Iterable[Rows], skipped: Skipped) -> None:
        """Write part `number` of at most `count` rows.

        `skipped` is read after the blocks are exhausted.
        """
        bits, dim = self.plan["bits"], self.plan["dim"]
        with CodeWriter(self._file(number, ".h5"), bits, dim, count) as writer:
            for rows in blocks:
                writer.append(rows)
            writer.finish(self.plan)
        with atomic_file(self._file(number, ".json")) as partial:
            partial.write_text(json.dumps(skipped))

    def skipped(self) -> Skipped:
        """(name, reason) of every image left out so far."""
        files = sorted(self.folder.glob("[0-9]*.json"))
        return [(name, reason) for file in files for name, reason in json.loads(file.read_text())]

    def files(self) -> list[Path]:
        """Code files of the parts so far, in order."""
        return sorted(self.folder.glob("[0-9]*.h5"))

    def join(self, manifest: Manifest | None = None, encode: Encode | None = None) -> Skipped:
        """Make the code file of all parts, list what was skipped, remove the parts.

        Args:
            manifest: of the code file; None takes the plan.
            encode: gives the codes, from the features; None takes those of the parts.

        Returns:
            (name, reason) of every image left out.

        Raises:
            DataError: every image was left out.
        """
        skipped = self.skipped()
        merge(self.files(), self.output, manifest or self.plan, encode)
        with CodeSet(self.output) as codes:
            empty = not len(codes)
        write_skipped(skipped, self.output.with_name(self.output.name + ".skipped.csv"))
        shutil.rmtree(self.folder)
        if empty:
            self.output.unlink()
            first = ": ".join(skipped[0]) if skipped else "there was none"
            raise DataError(f"{self.output}: no image could be used ({first})", "check the source")
        return skipped


def write_skipped(skipped: Iterable[tuple[str, str]], path: Path) -> None:
    """Write (name, reason) lines as CSV; with nothing skipped an old file is removed."""
    rows = list(skipped)
    if not rows:
        path.unlink(missing_ok=True)
        return
    with (
        atomic_file(path) as partial,
        partial.open("w", newline="", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(("name", "reason"))
        writer.writerows(rows)
