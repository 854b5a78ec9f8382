"""Hash functions of features, learned from labels: ITQ on CCA's directions, and KSH."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .function import Kernel, square_distances
from .planes import FLAT, TINY, Features, Learned, centre, fix_signs
from .settings import HashSettings

ANCHORS = 300
"""Anchors of KSH at most; as many as its paper takes."""
_RIDGE = 1e-2  # of the mean variance, added to every variance: CCA overfits without
_ITQ_STEPS = 50  # as the paper
_ASCENT_STEPS = 50
_Matrix = NDArray[np.float64]


def itq_cca(sample: Features, labels: NDArray[np.integer], settings: HashSettings) -> Learned:
    """Directions that correlate most with the classes, rotated so that signs lose least.

    Gong, Lazebnik, Gordo, Perronnin, "Iterative Quantization", TPAMI 2013, section 4:
    each direction is weighted by its correlation. C classes have C - 1 directions at
    most; where there are more bits, all directions are spread over all bits by rows that
    stay orthonormal, which is what the paper's rotation does with the zeros beyond.
    """
    mean, centred = centre(sample)
    directions, correlations = canonical_directions(centred, labels)
    weighted = (directions * correlations[:, None])[: settings.bits]
    rotation = _rotation(centred @ weighted.T, settings)
    return Learned(mean, (rotation.T @ weighted).astype(np.float32))


def canonical_directions(
    centred: _Matrix, labels: NDArray[np.integer]
) -> tuple[_Matrix, NDArray[np.float64]]:
    """Canonical correlation analysis of features with the classes, one-hot.

    With one-hot labels Sxy Syy^+ Syx is the scatter between the classes' means, so these
    are the directions of linear discriminant analysis too.

    Args:
        centred: (N, D).
        labels: (N,).

    Returns:
        (d, D) directions along which the features have variance 1, d < classes, and
        their (d,) correlations, largest first.

    Raises:
        DataError: the classes' means do not differ.
    """
    count, dim = centred.shape
    covariance = centred.T @ centred / count
    ridge = _RIDGE * float(np.trace(covariance)) / dim
    classes = _one_hot(labels)
    sizes = classes.sum(axis=0)
    means = classes.T @ centred / sizes[:, None]
    between = (means * np.sqrt(sizes / count)[:, None]).T  # D x C
    if np.abs(between).max() <= TINY:
        raise DataError("the classes' features have one mean", "give other labels or features")
    root = np.linalg.cholesky(covariance + ridge * np.eye(dim))
    left, correlations, _ = np.linalg.svd(np.linalg.solve(root, between), full_matrices=False)
    kept = correlations > FLAT * correlations[0]
    directions = np.linalg.solve(root.T, left[:, kept]).T
    return fix_signs(directions), correlations[kept]


def _rotation(values: _Matrix, settings: HashSettings) -> _Matrix:
    """(d, bits) orthonormal rows R that make |sign(V R) - V R| small, by turns."""
    dim, bits = values.shape[1], settings.bits
    start = np.random.default_rng(settings.seed).standard_normal((bits, bits))
    rotation = np.linalg.qr(start)[0][:dim]
    for _ in range(_ITQ_STEPS):
        signs = np.where(values @ rotation >= 0, 1.0, -1.0)
        left, _, right = np.linalg.svd(values.T @ signs, full_matrices=False)
        rotation = left @ right
    return np.asarray(rotation)


def ksh(sample: Features, labels: NDArray[np.integer], settings: HashSettings) -> Learned:
    """Supervised hashing with kernels: products of codes that fit the pairs of labels.

    Liu, Wang, Ji, Jiang, Chang, "Supervised Hashing with Kernels", CVPR 2012: bit after
    bit makes h' R h large, R = bits S - the products of the bits before, S_ij = 1 for
    images of one class and -1 else. Every pair of the sample counts: R is never
    written out, as S = 2 Y Y' - 1 for one-hot labels Y. One thread does it: sums split
    among threads round otherwise, and each bit builds on the last.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return _ksh(sample, labels, settings)


