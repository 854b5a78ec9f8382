"""What a network's input is made of: size, crop, mean, scale."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..proto import read_mean
from .decoding import decode, fit


@dataclass(frozen=True, eq=False)
class Preprocess:
    """How an image becomes a network's input, as Caffe's transform_param has it.

    Attributes:
        channels: 3 (BGR) or 1 (gray).
        resize: (height, width) that every image is warped to, as convert_imageset does.
        crop: (height, width) of the centre crop; equal to `resize` where there is none.
        mean: one value per channel (BGR), or a (C, *resize) mean image, or None.
        scale: what is fed is (pixel - mean) * scale.

    Raises:
        DataError: sizes or mean do not fit each other.
    """

    channels: int
    resize: tuple[int, int]
    crop: tuple[int, int]
    mean: tuple[float, ...] | NDArray[np.float32] | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise DataError(f"{self.channels} channels", "give 3 (BGR) or 1 (gray)")
        if not all(0 < c <= r for c, r in zip(self.crop, self.resize, strict=True)):
            raise DataError(
                f"a crop of {_by(self.crop)} from images of {_by(self.resize)}",
                "give a crop no larger than the images",
            )
        expected = (self.channels, *self.resize)
        found = None if self.mean is None else np.shape(self.mean)
        if found not in (None, expected[:1], expected):
            raise DataError(
                f"a mean of shape {found} for images of {expected}",
                "build the mean from images of the same size and channels",
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, height, width) of the network's input."""
        return (self.channels, *self.crop)

    def to_json(self, mean_file: str | None = None) -> dict[str, Any]:
        """Settings for a manifest; a mean image is named and hashed, not copied.

        Args:
            mean_file: where the caller keeps the mean image, relative to the manifest.

        Raises:
            ValueError: there is a mean image and no name for it.
        """
        settings: dict[str, Any] = {
            "channels": self.channels,
            "resize": list(self.resize),
            "crop": list(self.crop),
            "mean": self.mean,
            "scale": self.scale,
        }
        if isinstance(self.mean, np.ndarray):
            if mean_file is None:
                raise ValueError("a mean image needs mean_file")
            settings["mean"] = {"file": mean_file, "sha256": _array_hash(self.mean)}
        elif self.mean is not None:
            settings["mean"] = list(self.mean)
        return settings

    @classmethod
    def from_json(cls, settings: Mapping[str, Any], folder: Path) -> Preprocess:
        """Settings back from a manifest that lies in `folder`.

        Raises:
            DataError: a setting or the mean file is missing, or it is another mean.
        """
        try:
            mean = settings["mean"]
            return cls(
                channels=int(settings["channels"]),
                resize=_pair(settings["resize"]),
                crop=_pair(settings["crop"]),
                mean=_mean_from_json(mean, folder),
                scale=float(settings["scale"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{folder}: preprocessing settings are damaged ({error!r})", "build it again"
            ) from error


def _mean_from_json(
    mean: list[float] | dict[str, str] | None, folder: Path
) -> tuple[float, ...] | NDArray[np.float32] | None:
    if isinstance(mean, dict):
        path = folder / mean["file"]
        image = read_mean(path)
        if _array_hash(image) != mean["sha256"]:
            raise DataError(f"{path}: is not the mean that was used", "build it again")
        return image
    return None if mean is None else tuple(float(value) for value in mean)


def _pair(values: Sequence[int]) -> tuple[int, int]:
    height, width = values
    return int(height), int(width)


def _array_hash(array: NDArray[np.float32]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array, dtype="<f4").tobytes()).hexdigest()


def _by(size: Sequence[int]) -> str:
    """Width x height, as people say it, of a (height, width)."""
    return f"{size[1]}x{size[0]}"


def prepare(pixels: NDArray[np.uint8], preprocess: Preprocess) -> NDArray[np.float32]:
    """Input of the network from pixels.

    Args:
        pixels: (H, W, C) uint8 as `decode` gives; warped if not of the size yet.

    Returns:
        (C, height, width) float32, the centre crop that Caffe takes in its TEST phase,
        minus the mean, times the scale.

    Raises:
        ValueError: pixels of another shape or number of channels.
    """
    if pixels.ndim != 3 or pixels.shape[2] != preprocess.channels:
        raise ValueError(f"pixels of shape {pixels.shape} for {preprocess.channels} channels")
    if pixels.shape[:2] != preprocess.resize:
        pixels = fit(pixels, preprocess.channels, preprocess.resize)
    window = _centre(preprocess)
    values = pixels[window].transpose(2, 0, 1).astype(np.float32)
    if isinstance(preprocess.mean, np.ndarray) and preprocess.mean.ndim == 3:
        values -= preprocess.mean[(slice(None), *window)]
    elif preprocess.mean is not None:
        values -= np.asarray(preprocess.mean, dtype=np.float32)[:, None, None]
    if preprocess.scale != 1:
        values *= np.float32(preprocess.scale)
    return values


def load(source: Path | bytes, preprocess: Preprocess) -> NDArray[np.float32]:
    """Input of the network, (C, height, width) float32, from an image file or its bytes.

    Raises:
        ImageError: as `decode`.
    """
    return prepare(decode(source, preprocess.channels, preprocess.resize), preprocess)


def _centre(preprocess: Preprocess) -> tuple[slice, slice]:
    (height, width), (rows, columns) = preprocess.resize, preprocess.crop
    top, left = (height - rows) // 2, (width - columns) // 2
    return slice(top, top + rows), slice(left, left + columns)
