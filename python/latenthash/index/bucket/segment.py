"""A segment, read-only: images that were written together, grouped by code, mapped."""

from __future__ import annotations

import mmap
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import StorageError
from ...hamming import Codes, width
from . import layout
from .arrays import REMEDY, map_file, view_array
from .storage_types import restore

Ints = NDArray[np.integer]
_BISECT = 30  # finding one name by bisection costs as much as reading so many


class Segment:
    """N images in K buckets. A row is a place in bucket order, a position one in id order.

    Nothing is read before it is needed, and what other arrays are indexed with is checked
    when it is first read, so that damage ends in an error, not in a wild address.

    Attributes:
        name: of its folder.
        folder: its files.
        images: N, removed ones included.
        buckets: (K, words) uint64, distinct codes ascending by bytes.
        features: (N, D) float32, float16 or int8, by row.
        scale: (D,) float32 for int8, value = scale * stored; else None.
        ids: (N,) int64 by position, ascending.
        content: (N, 32) uint8 by position, SHA-256 of the image; zeros where unknown.
        maps: {file: memory map}, for advice to the kernel.
    """

    def __init__(
        self,
        folder: Path,
        entry: Mapping[str, Any],
        facts: Mapping[str, Any],
        removed: NDArray[np.int64],
    ) -> None:
        """Map the segment in `folder`.

        Args:
            folder: holds the files.
            entry: the segment in the manifest: images, buckets, files.
            facts: the manifest: bits, dim, storage.
            removed: (T,) ids ascending, of the whole index.

        Raises:
            StorageError: a file is missing, or of another length, type or shape.
        """
        self.name, self.folder = folder.name, folder
        self.images: int = entry["images"]
        self.maps = {
            file: map_file(folder / file, known["bytes"]) for file, known in entry["files"].items()
        }
        arrays = layout.segment_arrays(
            self.images, entry["buckets"], facts["bits"], facts["dim"], facts["storage"]
        )
        self._arrays: dict[str, NDArray[Any]] = {
            file: view_array(self.maps[file], dtype, shape, folder / file)
            for file, (dtype, shape) in arrays.items()
        }
        self.buckets: NDArray[np.uint64] = self._arrays[layout.BUCKETS]
        self.features: NDArray[Any] = self._arrays[layout.FEATURES]
        self.scale: NDArray[np.float32] | None = self._arrays.get(layout.SCALE)
        self.ids: NDArray[np.int64] = self._arrays[layout.IDS]
        self.content: NDArray[np.uint8] = self._arrays[layout.CONTENT]
        self._names: mmap.mmap | bytes = self.maps[layout.NAMES]
        self._removed = removed
        self._code_bytes, self._classes = width(facts["bits"]), len(facts["classes"])

    def _damaged(self, file: str) -> StorageError:
        return StorageError(f"{self.folder / file}: damaged", REMEDY)

    def _permutation(self, file: str) -> NDArray[np.int32]:
        """A permutation of the images, checked to stay within them."""
        values: NDArray[np.int32] = self._arrays[file]
        if values.min() < 0 or values.max() >= self.images:
            raise self._damaged(file)
        return values

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """(K + 1,) int64: bucket b holds rows offsets[b] to offsets[b + 1]."""
        offsets: NDArray[np.int64] = self._arrays[layout.OFFSETS]
        if offsets[0] != 0 or offsets[-1] != self.images or (offsets[1:] <= offsets[:-1]).any():
            raise self._damaged(layout.OFFSETS)
        return offsets

    @cached_property
    def positions(self) -> NDArray[np.int32]:
        """(N,) int32: position of each row."""
        return self._permutation(layout.POSITIONS)

    @cached_property
    def rows(self) -> NDArray[np.int32]:
        """(N,) int32: row of each position."""
        return self._permutation(layout.ROWS)

    @cached_property
    def labels(self) -> NDArray[np.int32]:
        """(N,) int32 by position, numbers of classes, -1 unknown."""
        labels: NDArray[np.int32] = self._arrays[layout.LABELS]
        if labels.min() < -1 or labels.max() >= self._classes:
            raise self._damaged(layout.LABELS)
        return labels

    @cached_property
    def _dead(self) -> NDArray[np.int64]:
        """Positions of removed images."""
        removed = self._removed
        at = np.searchsorted(self.ids, removed)
        inside = at < self.images
        at = at[inside]
        dead: NDArray[np.int64] = at[self.ids[at] == removed[inside]]
        return dead

    @cached_property
    def live(self) -> NDArray[np.bool_] | None:
        """(N,) bool by row: not removed; None if all are live."""
        if not len(self._dead):
            return None
        live = np.ones(self.images, dtype=bool)
        live[self.rows[self._dead]] = False
        return live

    @cached_property
    def live_positions(self) -> NDArray[np.int64]:
        """Positions of the images that are not removed, ascending."""
        live = np.ones(self.images, dtype=bool)
        live[self._dead] = False
        return np.flatnonzero(live)

    @property
    def live_images(self) -> int:
        """How many images are not removed."""
        return self.images - len(self._dead)

    @cached_property
    def sizes(self) -> NDArray[np.int32]:
        """(K,) int32: live images of each bucket."""
        sizes = np.diff(self.offsets).astype(np.int32)
        if len(self._dead):
            dead = np.searchsorted(self.offsets, self.rows[self._dead], side="right") - 1
            sizes -= np.bincount(dead, minlength=len(sizes)).astype(np.int32)
        return sizes

    def codes(self, positions: Ints) -> Codes:
        """(M, W) uint8: packed codes of images by position."""
        buckets = np.searchsorted(self.offsets, self.rows[positions], side="right") - 1
        return self.buckets.view(np.uint8)[buckets, : self._code_bytes]

    def restored(self, rows: Ints | slice) -> NDArray[np.floating]:
        """(M, D): features of rows as values, float32 if they are stored as int8."""
        return restore(self.features[rows], self.scale)

    def name_bytes(self, position: int) -> bytes:
        """Name of an image, as stored."""
        offsets = self._arrays[layout.NAME_OFFSETS]
        start, stop = int(offsets[position]), int(offsets[position + 1])
        if not 0 <= start <= stop <= len(self._names):
            raise self._damaged(layout.NAME_OFFSETS)
        return self._names[start:stop]

    def names(self, positions: Sequence[int] | Ints) -> list[str]:
        """Names of images by position."""
        at = np.asarray(positions, dtype=np.int64)
        offsets = self._arrays[layout.NAME_OFFSETS]
        starts, stops = offsets[at], offsets[at + 1]
        if ((starts < 0) | (starts > stops) | (stops > len(self._names))).any():
            raise self._damaged(layout.NAME_OFFSETS)
        ranges = zip(starts.tolist(), stops.tolist(), strict=True)
        return [decode(self._names[start:stop]) for start, stop in ranges]

    def positions_named(self, prefix: str) -> NDArray[np.int64]:
        """Positions of the images, removed ones too, whose name begins with `prefix`."""
        start = encode(prefix)
        first = bisect_left(range(self.images), start, key=self._name_at)
        last = bisect_left(
            range(self.images), True, first, key=lambda at: self._name_at(at)[: len(start)] > start
        )
        return np.sort(self._name_order[first:last]).astype(np.int64)

    def _name_at(self, place: int) -> bytes:
        """Name of an image by its place in the order of names."""
        return self.name_bytes(int(self._name_order[place]))

    def find_id(self, number: int) -> int | None:
        """Position of the live image with this id."""
        return self._first_live(int(np.searchsorted(self.ids, number)), number)

    def find_ids(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(M,) places in `ids` of those that live images here have, and (M,) their positions."""
        at = np.minimum(np.searchsorted(self.ids, ids), self.images - 1)
        found = (self.ids[at] == ids) & np.isin(at, self._dead, invert=True)
        here = np.flatnonzero(found)
        return here, at[here]

    def _first_live(self, at: int, number: int) -> int | None:
        if at == self.images or self.ids[at] != number or (self._dead == at).any():
            return None
        return at

    def taken_names(self, names: Collection[bytes]) -> list[bytes]:
        """Those of the names, as stored, that live images have."""
        if len(names) < self.images // _BISECT:
            return [name for name in names if self.find_name_bytes(name) is not None]
        wanted = set(names)
        own = ((self.name_bytes(position), position) for position in range(self.images))
        return [name for name, position in own if name in wanted and self._alive(position)]

    def find_name(self, name: str) -> int | None:
        """Position of the live image with this name."""
        return self.find_name_bytes(encode(name))

    def find_name_bytes(self, name: bytes) -> int | None:
        """As `find_name`, with the name as stored."""
        order, low, high = self._name_order, 0, self.images
        while low < high:
            middle = (low + high) // 2
            if self.name_bytes(int(order[middle])) < name:
                low = middle + 1
            else:
                high = middle
        while low < self.images and self.name_bytes(int(order[low])) == name:
            position = int(order[low])
            if self._alive(position):
                return position
            low += 1
        return None

    @cached_property
    def _name_order(self) -> NDArray[np.int32]:
        return self._permutation(layout.NAME_ORDER)

    def _alive(self, position: int) -> bool:
        live = self.live
        return live is None or bool(live[self.rows[position]])

    def find_content(self, sha256: bytes) -> int | None:
        """Position of a live image with this SHA-256 (32 bytes), the lowest."""
        [position] = self.find_contents(np.frombuffer(sha256, np.uint8)[None])
        return None if position < 0 else int(position)

    def find_contents(self, content: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Positions of live images by content.

        Args:
            content: (M, 32) uint8, SHA-256; zeros are unknown and match nothing.

        Returns:
            (M,) int64, the lowest position; -1 where there is none.
        """
        order = self._content_order
        result = np.full(len(content), -1, dtype=np.int64)
        asked = np.flatnonzero(content.any(axis=1))
        at = np.searchsorted(as_keys(self.content), as_keys(content[asked]), sorter=order)
        while len(asked):
            asked, at = asked[at < self.images], at[at < self.images]
            positions = order[at]
            same = (self.content[positions] == content[asked]).all(axis=1)
            asked, at, positions = asked[same], at[same], positions[same]
            alive = np.isin(positions, self._dead, invert=True)
            result[asked[alive]] = positions[alive]
            asked, at = asked[~alive], at[~alive] + 1
        return result

    @cached_property
    def _content_order(self) -> NDArray[np.int32]:
        return self._permutation(layout.CONTENT_ORDER)


def as_keys(content: NDArray[np.uint8]) -> NDArray[np.bytes_]:
    """(N, 32) uint8 as (N,) strings of 32 bytes that sort as they do."""
    return np.ascontiguousarray(content).view(f"S{layout.HASH_BYTES}")[:, 0]


def encode(name: str) -> bytes:
    """A name as it is stored."""
    return name.encode("utf-8", "surrogateescape")


def decode(name: bytes) -> str:
    """A stored name as text."""
    return name.decode("utf-8", "surrogateescape")
