"""What is in a generation of a bucket index, image by image."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
from numpy.typing import NDArray

from ...hamming import Codes, distances, width
from ..contents import Ids, Image
from ..filter import Filter
from .eligible import eligible
from .generation import Generation


class BucketContents:
    """Reads the segments; see `Contents`."""

    def __init__(self, generation: Generation) -> None:
        """Name the generation."""
        self._segments = generation.segments
        self._bits = int(generation.manifest["bits"])
        self._classes: list[str] = generation.manifest["classes"]

    def has(self, number: int) -> bool:
        """Whether there is an image with this id."""
        return any(segment.find_id(number) is not None for segment in self._segments)

    def find_content(self, sha256: bytes) -> int | None:
        """Id of the image whose file has this hash."""
        for segment in self._segments:
            if (position := segment.find_content(sha256)) is not None:
                return int(segment.ids[position])
        return None

    def ids(self, label: int | None = None) -> Ids:
        """(n,) int64 ids, ascending, of one class (-1: unknown) or all."""
        parts = [np.empty(0, np.int64)]
        for segment in self._segments:
            at = segment.live_positions
            if label is not None:
                at = at[segment.labels[at] == label]
            parts.append(segment.ids[at])
        return np.concatenate(parts)

    def label_counts(self) -> list[tuple[int, int]]:
        """(label, images) of the classes that have any, -1 for unknown; ascending."""
        parts = [np.empty(0, np.int32)]
        parts += [segment.labels[segment.live_positions] for segment in self._segments]
        found, counts = np.unique(np.concatenate(parts), return_counts=True)
        return list(zip(found.tolist(), counts.tolist(), strict=True))

    def images(self, only: Collection[int] | None = None) -> Iterator[Image]:
        """Images, ascending by id; `only` some of them."""
        for segment in self._segments:
            positions = segment.live_positions
            if only is not None:
                positions = positions[np.isin(segment.ids[positions], list(only))]
            columns = zip(
                segment.ids[positions].tolist(),
                segment.names(positions),
                segment.labels[positions].tolist(),
                segment.codes(positions),
                segment.content[positions],
                strict=True,
            )
            for number, name, label, code, content in columns:
                yield Image(number, name, label, code, content.tobytes())

    def packed(self, ids: Ids) -> Codes:
        """Codes (n, W) uint8 of images by id; zeros where there is none."""
        result = np.zeros((len(ids), width(self._bits)), np.uint8)
        for segment in self._segments:
            at = np.minimum(np.searchsorted(segment.ids, ids), segment.images - 1)
            here = np.flatnonzero(segment.ids[at] == ids)
            result[here] = segment.codes(at[here])
        return result

    def nearer(self, code: Codes, hamming: NDArray[np.uint16], wanted: Filter | None) -> Ids:
        """How many images that pass a filter have a code nearer; see `Contents.nearer`."""
        counts = np.zeros(self._bits + 2, np.int64)
        for segment in self._segments:
            own = segment.buckets.view(np.uint8)[:, : len(code)]
            away = distances(code[None], np.ascontiguousarray(own))[0]
            sizes = eligible(segment, self._classes, wanted).sizes
            counts[1:] += np.bincount(away, sizes, self._bits + 1).astype(np.int64)
        return np.asarray(np.cumsum(counts)[hamming])
