"""What hash function to learn, and what that takes."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from ..errors import DataError, EngineError
from ..hamming import MAX_BITS

METHODS = ("itq", "pca", "lsh", "sh")
"""Names of the ways to learn from features alone."""
SUPERVISED = ("latent", "itq-cca", "ksh")
"""Names of the ways to learn from features and labels."""
_ONE_BIT_A_DIRECTION = ("itq", "pca")
_ONE_THREAD = ("latent", "ksh")


@dataclass(frozen=True)
class HashSettings:
    """What to learn.

    Attributes:
        method: itq, pca, lsh or sh; latent, itq-cca or ksh, which need labels.
        bits: width of the codes.
        seed: of the sample, of ITQ's first rotation, of LSH's planes, of KSH's anchors, of the
            latent layer's first weights and batches.

    Raises:
        DataError: no such method, or bits outside 1..1024.
    """

    method: str
    bits: int
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS + SUPERVISED:
            known = ", ".join(METHODS + SUPERVISED)
            raise DataError(f"hash {self.method!r}", f"choose one of {known}")
        if not 1 <= self.bits <= MAX_BITS:
            raise DataError(f"{self.bits} bits", f"give 1 to {MAX_BITS}")

    def require_label_free(self) -> None:
        """Raise `DataError` if it is learned from labels."""
        if self.method in SUPERVISED:
            raise DataError(
                f"{self.method} is learned from labels",
                f"give them to latenthash.hashing.learn, or choose one of {', '.join(METHODS)}",
            )

    def require_dim(self, dim: int) -> None:
        """Raise `DataError` if features of `dim` values have fewer directions than bits."""
        if self.method in _ONE_BIT_A_DIRECTION and self.bits > dim:
            raise DataError(
                f"{self.bits} bits of features of {dim} values: {self.method} gives one bit a "
                "direction",
                f"give --bits {min(dim, MAX_BITS)} or fewer, or --hash lsh",
            )

    def require_count(self, count: int) -> None:
        """Raise `DataError` if `count` images are too few to learn from."""
        if self.method in _ONE_BIT_A_DIRECTION:
            fewest = self.bits + 1
        else:
            fewest = 1 if self.method == "lsh" else 2
        if count < fewest:
            raise DataError(
                f"{count} images: {self.method} of {self.bits} bits is learned from "
                f"{fewest} or more",
                f"give more images, --bits {count - 1} or fewer, or --hash lsh"
                if count > 1
                else "give more images",
            )

    def require_installed(self) -> None:
        """Raise `EngineError` if what learns it is not installed."""
        if self.method == "itq" and find_spec("faiss") is None:
            raise EngineError(
                "FAISS, which learns itq, is not installed",
                "pip install '.[hash]', or choose --hash pca",
            )
        if self.method in _ONE_THREAD and find_spec("threadpoolctl") is None:
            raise EngineError(
                f"threadpoolctl, which keeps {self.method} to one thread, is not installed",
                "pip install '.[baselines]', or choose itq-cca",
            )
        if self.method == "latent" and find_spec("sklearn") is None:
            raise EngineError(
                "scikit-learn, which learns latent, is not installed",
                "pip install '.[baselines]', or choose itq-cca",
            )
