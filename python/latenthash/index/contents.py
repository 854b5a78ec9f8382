"""What is in an index, image by image: for those who list it, beside those who search it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..hamming import Codes
from .filter import Filter

Ids = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Image:
    """One image of an index.

    Attributes:
        number: its id.
        name: as stored.
        label: number of its class, -1 unknown.
        code: (W,) uint8, packed.
        content: SHA-256 of its file, 32 bytes; zeros if unknown.
    """

    number: int
    name: str
    label: int
    code: Codes
    content: bytes


class Contents(Protocol):
    """The live images of a generation."""

    def has(self, number: int) -> bool:
        """Whether there is an image with this id."""
        ...

    def find_content(self, sha256: bytes) -> int | None:
        """Id of the image whose file has this hash."""
        ...

    def ids(self, label: int | None = None) -> Ids:
        """(n,) int64 ids, ascending, of one class (-1: unknown) or all."""
        ...

    def label_counts(self) -> list[tuple[int, int]]:
        """(label, images) of the classes that have any, -1 for unknown; ascending."""
        ...

    def images(self, only: Collection[int] | None = None) -> Iterator[Image]:
        """Images, ascending by id; `only` some of them."""
        ...

    def packed(self, ids: Ids) -> Codes:
        """Codes (n, W) uint8 of images by id; zeros where there is none."""
        ...

    def nearer(self, code: Codes, hamming: NDArray[np.uint16], wanted: Filter | None) -> Ids:
        """How many images that pass a filter have a code nearer than given distances.

        Args:
            code: (W,) uint8, packed.
            hamming: (k,) uint16.
            wanted: the filter.

        Returns:
            (k,) int64.

        Raises:
            DataError: the filter names a class that there is not.
        """
        ...
