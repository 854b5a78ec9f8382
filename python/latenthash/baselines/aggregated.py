"""Descriptors made of local features: each kind of them, in each encoding."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..errors import DataError
from .base import SIZE, Arrays, Descriptor, Pixels, Values, require_installed
from .encoding import ENCODINGS, learn_axes, reduce
from .local import LOCAL, LocalFeatures

AGGREGATED = tuple(f"{local}-{encoding}" for local in LOCAL for encoding in ENCODINGS)
"""Names of the descriptors of this module, such as sift-vlad."""
_FROM_ONE = 200  # features of an image to learn from at most
_FROM_ALL = 100_000


class Aggregated(Descriptor):
    """Local features, encoded by words that `fit` learns."""

    packages = ("cv2", "sklearn")

    def __init__(self, name: str, size: int = SIZE, arrays: Arrays | None = None) -> None:
        """As `Descriptor`.

        Raises:
            EngineError: OpenCV is not installed.
        """
        super().__init__(name, size, arrays)
        require_installed("cv2", "OpenCV")
        local, _, encoding = name.partition("-")
        self._local, self._encoding = LOCAL[local], ENCODINGS[encoding]

    @property
    def dim(self) -> int:
        """Values of a feature: words, times a local feature's values, times 2 for Fisher."""
        self._require_fitted()
        words = self.arrays["words" if "words" in self.arrays else "means"]
        return words.size * self._encoding.parts or len(words)

    def fit(self, images: Iterable[Pixels], seed: int = 0) -> None:
        """Learn the words.

        Args:
            images: (H, W, C) uint8 each; at most 200 features of each are taken, and
                100,000 of all.
            seed: of the choice and of the words.

        Raises:
            DataError: fewer features than words.
            EngineError: scikit-learn is not installed.
        """
        require_installed("sklearn", "scikit-learn")
        local = self._sample(images, np.random.default_rng(seed))
        words = self._encoding.words
        if len(local) < words:
            raise DataError(
                f"{self.name}: {len(local)} local features for {words} words",
                "fit it on more images, or on images with more in them",
            )
        axes = learn_axes(local, self._encoding.reduced) if self._encoding.reduced else {}
        learned = self._encoding.learn(reduce(local, axes) if axes else local, words, seed)
        self.arrays = {**axes, **learned}

    def _sample(self, images: Iterable[Pixels], random: np.random.Generator) -> LocalFeatures:
        taken = [_some(self._local(self.warp(image)), _FROM_ONE, random) for image in images]
        if not taken:
            raise DataError(f"{self.name}: no images to learn from", "give some")
        return _some(np.concatenate(taken), _FROM_ALL, random)

    def _values(self, pixels: Pixels) -> Values:
        self._require_fitted()
        local = self._local(pixels)
        if "axes" in self.arrays:
            local = reduce(local, self.arrays)
        return self._encoding.encode(local, self.arrays)

    def _require_fitted(self) -> None:
        if not self.arrays:
            raise DataError(f"{self.name}: has no words yet", "fit it on images first")


def _some(local: LocalFeatures, most: int, random: np.random.Generator) -> LocalFeatures:
    """At most so many of the features, in their order."""
    if len(local) <= most:
        return local
    return local[np.sort(random.choice(len(local), most, replace=False))]
