"""Many local features to one of an image: bag of words, VLAD, Fisher vectors.

Learned by scikit-learn in one thread, so that the same features give the same bytes;
encoded with NumPy alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..hashing import principal_components
from ..hashing.function import square_distances
from .base import Arrays, Values
from .local import LocalFeatures

REDUCED = 64
"""Values of a local feature for VLAD and Fisher vectors, after PCA."""
_STEPS = 50
_LEAST_VARIANCE = 1e-4


def learn_words(local: LocalFeatures, words: int, seed: int) -> Arrays:
    """Visual words: the means of k-means."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        found = KMeans(words, n_init=1, max_iter=_STEPS, random_state=seed).fit(local)
    return {"words": found.cluster_centers_.astype(np.float32)}


def bag_of_words(local: LocalFeatures, learned: Arrays) -> Values:
    """(words,) square roots of how many features are nearest to each word.

    Sivic, Zisserman, "Video Google", ICCV 2003; Csurka et al. 2004.
    """
    counts = np.bincount(_nearest(local, learned), minlength=len(learned["words"]))
    return np.asarray(np.sqrt(counts))


def _nearest(local: LocalFeatures, learned: Arrays) -> NDArray[np.intp]:
    words = learned["words"].astype(np.float64)
    return np.asarray(square_distances(local, words).argmin(axis=1))


def vlad(local: LocalFeatures, learned: Arrays) -> Values:
    """(words * d,) sums of differences from the nearest word, by their signed square roots.

    Jegou, Perronnin, Douze, Sanchez, Perez, Schmid, "Aggregating Local Image Descriptors
    into Compact Codes", PAMI 2012.
    """
    words = learned["words"].astype(np.float64)
    sums = np.zeros_like(words)
    nearest = _nearest(local, learned)
    # for feature, word in zip(local, nearest): sums[word] += feature - words[word]
    np.add.at(sums, nearest, local - words[nearest])
    return _power(sums.ravel())


def learn_mixture(local: LocalFeatures, words: int, seed: int) -> Arrays:
    """A mixture of Gaussians with diagonal covariances."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture
    from threadpoolctl import threadpool_limits

    mixture = GaussianMixture(
        words, covariance_type="diag", reg_covar=_LEAST_VARIANCE, max_iter=_STEPS, random_state=seed
    )
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # near the best is good enough
        mixture.fit(local)
    return {
        "weights": mixture.weights_.astype(np.float32),
        "means": mixture.means_.astype(np.float32),
        "variances": mixture.covariances_.astype(np.float32),
    }


def fisher(local: LocalFeatures, learned: Arrays) -> Values:
    """(2 * words * d,) the improved Fisher vector: `fisher_gradient` by signed square roots.

    Perronnin, Sanchez, Mensink, "Improving the Fisher Kernel for Large-Scale Image
    Classification", ECCV 2010.
    """
    return _power(fisher_gradient(local, learned))


def fisher_gradient(local: LocalFeatures, learned: Arrays) -> Values:
    """Mean gradient of the log likelihood, by the means, then by the standard deviations.

    Each is scaled by the inverse root of the Fisher information: for word k,
    sum of q_k (x - m_k) / s_k / (n sqrt(w_k)) and of
    q_k ((x - m_k)^2 / s_k^2 - 1) / (n sqrt(2 w_k)), q_k the posterior.
    """
    weights, means, variances = (
        learned[name].astype(np.float64) for name in ("weights", "means", "variances")
    )
    if not len(local):
        return np.zeros(2 * means.size)
    posterior = _posterior(local, weights, means, variances)
    # Sums of q, q x and q x^2 are enough; no (n, words, d) array is made.
    zeroth, first, second = (
        posterior.sum(axis=0)[:, None],
        posterior.T @ local,
        posterior.T @ local**2,
    )
    count, root = len(local), np.sqrt(weights)[:, None]
    by_mean = (first - means * zeroth) / np.sqrt(variances)
    by_deviation = (second - 2 * means * first + means**2 * zeroth) / variances - zeroth
    scaled = by_mean / (count * root), by_deviation / (count * root * np.sqrt(2))
    return np.concatenate([part.ravel() for part in scaled])


def _posterior(local: LocalFeatures, weights: Values, means: Values, variances: Values) -> Values:
    """(n, words) probabilities of the words given each feature."""
    logarithms = (
        np.log(weights)
        - 0.5 * np.log(variances).sum(axis=1)
        - 0.5 * (local**2 @ (1 / variances).T - 2 * local @ (means / variances).T)
        - 0.5 * (means**2 / variances).sum(axis=1)
    )
    likelihood = np.exp(logarithms - logarithms.max(axis=1, keepdims=True))
    return np.asarray(likelihood / likelihood.sum(axis=1, keepdims=True))


def _power(values: Values) -> Values:
    return np.asarray(np.sign(values) * np.sqrt(np.abs(values)))


def learn_axes(local: LocalFeatures, dim: int) -> Arrays:
    """Mean and the leading `dim` principal components of local features."""
    mean = local.mean(axis=0)
    axes = principal_components(local - mean, min(dim, *local.shape))
    return {"mean": mean.astype(np.float32), "axes": axes.astype(np.float32)}


def reduce(local: LocalFeatures, learned: Arrays) -> LocalFeatures:
    """Local features along the axes."""
    centred = local - learned["mean"].astype(np.float64)
    return np.asarray(centred @ learned["axes"].T.astype(np.float64))


class Encoding(NamedTuple):
    """One way to encode.

    Attributes:
        learn: (features, words, seed) to arrays.
        encode: (features, arrays) to values.
        words: as many as are learned.
        reduced: values of a feature after PCA; 0: no PCA.
        parts: values of the result for each word and value of a feature; 0: one a word.
    """

    learn: Callable[[LocalFeatures, int, int], Arrays]
    encode: Callable[[LocalFeatures, Arrays], Values]
    words: int
    reduced: int
    parts: int


ENCODINGS = {
    "bow": Encoding(learn_words, bag_of_words, 512, 0, 0),
    "vlad": Encoding(learn_words, vlad, 64, REDUCED, 1),
    "fisher": Encoding(learn_mixture, fisher, 32, REDUCED, 2),
}
"""Encodings by name."""
