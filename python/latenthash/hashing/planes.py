"""Hash functions of features alone: ITQ, PCA and LSH, which are planes, and spectral hashing."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .function import Kernel
from .settings import HashSettings

FLAT = 1e-6  # of the largest variance: less is rounding
TINY = float(np.finfo(np.float32).tiny)
Features = NDArray[np.float32]


class Learned(NamedTuple):
    """What a `HashFunction` is made of; see there."""

    mean: NDArray[np.float32]
    projection: NDArray[np.float32]
    phase: NDArray[np.float32] | None = None
    kernel: Kernel | None = None
    offset: NDArray[np.float32] | None = None


def itq(sample: Features, settings: HashSettings) -> Learned:
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
    return Learned(faiss.vector_to_array(transform.mean), projection)


def pca(sample: Features, settings: HashSettings) -> Learned:
    """The leading principal components, each with its largest value positive."""
    mean, centred = centre(sample)
    return Learned(mean, principal_components(centred, settings.bits).astype(np.float32))


def principal_components(centred: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """(count, D) directions of the largest variance, orthonormal, largest first, signs fixed."""
    return fix_signs(_components(centred, count))


def fix_signs(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows turned so that the largest value of each is positive."""
    largest = np.abs(rows).argmax(axis=1)
    return np.asarray(rows * np.sign(rows[np.arange(len(rows)), largest])[:, None])


def _components(centred: NDArray[np.float64], bits: int) -> NDArray[np.float64]:
    count, dim = centred.shape
    if count < dim:  # the smaller of the two matrices has the same eigenvalues
        _, vectors = np.linalg.eigh(centred @ centred.T)
        directions = vectors[:, : -bits - 1 : -1].T @ centred
        norms = np.linalg.norm(directions, axis=1, keepdims=True)
        return np.asarray(directions / np.maximum(norms, np.finfo(np.float64).tiny))
    _, vectors = np.linalg.eigh(centred.T @ centred)
    return np.asarray(vectors[:, : -bits - 1 : -1].T)


def lsh(sample: Features, settings: HashSettings) -> Learned:
    """Random directions through the mean: bits differ as often as the angle between
    features is wide (Charikar, "Similarity Estimation Techniques from Rounding
    Algorithms", STOC 2002).
    """
    mean, _ = centre(sample)
    generator = np.random.default_rng(settings.seed)
    planes = generator.standard_normal((settings.bits, sample.shape[1]), np.float32)
    return Learned(mean, planes)


def sh(sample: Features, settings: HashSettings) -> Learned:
    """Spectral hashing: waves along the principal components, the longest ones first.

    As if features were uniform in a box along those axes, the eigenfunctions of its
    Laplacian are sin(pi/2 + k pi (v - low) / (high - low)), k = 1, 2, ..., and the smaller
    k / (high - low), the smoother. Long axes get several bits, so there may be more bits
    than values (Weiss, Torralba, Fergus, "Spectral Hashing", NIPS 2008).
    """
    mean, centred = centre(sample)
    components = principal_components(centred, min(settings.bits, *sample.shape))
    values = centred @ components.T
    low, high = values.min(axis=0), values.max(axis=0)
    lengths = high - low
    if lengths.max() <= TINY:
        raise DataError(f"{len(sample)} features vary in 0 directions", "give other images")
    # for axis: for k in 1..bits: (k * pi / lengths[axis], axis), sorted, the first `bits`
    waves = np.pi / np.maximum(lengths, FLAT * lengths.max())
    frequencies = np.arange(1, settings.bits + 1)[:, None] * waves
    order = np.argsort(frequencies, axis=None, kind="stable")[: settings.bits]
    frequency, axis = frequencies.ravel()[order], order % len(components)
    projection = frequency[:, None] * components[axis]
    phase = -frequency * low[axis]
    return Learned(mean, projection.astype(np.float32), phase.astype(np.float32))


def centre(sample: Features) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Mean (D,), and features (N, D) less the mean."""
    mean = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean, sample.astype(np.float64) - mean
