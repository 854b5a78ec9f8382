"""What all descriptors have in common."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from ..errors import EngineError
from ..images import fit

SIZE = 128
"""Pixels of a side that images are warped to."""
Pixels = NDArray[np.uint8]
Values = NDArray[np.float64]
Arrays = dict[str, NDArray[np.float32]]


class Descriptor(ABC):
    """Makes a feature of length 1 of an image, or zero of one that it sees nothing in.

    Safe to use from several threads at once, once fitted.

    Attributes:
        name: key in `DESCRIPTORS`.
        size: pixels of a side that images are warped to.
        arrays: what `fit` learned; empty if there is nothing to learn, or not yet.
        packages: modules whose versions decide what `fit` learns.
    """

    packages: tuple[str, ...] = ()

    def __init__(self, name: str, size: int = SIZE, arrays: Arrays | None = None) -> None:
        """Take up what was learned before, if `arrays` has it."""
        self.name, self.size = name, size
        self.arrays: Arrays = dict(arrays or {})

    @property
    @abstractmethod
    def dim(self) -> int:
        """Values of a feature.

        Raises:
            DataError: not fitted yet.
        """

    @property
    def identity(self) -> str:
        """SHA-256 of name, size and what was learned: equal ones give equal features."""
        digest = hashlib.sha256(f"{self.name} {self.size}".encode())
        for name, array in sorted(self.arrays.items()):
            digest.update(f" {name} {array.shape} ".encode())
            digest.update(np.ascontiguousarray(array, "<f4").tobytes())
        return digest.hexdigest()

    def describe(self, pixels: Pixels) -> NDArray[np.float32]:
        """Feature of an image.

        Args:
            pixels: (H, W, 3) uint8, BGR, or (H, W, 1) gray.

        Returns:
            (dim,) float32.

        Raises:
            DataError: not fitted yet.
        """
        return unit(self._values(self.warp(pixels))).astype(np.float32)

    def warp(self, pixels: Pixels) -> Pixels:
        """(size, size, 3) uint8 BGR."""
        return fit(pixels, 3, (self.size, self.size))

    def fit(self, images: Iterable[Pixels], seed: int = 0) -> None:
        """Learn from images what the descriptor needs; most need nothing.

        Args:
            images: (H, W, C) uint8 each, BGR or gray.
            seed: of every random choice.

        Raises:
            DataError: too little in the images to learn from.
        """
        self.arrays = {}

    @abstractmethod
    def _values(self, pixels: Pixels) -> Values:
        """(dim,) float64 of warped pixels, of any length."""


def unit(values: Values) -> Values:
    """Values scaled to length 1; zeros stay."""
    length = float(np.linalg.norm(values))
    return values / length if length else values


def gray(pixels: Pixels) -> Pixels:
    """(H, W) uint8 of (H, W, 3) BGR."""
    return fit(pixels, 1)[..., 0]


def require_installed(module: str, package: str) -> None:
    """Raise `EngineError` if a library of the extra `baselines` is missing."""
    if find_spec(module) is None:
        raise EngineError(f"{package} is not installed", "pip install '.[baselines]'")
