"""Local features of an image: SIFT, SIFT on a grid, ORB; by OpenCV."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .base import Pixels, gray

_MOST = 500  # features of an image; the strongest
_CORNER = 5  # contrast of ORB's corners; by OpenCV's 20, blurred images have few or none
_GRID_STEP = 8  # pixels
_GRID_SIZES = (4.0, 8.0)  # diameters of keypoints; a patch of SIFT is six times as wide
LocalFeatures = NDArray[np.float64]


def sift(pixels: Pixels) -> LocalFeatures:
    """(n, 128) RootSIFT features at SIFT's own keypoints.

    Lowe, "Distinctive Image Features from Scale-Invariant Keypoints", IJCV 2004; the
    root as in Arandjelovic, Zisserman, CVPR 2012.
    """
    import cv2

    _, found = cv2.SIFT.create(nfeatures=_MOST).detectAndCompute(gray(pixels), None)
    return _root(found)


def dsift(pixels: Pixels) -> LocalFeatures:
    """(n, 128) upright RootSIFT features on a grid of 8 pixels, in two sizes."""
    import cv2

    image = gray(pixels)
    points = [
        cv2.KeyPoint(float(x), float(y), size, 0.0)
        for size in _GRID_SIZES
        for y in range(_GRID_STEP // 2, image.shape[0], _GRID_STEP)
        for x in range(_GRID_STEP // 2, image.shape[1], _GRID_STEP)
    ]
    _, found = cv2.SIFT.create().compute(image, points)
    return _root(found)


def _root(found: NDArray[Any] | None) -> LocalFeatures:
    """Square roots of features scaled to sum 1; those of an even patch are left out."""
    if found is None:
        return np.zeros((0, 128))
    sums = found.sum(axis=1, dtype=np.float64, keepdims=True)
    seen = sums[:, 0] > 0
    return np.asarray(np.sqrt(found[seen] / sums[seen]))


def orb(pixels: Pixels) -> LocalFeatures:
    """(n, 256) bits of ORB as 0 and 1: squared distances are Hamming distances.

    Rublee, Rabaud, Konolige, Bradski, "ORB: an Efficient Alternative to SIFT or SURF",
    ICCV 2011.
    """
    import cv2

    detector = cv2.ORB.create(nfeatures=_MOST, fastThreshold=_CORNER)
    _, found = detector.detectAndCompute(gray(pixels), None)
    if found is None:
        return np.zeros((0, 256))
    return np.unpackbits(np.asarray(found, np.uint8), axis=1).astype(np.float64)


LOCAL: dict[str, Callable[[Pixels], LocalFeatures]] = {"sift": sift, "dsift": dsift, "orb": orb}
"""Local features by name."""
