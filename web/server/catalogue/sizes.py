"""Width and height of hits, kept in memory: the database is asked of each image now and then.

A hundred rows by number cost more than the search that found them.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

import numpy as np

from .models import Image

_AGAIN = 600  # seconds after which an image without a size is asked for again
_COLUMNS = 3  # width, height, second of the last question
_EMPTY = np.zeros((0, _COLUMNS), np.int32)

Size = tuple[int | None, int | None]


class Sizes:
    """Sizes of the images of one generation; room is used as it is needed."""

    def __init__(self) -> None:
        self._known = "", _EMPTY  # checksum and table, exchanged together: threads share them

    def of(self, checksum: str, numbers: Sequence[int]) -> list[Size]:
        """Width and height of each image; None where it was not looked at yet.

        Args:
            checksum: of the generation: in another one a number may be another image.
            numbers: of images.
        """
        if not numbers:
            return []
        table = self._room(checksum, max(numbers) + 1)
        wanted, now = np.array(numbers), int(monotonic()) + _AGAIN + 1  # the first one is past
        asked = wanted[(table[wanted, 0] == 0) & (table[wanted, 2] + _AGAIN < now)]
        if len(asked):
            self._ask(table, asked.tolist())
            table[asked, 2] = now
        return [(width or None, height or None) for width, height, _ in table[wanted].tolist()]

    def note(self, number: int, width: int, height: int) -> None:
        """An image was looked at."""
        _, table = self._known
        if number < len(table):
            table[number, :2] = width, height

    def _room(self, checksum: str, count: int) -> np.typing.NDArray[np.int32]:
        """The table, empty for another generation, long enough for `count` numbers."""
        known, table = self._known
        if known != checksum:
            table = _EMPTY
        if len(table) < count:
            grown = np.zeros((2 * count, _COLUMNS), np.int32)
            grown[: len(table)] = table
            table = grown
        self._known = checksum, table
        return table

    def _ask(self, table: np.typing.NDArray[np.int32], numbers: list[int]) -> None:
        known = Image.objects.filter(pk__in=numbers, width__isnull=False)
        for number, width, height in known.values_list("number", "width", "height"):
            table[number, :2] = width, height


sizes = Sizes()
