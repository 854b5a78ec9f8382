"""Training images again, cut and coloured otherwise: in the LMDB, so for every engine.

Mirrors and crops of one size are Caffe's own (transform_param), and are drawn anew at each
pass; it has neither scales nor colours, so these are drawn here, once, from a seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from ..errors import DataError
from ..manifest import read_manifest
from ..sources import Sample

STAGE = "build_lmdb"
MANIFEST = "dataset.json"
Pixels = NDArray[np.uint8]
_COLOURS = ("brightness", "contrast", "saturation")
_CHANGES = (*_COLOURS, "zoom", "erase")
_MOST = {"zoom": 0.95, "erase": 0.95}
_NARROWEST = 3 / 4  # width to height of a cut, relative to the image's; the widest is 4 / 3
_SHUFFLE = 1  # tells the order of images and copies from other choices by the same seed


@dataclass(frozen=True)
class Augment:
    """How training images are changed, and how often.

    Each copy is a part of the image, somewhere in it, of 1 - zoom to 1 of its area and of
    its shape or up to a third wider or narrower, stretched to the image's size: the random
    resized crop of Szegedy et al., Going Deeper with Convolutions, 2015, section 6. Then its
    brightness, then its contrast, then its saturation are multiplied by a factor drawn
    evenly from 1 - x to 1 + x. Contrast is the difference from the mean gray, saturation
    that from the pixel's own gray. At last a square of 0 to erase of the area, its centre
    somewhere in the image, is filled with the mean colour: DeVries and Taylor, Improved
    Regularization of Convolutional Neural Networks with Cutout, 2017, section 3.

    Attributes:
        brightness: x, 0 to 1.
        contrast: x, likewise.
        saturation: x, likewise; gray images have none.
        zoom: share of the area that may be cut off, 0 to 0.95.
        erase: share of the area that may be covered, 0 to 0.95.
        copies: of each training image, beside the image itself.

    Raises:
        DataError: a value outside, or nothing to change.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    zoom: float = 0.0
    erase: float = 0.0
    copies: int = 1

    def __post_init__(self) -> None:
        for name in _CHANGES:
            value, most = getattr(self, name), _MOST.get(name, 1)
            if not 0 <= value <= most:
                raise DataError(f"{name} {value}", f"give 0 to {most}")
        if not any(getattr(self, name) for name in _CHANGES):
            raise DataError("copies without a change", f"give {', '.join(_CHANGES)}")
        if self.copies < 1:
            raise DataError(f"{self.copies} copies", "give 1 or more")

    def change(self, pixels: Pixels, random: np.random.Generator) -> Pixels:
        """One copy of an image.

        Args:
            pixels: (H, W, C) uint8, BGR or gray.
            random: gives the three factors, the cut and the square.

        Returns:
            (H, W, C) uint8.
        """
        spreads = np.array([self.brightness, self.contrast, self.saturation])
        brightness, contrast, saturation = (1 + spreads * random.uniform(-1, 1, 3)).tolist()
        gray = pixels.shape[2] == 1
        image = Image.fromarray(pixels[..., 0] if gray else pixels[..., ::-1])
        if self.zoom:
            image = self._cut(image, random)
        image = ImageEnhance.Brightness(image).enhance(brightness)
        image = ImageEnhance.Contrast(image).enhance(contrast)
        if not gray:
            image = ImageEnhance.Color(image).enhance(saturation)
        changed = np.array(image)[..., None] if gray else np.array(image)[..., ::-1]
        if self.erase:
            self._cover(changed, random)
        return changed

    def _cover(self, pixels: Pixels, random: np.random.Generator) -> None:
        """Fill a square with the mean colour, in place; what hangs over the edge is lost."""
        height, width = pixels.shape[:2]
        half = np.sqrt(self.erase * random.random() * height * width) / 2
        y, x = random.random() * height, random.random() * width
        top, left = max(round(y - half), 0), max(round(x - half), 0)
        mean = pixels.mean(axis=(0, 1)).round().astype(np.uint8)
        pixels[top : round(y + half), left : round(x + half)] = mean

    def _cut(self, image: Image.Image, random: np.random.Generator) -> Image.Image:
        """A part of the image in the image's size."""
        area = 1 - self.zoom * random.random()
        ratio = np.exp(np.log(_NARROWEST) * random.uniform(-1, 1))
        width = image.width * min(np.sqrt(area * ratio), 1)
        height = image.height * min(np.sqrt(area / ratio), 1)
        left = (image.width - width) * random.random()
        top = (image.height - height) * random.random()
        box = (left, top, left + width, top + height)
        return image.resize(image.size, Image.Resampling.BICUBIC, box=box)

    def to_json(self, seed: int) -> dict[str, Any]:
        """For the manifest."""
        return {**asdict(self), "seed": seed}


def copies_in(folder: Path) -> int:
    """Copies of each training image in a folder that `build_lmdb` wrote; 0 in any other.

    An epoch is a pass over the images: one pass over N copies as well is 1 + N epochs.
    """
    path = folder / MANIFEST
    augment = read_manifest(path, STAGE)["augment"] if path.exists() else None
    return 0 if augment is None else int(augment["copies"])


def augment_of(changes: Sequence[str] | None, copies: int | None = None) -> Augment | None:
    """What a user asks for.

    Args:
        changes: such as "zoom=0.5", "contrast=0.1", or "colour=0.2", which stands for all
            three of the colours; later ones win; None: no copies.
        copies: None takes 1.

    Raises:
        DataError: no such change or value, or copies of nothing changed.
    """
    if changes is None:
        if copies is not None:
            raise DataError(f"{copies} copies of nothing changed", "give --augment colour=0.2")
        return None
    spreads: dict[str, float] = {}
    for change in changes:
        name, _, value = change.partition("=")
        try:
            spread = float(value)
        except ValueError:
            raise DataError(f"--augment {change}", "give such as colour=0.2") from None
        if name not in (*_CHANGES, "colour"):
            raise DataError(f"--augment {change}", f"choose colour, {', '.join(_CHANGES)}")
        spreads |= dict.fromkeys(_COLOURS if name == "colour" else [name], spread)
    return Augment(**spreads, copies=1 if copies is None else copies)


@dataclass(frozen=True, eq=False)
class Copy(Sample):
    """A sample that is to be changed.

    Attributes:
        number: which copy of its image, from 1.
    """

    number: int = 0

    def random(self, seed: int) -> np.random.Generator:
        """Generator of this copy alone: threads and their order do not count."""
        name = hashlib.sha256(self.name.encode(errors="surrogateescape")).digest()
        return np.random.default_rng([seed, self.number, int.from_bytes(name[:8], "big")])


def with_copies(samples: Sequence[Sample], augment: Augment | None, seed: int) -> list[Sample]:
    """The samples and their copies, all in one random order; without copies as they are.

    Caffe reads an LMDB from its start to its end. Were copies beside their image, a batch
    would hold little else; were they after all images, a run that is shorter than a pass
    would see few of them.
    """
    if augment is None:
        return list(samples)
    numbers = range(augment.copies + 1)
    every = [
        _copy(sample, number) if number else sample for number in numbers for sample in samples
    ]
    order = np.random.default_rng([seed, _SHUFFLE]).permutation(len(every))
    return [every[place] for place in order.tolist()]


def _copy(sample: Sample, number: int) -> Copy:
    return Copy(sample.name, sample.label, sample.path, sample.pixels, sample.split, number)
