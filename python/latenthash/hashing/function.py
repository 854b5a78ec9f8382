"""A linear hash function: which side of B hyperplanes a feature lies on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import MismatchError
from ..hamming import Codes, pack

_ROWS = 4096  # encoded at a time: bounds the memory


@dataclass(frozen=True, eq=False)
class HashFunction:
    """Bit j is 1 where `projection[j]` · (feature - `mean`) >= 0.

    Attributes:
        method: how it was learned: itq, pca or lsh.
        seed: of everything random in it.
        learned_from: features that it was learned from.
        mean: (D,) float32.
        projection: (bits, D) float32.
    """

    method: str
    seed: int
    learned_from: int
    mean: NDArray[np.float32]
    projection: NDArray[np.float32]

    @property
    def bits(self) -> int:
        """Width of the code."""
        return len(self.projection)

    @property
    def dim(self) -> int:
        """Values of a feature."""
        return len(self.mean)

    @property
    def identity(self) -> str:
        """SHA-256 of mean and projection: equal ones give equal codes."""
        digest = hashlib.sha256(f"{self.bits} {self.dim} ".encode())
        for array in (self.mean, self.projection):
            digest.update(np.ascontiguousarray(array, "<f4").tobytes())
        return digest.hexdigest()

    def project(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """(N, bits) float64 distances from the hyperplanes, times the planes' norms.

        Double precision: single would round a feature near a plane to either side,
        depending on how many are projected at once.

        Raises:
            MismatchError: features of another size.
        """
        if features.ndim != 2 or features.shape[1] != self.dim:
            raise MismatchError(
                f"features of shape {features.shape}; the hash function takes (N, {self.dim})",
                "learn it on features of the same network",
            )
        return (features.astype(np.float64) - self.mean) @ self.projection.T.astype(np.float64)

    def encode(self, features: NDArray[np.floating]) -> Codes:
        """Codes of features.

        Args:
            features: (N, D) floating.

        Returns:
            (N, ceil(bits / 8)) uint8, packed.

        Raises:
            MismatchError: features of another size.
        """
        blocks = [features[row : row + _ROWS] for row in range(0, max(1, len(features)), _ROWS)]
        return np.concatenate([pack(self.project(block) >= 0) for block in blocks])
