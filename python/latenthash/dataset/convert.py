"""Samples to Datums of one size, many at a time, with the sum that the mean needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, ImageError
from ..images import fit, probe, read
from ..lmdb_store import Encoding, encode_datum
from ..sources import Sample
from .augment import Augment, Copy

PHOTO_SIZE = (256, 256)
"""(height, width) where images differ in size, as in the paper."""

_PROBED = 64  # images looked at to see whether all have one size
_MOST = 64  # images in a chunk: 257 of 255 is all that uint16 can add up
_CHUNK_BYTES = 3 << 19  # small enough that no core waits long for the last one


@dataclass(frozen=True)
class Recipe:
    """What every image is made into.

    Attributes:
        channels: 3 (BGR) or 1 (gray).
        size: (height, width).
        encode: "jpeg" or "raw".
        quality: of JPEG.
        augment: how copies are changed; None: there are none.
        seed: of the changes.
    """

    channels: int
    size: tuple[int, int]
    encode: Encoding
    quality: int
    augment: Augment | None = None
    seed: int = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        return (self.channels, *self.size)


@dataclass(frozen=True)
class Converted:
    """A chunk of samples made ready for the LMDB.

    Attributes:
        datums: for each sample its serialised Datum, or the reason (str) to skip it.
        total: (H, W, C) uint16, sum of the chunk's pixels.
    """

    datums: list[bytes | str]
    total: NDArray[np.uint16]


def chunks(samples: Sequence[Sample], recipe: Recipe) -> list[Sequence[Sample]]:
    """Cut into pieces that are worth a thread's while and small in memory."""
    pixels = recipe.channels * recipe.size[0] * recipe.size[1]
    step = min(max(_CHUNK_BYTES // pixels, 1), _MOST)
    return [samples[start : start + step] for start in range(0, len(samples), step)]


def convert(samples: Sequence[Sample], recipe: Recipe) -> Converted:
    """Decode, warp and encode up to 64 samples."""
    total = np.zeros((*recipe.size, recipe.channels), dtype=np.uint16)
    datums: list[bytes | str] = []
    for sample in samples:
        try:
            pixels, stored = _pixels(sample, recipe)
        except ImageError as error:
            datums.append(error.problem)
            continue
        total += pixels
        datums.append(encode_datum(pixels, sample.label, recipe.encode, recipe.quality, stored))
    return Converted(datums, total)


def _pixels(sample: Sample, recipe: Recipe) -> tuple[NDArray[np.uint8], bytes | None]:
    """Pixels of a sample, and the JPEG that can stand for them if there is one."""
    pixels, stored = _as_they_are(sample, recipe)
    if recipe.augment is None or not isinstance(sample, Copy):
        return pixels, stored
    return recipe.augment.change(pixels, sample.random(recipe.seed)), None


def _as_they_are(sample: Sample, recipe: Recipe) -> tuple[NDArray[np.uint8], bytes | None]:
    if sample.path is not None:
        decoded = read(sample.path, recipe.channels, recipe.size)
        return decoded.pixels, decoded.jpeg
    assert sample.pixels is not None
    return fit(sample.pixels, recipe.channels, recipe.size), None


def choose_recipe(
    samples: Sequence[Sample],
    resize: tuple[int, int] | None,
    gray: bool | None,
    encode: Encoding | None,
    quality: int,
) -> Recipe:
    """Fill in what the caller leaves open, from up to 64 images spread over the set.

    Args:
        samples: all of them; at least one.
        resize: (height, width); None keeps the size if all have one, else takes 256x256.
        gray: None takes what the images are.
        encode: None takes "jpeg" for files, "raw" for arrays.
        quality: of JPEG.

    Raises:
        DataError: none of the images looked at can be used.
    """
    shapes = _probe(samples)
    if not shapes:
        raise DataError(
            f"none of {min(len(samples), _PROBED)} images looked at can be read, "
            f"such as {samples[0].path}",
            "give images that can be opened",
        )
    sizes = {(height, width) for height, width, _ in shapes}
    if gray is None:
        gray = all(channels == 1 for _, _, channels in shapes)
    return Recipe(
        channels=1 if gray else 3,
        size=resize or (sizes.pop() if len(sizes) == 1 else PHOTO_SIZE),
        encode=encode or ("raw" if samples[0].path is None else "jpeg"),
        quality=quality,
    )


def _probe(samples: Sequence[Sample]) -> list[tuple[int, int, int]]:
    """(H, W, C) of some samples, as far as they can be read."""
    shapes: list[tuple[int, int, int]] = []
    for place in np.linspace(0, len(samples) - 1, min(_PROBED, len(samples)), dtype=int):
        sample = samples[place]
        try:
            shapes.append(_shape(sample))
        except ImageError:
            continue  # reported when its turn comes to be converted
    return shapes


def _shape(sample: Sample) -> tuple[int, int, int]:
    if sample.path is not None:
        return probe(sample.path)
    assert sample.pixels is not None
    height, width, channels = sample.pixels.shape
    return height, width, channels
