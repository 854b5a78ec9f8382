"""What is in an index in Milvus, image by image.

What concerns all images reads all rows: right for a catalogue of them, slow for many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ...hamming import Codes
from ...index import Filter
from ...index.contents import Ids, Image
from .coarse import nearest
from .codes import CodeRows
from .server import Row
from .text import clause

_COLUMNS = ["name", "label", "code", "content"]


class MilvusContents:
    """Reads the collection of codes; see `latenthash.index.contents.Contents`."""

    def __init__(self, codes: CodeRows, classes: list[str]) -> None:
        """Name the collection, and the classes."""
        self._codes, self._classes = codes, classes

    def has(self, number: int) -> bool:
        """Whether there is an image with this id."""
        return number in self._codes.get(np.array([number], np.int64), [])

    def find_content(self, sha256: bytes) -> int | None:
        """Id of the image whose file has this hash."""
        found = self._codes.find("content", [sha256.hex()])
        return min((int(row["id"]) for row in found), default=None)

    def ids(self, label: int | None = None) -> Ids:
        """(n,) int64 ids, ascending, of one class (-1: unknown) or all."""
        rows = (row for block in self._codes.blocks(["label"]) for row in block)
        chosen = [row["id"] for row in rows if label is None or row["label"] == label]
        return np.array(chosen, np.int64)

    def label_counts(self) -> list[tuple[int, int]]:
        """(label, images) of the classes that have any, -1 for unknown; ascending."""
        blocks = self._codes.blocks(["label"])
        return sorted(Counter(int(row["label"]) for block in blocks for row in block).items())

    def images(self, only: Collection[int] | None = None) -> Iterator[Image]:
        """Images, ascending by id; `only` some of them."""
        if only is None:
            for block in self._codes.blocks(_COLUMNS):
                yield from map(_image, block)
            return
        found = self._codes.get(np.array(sorted(only), np.int64), _COLUMNS)
        yield from (_image(found[number]) for number in sorted(found))

    def packed(self, ids: Ids) -> Codes:
        """Codes (n, W) uint8 of images by id; zeros where there is none."""
        return self._codes.packed(ids)[0]

    def nearer(self, code: Codes, hamming: NDArray[np.uint16], wanted: Filter | None) -> Ids:
        """How many images that pass a filter have a code nearer; see `Contents.nearer`."""
        said, farthest = clause(wanted, self._classes), int(hamming.max(initial=0))
        if said.nothing or not farthest:
            return np.zeros(len(hamming), np.int64)
        ask = partial(self._codes.nearest, said)
        [near] = nearest(ask, [code.tobytes()], self._codes.stop, farthest - 1, None, None)
        return np.searchsorted(near.hamming, hamming, side="left").astype(np.int64)


def _image(row: Row) -> Image:
    content = bytes.fromhex(row["content"]) or bytes(32)
    code = np.frombuffer(row["code"], np.uint8)
    return Image(row["id"], row["name"], row["label"], code, content)
