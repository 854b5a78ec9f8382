"""Learning a hash function on features, with labels or without."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .function import HashFunction
from .latent import latent
from .planes import FLAT, TINY, Features, Learned, itq, lsh, pca, sh
from .settings import SUPERVISED, HashSettings
from .supervised import itq_cca, ksh

SAMPLE = 32_768
"""Features that a hash function is learned from at most; FAISS's ITQ uses as many."""
KSH_SAMPLE = 5_000
"""Features that ksh takes of those it is given, as many as its paper; it is slow."""
_Labels = NDArray[np.integer]
_LABEL_FREE: dict[str, Callable[[Features, HashSettings], Learned]] = {
    "itq": itq,
    "pca": pca,
    "lsh": lsh,
    "sh": sh,
}
_BY_LABELS: dict[str, Callable[[Features, _Labels, HashSettings], Learned]] = {
    "latent": latent,
    "itq-cca": itq_cca,
    "ksh": ksh,
}


def learn(
    features: NDArray[np.floating], settings: HashSettings, labels: _Labels | None = None
) -> HashFunction:
    """Hash function of the given kind for features like these.

    The same features and settings give the same bytes, on however many cores.

    Args:
        features: (N, D) floating, finite; all of them are used, so give a sample of
            at most `SAMPLE`. Only ksh takes a random `KSH_SAMPLE` of them.
        settings: method, bits, seed.
        labels: (N,) class numbers, for latent, itq-cca and ksh; the others do not look at them.

    Raises:
        DataError: fewer values, images or directions than bits; no labels, or of one
            class, where they are needed.
        EngineError: itq without FAISS, ksh without threadpoolctl, latent without it or
            scikit-learn.
    """
    count, dim = features.shape
    settings.require_installed()
    settings.require_dim(dim)
    settings.require_count(count)
    sample = np.ascontiguousarray(features, np.float32)
    if settings.method in SUPERVISED:
        known = _required(labels, count, settings)
        if settings.method == "ksh" and count > KSH_SAMPLE:
            rows = sample_rows(count, settings.seed, KSH_SAMPLE)
            count, sample, known = KSH_SAMPLE, sample[rows], known[rows]
        learned = _BY_LABELS[settings.method](sample, known, settings)
    else:
        learned = _LABEL_FREE[settings.method](sample, settings)
    result = HashFunction(settings.method, settings.seed, count, *learned)
    if settings.method in ("itq", "pca"):
        _require_directions(result, sample)
    return result


def sample_rows(count: int, seed: int, most: int) -> NDArray[np.int64]:
    """At most `most` of the rows 0 .. count - 1, drawn at random, ascending."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def _required(labels: _Labels | None, count: int, settings: HashSettings) -> _Labels:
    """The labels, if they are some to learn from."""
    if labels is None:
        raise DataError(f"{settings.method} is learned from labels", "give one a feature")
    if labels.shape != (count,):
        raise DataError(f"labels of shape {labels.shape} for {count} features", "give one each")
    if (labels < 0).any():
        raise DataError(f"{(labels < 0).sum()} features without a label", "leave them out")
    if len(np.unique(labels)) < 2:
        raise DataError(f"{settings.method}: all labels are one class", "give two or more")
    return labels


def _require_directions(learned: HashFunction, sample: Features) -> None:
    """Refuse bits that would be noise: along a direction in which the features do not vary."""
    covariance = np.atleast_2d(np.cov(learned.project(sample), rowvar=False))
    variances = np.linalg.eigvalsh(covariance)
    varying = int((variances > FLAT * max(variances[-1], TINY)).sum())
    if varying < learned.bits:
        raise DataError(
            f"{len(sample)} features vary in {varying} directions, fewer than {learned.bits} bits",
            f"give --bits {varying} or fewer, or --hash lsh" if varying else "give other images",
        )