def _ksh(sample: Features, labels: NDArray[np.integer], settings: HashSettings) -> Learned:
    count = len(sample)
    chosen = np.random.default_rng(settings.seed).permutation(count)[:ANCHORS]
    anchors = sample[np.sort(chosen)]
    spread = float(square_distances(sample.astype(np.float64), anchors.astype(np.float64)).mean())
    if spread <= TINY:
        raise DataError(f"{count} features vary in 0 directions", "give other images")
    kernel = Kernel(anchors, 1 / (2 * spread))
    likeness = kernel.likeness(sample)
    mean = likeness.mean(axis=0).astype(np.float32)
    white, scale = _whitened(likeness - mean)
    residue = Residue(labels, settings.bits)
    rows = []
    for _ in range(settings.bits):
        weights = best_bit(white, residue)
        residue.take(np.where(white @ weights >= 0, 1.0, -1.0))
        rows.append(scale @ weights)
    return Learned(mean, np.array(rows, np.float32), kernel=kernel)


def _whitened(values: _Matrix) -> tuple[_Matrix, _Matrix]:
    """Values (N, M) along their principal directions with variance 1, and what makes them so."""
    variances, vectors = np.linalg.eigh(values.T @ values / len(values))
    kept = variances > FLAT * variances[-1]
    scale = fix_signs(vectors[:, kept].T).T / np.sqrt(variances[kept])
    return values @ scale, scale


class Residue:
    """The matrix R of KSH: what the bits so far leave to be explained of the pairs."""

    def __init__(self, labels: NDArray[np.integer], bits: int) -> None:
        self._classes, self._bits = _one_hot(labels), bits
        self._signs, self._taken = np.empty((bits, len(labels))), 0

    def take(self, signs: NDArray[np.float64]) -> None:
        """Subtract the products of a bit, (N,) of 1 and -1."""
        self._signs[self._taken] = signs
        self._taken += 1

    def apply(self, columns: _Matrix) -> _Matrix:
        """R times (N,) or (N, K), without R."""
        pairs = 2 * self._classes @ (self._classes.T @ columns) - columns.sum(axis=0)
        taken = self._signs[: self._taken]
        return np.asarray(self._bits * pairs - taken.T @ (taken @ columns))


def best_bit(white: _Matrix, residue: Residue) -> NDArray[np.float64]:
    """Weights (M,) of the next bit: h = sign(white @ weights) with a large h' R h.

    First without the sign, where the best is an eigenvector; then uphill from there with
    a smooth sign, 2 / (1 + exp(-x)) - 1, if the signs are better for it.
    """
    _, vectors = np.linalg.eigh(white.T @ residue.apply(white))
    spectral = fix_signs(vectors[:, -1:].T)[0]
    refined = _uphill(white, residue, spectral)

    def worth(weights: NDArray[np.float64]) -> float:
        signs = np.where(white @ weights >= 0, 1.0, -1.0)
        return float(signs @ residue.apply(signs))

    return refined if worth(refined) > worth(spectral) else spectral


def _uphill(white: _Matrix, residue: Residue, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gradient ascent; the step is halved when it was too long, and doubled after a good one."""
    step = 1.0
    worth, slope = _smooth(white, residue, weights)
    for _ in range(_ASCENT_STEPS):
        if not (size := float(np.linalg.norm(slope))):
            break
        trial = weights + step * slope / size
        found, found_slope = _smooth(white, residue, trial)
        if found > worth:
            weights, worth, slope, step = trial, found, found_slope, 2 * step
        else:
            step /= 2
    return weights


def _smooth(
    white: _Matrix, residue: Residue, weights: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """The smooth h' R h and its gradient (M,)."""
    signs = np.tanh(white @ weights / 2)  # = 2 / (1 + exp(-x)) - 1
    pull = residue.apply(signs)
    return float(signs @ pull), np.asarray(white.T @ (pull * (1 - signs**2)))


def _one_hot(labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """(N, classes that occur) of 0 and 1."""
    return np.asarray((labels[:, None] == np.unique(labels)).astype(np.float64))
