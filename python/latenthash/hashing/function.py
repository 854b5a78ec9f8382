"""A hash function: features to codes, by planes, waves across planes, or planes of a kernel."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import MismatchError
from ..hamming import Codes, pack

_ROWS = 4096  # encoded at a time: bounds the memory


@dataclass(frozen=True, eq=False)
class Kernel:
    """Features seen as their likenesses exp(-gamma |feature - anchor|^2) to M anchors.

    Attributes:
        anchors: (M, D) float32.
        gamma: 1 / (2 sigma^2).
    """

    anchors: NDArray[np.float32]
    gamma: float

    def likeness(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """(N, M) float64 in 0..1 of (N, D) features."""
        squares = square_distances(features.astype(np.float64), self.anchors.astype(np.float64))
        return np.asarray(np.exp(-self.gamma * squares))


def square_distances(
    rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(N, M) squared Euclidean distances of (N, D) from (M, D)."""
    products = rows @ columns.T
    norms = (rows**2).sum(axis=1)[:, None] + (columns**2).sum(axis=1)
    return np.asarray(np.maximum(norms - 2 * products, 0))


@dataclass(frozen=True, eq=False)
class HashFunction:
    """Bit j is 1 where `projection[j]` · (x - `mean`) >= 0, with an `offset` where that plus
    `offset[j]` is.

    x is the feature, or with a `kernel` its likenesses to the anchors. With a `phase` the
    bit is 1 where cos(`projection[j]` · (x - `mean`) + `phase[j]`) >= 0.

    Attributes:
        method: how it was learned: a name in METHODS or SUPERVISED.
        seed: of everything random in it.
        learned_from: features that it was learned from.
        mean: (D,) float32, or (M,) with a kernel.
        projection: (bits, D) float32, or (bits, M) with a kernel.
        phase: (bits,) float32, in radians; sh has it.
        kernel: ksh has it.
        offset: (bits,) float32; latent has it.
    """

    method: str
    seed: int
    learned_from: int
    mean: NDArray[np.float32]
    projection: NDArray[np.float32]
    phase: NDArray[np.float32] | None = None
    kernel: Kernel | None = None
    offset: NDArray[np.float32] | None = None

    @property
    def bits(self) -> int:
        """Width of the code."""
        return len(self.projection)

    @property
    def dim(self) -> int:
        """Values of a feature."""
        return len(self.mean) if self.kernel is None else self.kernel.anchors.shape[1]

    @property
    def identity(self) -> str:
        """SHA-256 of all that makes the bits: equal ones give equal codes."""
        digest = hashlib.sha256(f"{self.bits} {self.dim} ".encode())
        for array in (self.mean, self.projection):
            digest.update(np.ascontiguousarray(array, "<f4").tobytes())
        if self.phase is not None:
            digest.update(b" phase " + np.ascontiguousarray(self.phase, "<f4").tobytes())
        if self.kernel is not None:
            digest.update(f" kernel {self.kernel.gamma!r} ".encode())
            digest.update(np.ascontiguousarray(self.kernel.anchors, "<f4").tobytes())
        if self.offset is not None:
            digest.update(b" offset " + np.ascontiguousarray(self.offset, "<f4").tobytes())
        return digest.hexdigest()

    def project(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """(N, bits) float64, not negative where the bit is 1.

        Without phase and kernel, distances from the hyperplanes, times the planes' norms.
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
        values = features if self.kernel is None else self.kernel.likeness(features)
        sides = (values.astype(np.float64) - self.mean) @ self.projection.T.astype(np.float64)
        if self.offset is not None:
            sides += self.offset
        return sides if self.phase is None else np.cos(sides + self.phase)

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
