"""The paper's latent layer, learned on features that stay as they are."""

from __future__ import annotations

from math import ceil

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .planes import TINY, Features, Learned, centre
from .settings import HashSettings

_STEPS = 3000  # of Adam
_RATE = 3e-3
_BATCH = 200


def latent(sample: Features, labels: NDArray[np.integer], settings: HashSettings) -> Learned:
    """Sigmoid units between the features and a classifier; a bit is a unit at 0.5 or above.

    Lin, Yang, Hsiao, Chen, "Deep Learning of Binary Hash Codes for Fast Image Retrieval",
    CVPRW 2015, section 3.2, with the network below left alone: what its codes would be at
    other widths, or for labels that it did not learn. One thread does it: sums split among
    threads round otherwise, and each step builds on the last.
    """
    from sklearn.neural_network import MLPClassifier
    from threadpoolctl import threadpool_limits

    mean, centred = centre(sample)
    scale = float(centred.std())
    if scale <= TINY:
        raise DataError(f"{len(sample)} features vary in 0 directions", "give other images")
    values = (centred / scale).astype(np.float32)
    net = MLPClassifier(
        (settings.bits,), activation="logistic", learning_rate_init=_RATE,
        batch_size=min(_BATCH, len(sample)), random_state=settings.seed,
    )  # fmt: skip
    with threadpool_limits(1):
        for _ in range(ceil(_STEPS * net.batch_size / len(sample))):
            net.partial_fit(values, labels, classes=np.unique(labels))
    planes = (net.coefs_[0].T / scale).astype(np.float32)
    return Learned(mean, planes, offset=net.intercepts_[0].astype(np.float32))
