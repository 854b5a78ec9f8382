"""Near-copies: images whose codes are near and whose features point the same way.

The distance is the cosine distance, 1 - x.y / (|x| |y|): it has no scale, so one default
suits every network. Groups are the connected components of "nearer than": a chain of
copies of copies is one group.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..distances import cosine
from ..progress import Progress, silent
from .components import Components
from .near_codes import chunk_masks, pairs_within
from .rows import LiveRows, Numbers, Part

RADIUS = 2
# Measured: a picture of 28 or 32 pixels saved again as JPEG of quality 75 lies at 0.0025
# at most, larger ones nearer. Of 4,000 different digits 0.7 % have one nearer than 0.005
# (4 % nearer than 0.01), of 1,600 different photos none has one nearer than 0.02.
MAX_DISTANCE = 0.005
_ROUNDING = 1e-6  # of float32: equal features may seem so far apart
_MARGIN = 1e-4  # that a matrix product may be wrong by, generously
_BATCH = 4096  # pairs of buckets at a time
_FEW = 16  # pairs of images: below, a call per pair of buckets costs more than the work
_VALUES = 1 << 22  # float32 of a block: 16 MB
_MOST = 1 << 28  # pairs of images in two buckets: above, some are left out
_WINDOW = 1 << 14  # images that an image is then compared with
_SAMPLE = 1000  # images that the direction of a large bucket is found from

Features = NDArray[np.float32]


@dataclass(frozen=True)
class Group:
    """Near-copies of one another.

    Attributes:
        ids: (n,) int64, ascending, n >= 2.
        distances: (n,) float32 cosine distances to the first.
    """

    ids: Numbers
    distances: Features


@dataclass(frozen=True)
class Duplicates:
    """Groups of near-copies, the largest first.

    Attributes:
        groups: disjoint.
        cut: pairs of buckets too large to compare wholly; copies may be missing there.
    """

    groups: list[Group]
    cut: int


def find_duplicates(
    parts: Sequence[Part],
    bits: int,
    radius: int = RADIUS,
    max_distance: float = MAX_DISTANCE,
    on_progress: Progress = silent,
) -> Duplicates:
    """Group near-copies.

    Args:
        parts: segments, at least one.
        bits: of a code.
        radius: only images whose codes differ in at most so many bits are compared.
        max_distance: largest cosine distance of near-copies, 0 to 2.
        on_progress: told of the share done.

    Returns:
        Groups of two images or more.
    """
    rows = LiveRows(parts)
    search = _Search(rows, max_distance)
    buckets = len(rows.codes)
    phases = 1 + len(chunk_masks(bits, radius))
    for start in range(0, buckets, _BATCH):
        same = np.arange(start, min(buckets, start + _BATCH))
        search.compare(same, same)
        on_progress(start + len(same), phases * buckets)

    def later(done: int, _: int) -> None:
        on_progress(buckets + done, phases * buckets)

    for one, other in pairs_within(rows.codes, bits, radius, later):
        for start in range(0, len(one), _BATCH):
            search.compare(one[start : start + _BATCH], other[start : start + _BATCH])
    groups = [_group(rows, members) for members in search.components.groups()]
    return Duplicates(sorted(groups, key=lambda g: (-len(g.ids), int(g.ids[0]))), search.cut)


def _group(rows: LiveRows, members: Numbers) -> Group:
    members = members[np.argsort(rows.ids(members))]
    first = rows.features(members[:1])[0]
    blocks = _blocks(members, _VALUES // rows.dim)
    distances = np.concatenate([cosine(first, rows.features(block)) for block in blocks])
    return Group(rows.ids(members), distances)


class _Search:
    """Compares buckets image by image and joins what is near."""

    def __init__(self, rows: LiveRows, max_distance: float) -> None:
        self._rows = rows
        self._max = max_distance + _ROUNDING
        self._block = max(1, _VALUES // rows.dim)
        self.components = Components(len(rows))
        self.cut = 0

    def compare(self, one: Numbers, other: Numbers) -> None:
        """Compare the images of buckets one[i] and other[i], for all i."""
        rows = self._rows
        sizes = [rows.stops[part] - rows.starts[part] for part in (one, other)]
        few = sizes[0] * sizes[1] <= _FEW
        pairs = _all_pairs(rows.starts[one[few]], sizes[0][few], rows.starts[other[few]],
                           sizes[1][few])  # fmt: skip
        self._compare_pairs(*pairs)
        for a, b in zip(one[~few].tolist(), other[~few].tolist(), strict=True):
            left, right = (np.arange(rows.starts[x], rows.stops[x]) for x in (a, b))
            if len(left) * len(right) <= _MOST:
                self._compare_all(left, right)
            else:
                self._compare_large(left, right)

    def _compare_pairs(self, left: Numbers, right: Numbers) -> None:
        """Join left[i] with right[i] where they are near."""
        useful = self.components.roots(left) != self.components.roots(right)
        left, right = left[useful], right[useful]
        for a, b in zip(_blocks(left, self._block), _blocks(right, self._block), strict=True):
            distances = _paired_cosine(self._rows.features(a), self._rows.features(b))
            near = distances <= self._max
            self.components.join(a[near], b[near])

    def _compare_all(self, left: Numbers, right: Numbers) -> None:
        """Compare every row of `left` with every row of `right`, block by block."""
        for x in _blocks(left, self._block):
            directions = _unit(self._rows.features(x))
            for y in _blocks(right, self._block):
                if left[0] == right[0] and y[0] < x[0]:
                    continue  # one bucket with itself: the other half
                self._compare_block(x, directions, y)

    def _compare_block(self, x: Numbers, directions: Features, y: Numbers) -> None:
        """The product decides; where it is too close to call, the exact distance does."""
        distances = 1 - directions @ _unit(self._rows.features(y)).T
        sure = np.nonzero(distances <= self._max - _MARGIN)
        self.components.join(x[sure[0]], y[sure[1]])
        close = np.nonzero(np.abs(distances - self._max) < _MARGIN)
        self._compare_pairs(x[close[0]], y[close[1]])

    def _compare_large(self, left: Numbers, right: Numbers) -> None:
        """Compare what lies near along one direction, and not more than a window.

        Unit vectors at cosine distance d are sqrt(2 d) apart, and not more along any
        direction: only a window that is cut off at its limit can lose a pair.
        """
        axis = self._axis(left)
        (left, places), (right, others) = (self._ordered(part, axis) for part in (left, right))
        reach = np.sqrt(2 * self._max) + _MARGIN
        cut = False
        for start in range(0, len(left), self._block):
            block = slice(start, start + self._block)
            low = int(np.searchsorted(others, places[block][0] - reach))
            high = int(np.searchsorted(others, places[block][-1] + reach))
            if high - low > _WINDOW:
                middle = int(np.searchsorted(others, places[block].mean()))
                cut, low = True, min(max(low, middle - _WINDOW // 2), high - _WINDOW)
                high = low + _WINDOW
            directions = _unit(self._rows.features(left[block]))
            for y in _blocks(right[low:high], self._block):
                self._compare_block(left[block], directions, y)
        self.cut += cut

    def _axis(self, rows: Numbers) -> Features:
        """(D,) first principal direction of a sample of the rows' unit features."""
        sample = _unit(self._rows.features(rows[:: -(-len(rows) // _SAMPLE)]))
        axis: Features = np.linalg.svd(sample - sample.mean(axis=0), full_matrices=False)[2][0]
        return axis

    def _ordered(self, rows: Numbers, axis: Features) -> tuple[Numbers, Features]:
        """Rows in the order of their places along `axis`, and these places."""
        blocks = _blocks(rows, self._block)
        places = np.concatenate([_unit(self._rows.features(block)) @ axis for block in blocks])
        order = np.argsort(places, kind="stable")
        return rows[order], places[order]


def _all_pairs(
    starts: Numbers, sizes: Numbers, other_starts: Numbers, other_sizes: Numbers
) -> tuple[Numbers, Numbers]:
    """Rows of bucket i with rows of the other bucket i; within one bucket, each pair once."""
    counts = sizes * other_sizes
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    width = np.repeat(other_sizes, counts)
    left = np.repeat(starts, counts) + number // np.maximum(width, 1)
    right = np.repeat(other_starts, counts) + number % np.maximum(width, 1)
    wanted = (np.repeat(starts, counts) != np.repeat(other_starts, counts)) | (left < right)
    return left[wanted], right[wanted]


def _blocks(values: Numbers, size: int) -> Iterator[Numbers]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _unit(features: Features) -> Features:
    """(n, D) rows of length 1; zero stays zero."""
    norms = np.sqrt(np.einsum("nd,nd->n", features, features))[:, None]
    return np.asarray(np.divide(features, norms, out=np.zeros_like(features), where=norms > 0))


def _paired_cosine(x: Features, y: Features) -> Features:
    """(n,) float32 cosine distances of x[i] and y[i]; 1 if one of the two is zero."""
    squares = np.einsum("nd,nd->n", x, x) * np.einsum("nd,nd->n", y, y)
    norms = np.sqrt(squares)
    products = np.einsum("nd,nd->n", x, y)
    similarity = np.divide(products, norms, out=np.zeros_like(norms), where=norms > 0)
    return np.asarray(np.clip(1 - similarity, 0, 2), np.float32)


def fold(features: Features, max_distance: float = MAX_DISTANCE) -> Numbers:
    """Fold near-copies among hits into the best of them.

    Args:
        features: (k, D) float32 of the hits, best first.
        max_distance: largest cosine distance between a hit and what folds into it.

    Returns:
        (k,) int64: the hit that each one folds into; a hit that stays has its own number.
    """
    limit, block = max_distance + _ROUNDING, max(1, _VALUES // features.shape[1])
    directions = _unit(features)
    distances = 1 - directions @ directions.T
    for close in _blocks(np.argwhere(np.abs(distances - limit) < _MARGIN), block):
        one, other = close.T
        distances[one, other] = _paired_cosine(features[one], features[other])
    near = distances <= limit
    np.fill_diagonal(near, True)  # zero features too
    leaders = np.full(len(features), -1, np.int64)
    crowded = near.sum(axis=1) > 1
    leaders[~crowded] = np.flatnonzero(~crowded)
    for number in np.flatnonzero(crowded).tolist():
        if leaders[number] < 0:
            leaders[near[number] & (leaders < 0)] = number
    return leaders
