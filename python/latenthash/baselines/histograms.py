"""Descriptors of the whole image: HOG, LBP, colours; by scikit-image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .base import SIZE, Arrays, Descriptor, Pixels, Values, gray, require_installed

_CELLS = 8  # of HOG, along a side
_ORIENTATIONS = 9
_HOG_BLOCK = 2  # cells
_LBP_BLOCKS = 4  # along a side
_LBP_PATTERNS = 59  # 58 uniform ones of 8 neighbours, and all others together
_COLOUR_BINS = (16, 4, 4)  # of hue, saturation, value


def hog(pixels: Pixels) -> Values:
    """Histograms of oriented gradients, 8 x 8 cells of 9 orientations, blocks of 2 x 2.

    Dalal, Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005; the
    strongest channel's gradient at each pixel, blocks by their clipped length.
    """
    from skimage.feature import hog as skimage_hog

    values = skimage_hog(
        pixels,
        orientations=_ORIENTATIONS,
        pixels_per_cell=(pixels.shape[0] // _CELLS, pixels.shape[1] // _CELLS),
        cells_per_block=(_HOG_BLOCK, _HOG_BLOCK),
        block_norm="L2-Hys",
        channel_axis=-1,
    )
    return np.asarray(values, np.float64)


def lbp(pixels: Pixels) -> Values:
    """Uniform local binary patterns of 8 neighbours at radius 1, counted in 4 x 4 blocks.

    Ojala, Pietikainen, Maenpaa, "Multiresolution Gray-Scale and Rotation Invariant Texture
    Classification with Local Binary Patterns", PAMI 2002; in blocks as Ahonen et al. 2006.
    """
    from skimage.feature import local_binary_pattern

    patterns = local_binary_pattern(gray(pixels), 8, 1, "nri_uniform").astype(np.intp)
    rows = np.arange(patterns.shape[0]) * _LBP_BLOCKS // patterns.shape[0]
    columns = np.arange(patterns.shape[1]) * _LBP_BLOCKS // patterns.shape[1]
    block = rows[:, None] * _LBP_BLOCKS + columns
    places = (block * _LBP_PATTERNS + patterns).ravel()
    return np.bincount(places, minlength=_LBP_BLOCKS**2 * _LBP_PATTERNS).astype(np.float64)


def colour(pixels: Pixels) -> Values:
    """Joint histogram of hue, saturation and value, 16 x 4 x 4 bins.

    Swain, Ballard, "Color Indexing", IJCV 1991; the square root of each count (Hellinger's
    kernel), else one wide even background would be all that counts.
    """
    from skimage.color import rgb2hsv

    hsv = rgb2hsv(pixels[..., ::-1]).reshape(-1, 3)
    bins = np.minimum((hsv * _COLOUR_BINS).astype(np.intp), np.array(_COLOUR_BINS) - 1)
    places = np.ravel_multi_index(tuple(bins.T), _COLOUR_BINS)
    counts = np.bincount(places, minlength=int(np.prod(_COLOUR_BINS)))
    return np.asarray(np.sqrt(counts))


_KINDS: dict[str, tuple[Callable[[Pixels], Values], int]] = {
    "hog": (hog, (_CELLS - _HOG_BLOCK + 1) ** 2 * _HOG_BLOCK**2 * _ORIENTATIONS),
    "lbp": (lbp, _LBP_BLOCKS**2 * _LBP_PATTERNS),
    "colour": (colour, int(np.prod(_COLOUR_BINS))),
}
HISTOGRAMS = tuple(_KINDS)
"""Names of the descriptors of this module."""


class Histogram(Descriptor):
    """HOG, LBP or colours: nothing is learned."""

    def __init__(self, name: str, size: int = SIZE, arrays: Arrays | None = None) -> None:
        """As `Descriptor`.

        Raises:
            EngineError: scikit-image is not installed.
        """
        super().__init__(name, size, arrays)
        require_installed("skimage", "scikit-image")
        self._function, self._dim = _KINDS[name]

    @property
    def dim(self) -> int:
        """Values of a feature."""
        return self._dim

    def _values(self, pixels: Pixels) -> Values:
        return self._function(pixels)
