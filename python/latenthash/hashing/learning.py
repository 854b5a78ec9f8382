"""Learning a hash function on features alone: ITQ, PCA, LSH."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, EngineError
from ..hamming import MAX_BITS
from .function import HashFunction

SAMPLE = 32_768
"""Features that a hash function is learned from at most; FAISS's ITQ uses as many."""
_FLAT = 1e-6  # of the largest variance: less is rounding
_Features = NDArray[np.float32]
_Learned = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class HashSettings:
    """What to learn.

    Attributes:
        method: itq, pca or lsh.
        bits: width of the codes.
        seed: of the sample, of ITQ's first rotation, of LSH's planes.

    Raises:
        DataError: no such method, or bits outside 1..1024.
    """

    method: str
    bits: int
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise DataError(f"hash {self.method!r}", f"choose one of {', '.join(METHODS)}")
        if not 1 <= self.bits <= MAX_BITS:
            raise DataError(f"{self.bits} bits", f"give 1 to {MAX_BITS}")

    def require_dim(self, dim: int) -> None:
        """Raise `DataError` if features of `dim` values have fewer directions than bits."""
        if self.method != "lsh" and self.bits > dim:
            raise DataError(
                f"{self.bits} bits of features of {dim} values: {self.method} gives one bit a "
                "direction",
                f"give --bits {min(dim, MAX_BITS)} or fewer, or --hash lsh",
            )

    def require_count(self, count: int) -> None:
        """Raise `DataError` if `count` images are too few to learn from."""
        fewest = self.bits + 1 if self.method != "lsh" else 1
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


def learn(features: NDArray[np.floating], settings: HashSettings) -> HashFunction:
    """Hash function of the given kind for features like these.

    The same features and settings give the same bytes, on however many cores.

    Args:
        features: (N, D) floating, finite; all of them are used, so give a sample of
            at most `SAMPLE`.
        settings: method, bits, seed.

    Raises:
        DataError: fewer values, images or directions than bits.
        EngineError: itq without FAISS.
    """
    count, dim = features.shape
    settings.require_installed()
    settings.require_dim(dim)
    settings.require_count(count)
    sample = np.ascontiguousarray(features, np.float32)
    mean, projection = _METHODS[settings.method](sample, settings)
    result = HashFunction(settings.method, settings.seed, count, mean, projection)
    if settings.method != "lsh":
        _require_directions(result, sample)
    return result


def _require_directions(learned: HashFunction, sample: _Features) -> None:
    """Refuse bits that would be noise: along a direction in which the features do not vary."""
    covariance = np.atleast_2d(np.cov(learned.project(sample), rowvar=False))
    variances = np.linalg.eigvalsh(covariance)
    varying = int((variances > _FLAT * max(variances[-1], np.finfo(np.float32).tiny)).sum())
    if varying < learned.bits:
        raise DataError(
            f"{len(sample)} features vary in {varying} directions, fewer than {learned.bits} bits",
            f"give --bits {varying} or fewer, or --hash lsh" if varying else "give other images",
        )


def _itq(sample: _Features, settings: HashSettings) -> _Learned:
    """Principal components, rotated so that signs lose least.

    Gong, Lazebnik, "Iterative Quantization: A Procrustean Approach to Learning Binary
    Codes", CVPR 2011; features are centred and scaled to one length first, as FAISS has it.
    """
    import faiss

    dim = sample.shape[1]
    transform = faiss.ITQTransform(dim, settings.bits, True)
    transform.itq.seed = settings.seed
    transform.max_train_per_dim = max(transform.max_train_per_dim, -(-len(sample) // dim))
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # sums split among threads would round otherwise
    try:
        transform.train(sample)
    finally:
        faiss.omp_set_num_threads(threads)
    projection = faiss.vector_to_array(transform.pca_then_itq.A).reshape(settings.bits, dim)
    return faiss.vector_to_array(transform.mean), projection


def _pca(sample: _Features, settings: HashSettings) -> _Learned:
    """The leading principal components, each with its largest value positive."""
    mean, centred = _centred(sample)
    components = _components(centred, settings.bits)
    largest = np.abs(components).argmax(axis=1)
    signs = np.sign(components[np.arange(len(components)), largest])
    return mean, (components * signs[:, None]).astype(np.float32)


def _components(centred: NDArray[np.float64], bits: int) -> NDArray[np.float64]:
    """(bits, D) directions of the largest variance, orthonormal, largest first."""
    count, dim = centred.shape
    if count < dim:  # the smaller of the two matrices has the same eigenvalues
        _, vectors = np.linalg.eigh(centred @ centred.T)
        directions = vectors[:, : -bits - 1 : -1].T @ centred
        norms = np.linalg.norm(directions, axis=1, keepdims=True)
        return np.asarray(directions / np.maximum(norms, np.finfo(np.float64).tiny))
    _, vectors = np.linalg.eigh(centred.T @ centred)
    return np.asarray(vectors[:, : -bits - 1 : -1].T)


def _lsh(sample: _Features, settings: HashSettings) -> _Learned:
    """Random directions through the mean: bits differ as often as the angle between
    features is wide (Charikar, "Similarity Estimation Techniques from Rounding
    Algorithms", STOC 2002).
    """
    mean, _ = _centred(sample)
    generator = np.random.default_rng(settings.seed)
    planes = generator.standard_normal((settings.bits, sample.shape[1]), np.float32)
    return mean, planes


def _centred(sample: _Features) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    mean = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean, sample.astype(np.float64) - mean


_METHODS: dict[str, Callable[[_Features, HashSettings], _Learned]] = {
    "itq": _itq,
    "pca": _pca,
    "lsh": _lsh,
}
METHODS = tuple(_METHODS)
"""Names of the ways to learn."""
