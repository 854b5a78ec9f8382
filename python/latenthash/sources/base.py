"""What every kind of image set is turned into."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Split = Literal["train", "val"]
Skipped = tuple[str, str]
"""(name, reason) of something that cannot be used."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One labelled image; either `path` or `pixels` is given.

    Attributes:
        name: unique within its source.
        label: class number, -1 where unknown.
        path: its file; as text, since a `Path` takes longer to make than to list.
        pixels: (H, W, C) uint8, BGR or gray; a view of an array that the set shares.
        split: where the set's own split puts it; None if it has none.
    """

    name: str
    label: int
    path: str | None = None
    pixels: NDArray[np.uint8] | None = None
    split: Split | None = None


@dataclass(frozen=True)
class Source:
    """An image set.

    Attributes:
        kind: e.g. "class folders", for people.
        labels: class names; a sample's label is the place of its name.
        samples: in a fixed order.
        skipped: what was seen to be unusable without opening an image.
        root: folder that samples' names are relative to; None if they are no files.
    """

    kind: str
    labels: list[str]
    samples: list[Sample]
    skipped: list[Skipped] = field(default_factory=list)
    root: Path | None = None

    @property
    def has_split(self) -> bool:
        """Whether the set says itself what is for training and what for validation."""
        return {sample.split for sample in self.samples} == {"train", "val"}
