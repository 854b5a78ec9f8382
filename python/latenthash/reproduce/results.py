"""What was measured, as the sections of the report read it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = dict[str, Any]
K = 1000
"""Rank of the paper's measure."""


@dataclass(frozen=True)
class Results:
    """What was measured.

    Attributes:
        files: name -> content.
        pictures: gets the plots.
        root: folder that links are relative to.
    """

    files: Mapping[str, Json]
    pictures: Path
    root: Path

    def picture(self, name: str, says: str) -> str:
        """A link to a plot."""
        path = os.path.relpath(self.pictures / f"{name}.png", self.root)
        return f"![{says}]({Path(path).as_posix()})"

    def of_hashes(self, name: str) -> list[Json]:
        """Results of a comparison of hash functions, those that there are."""
        return [one for one in self.files[name]["results"] if not one["reason"]]
