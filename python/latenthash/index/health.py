"""How well the codes of an index use their bits: what they are worth, what went wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..kernels import scan_rings
from ..progress import Progress, silent

Words = NDArray[np.uint64]
Sizes = NDArray[np.int32]
_ROWS = 8192
_SAMPLE = 100_000  # images that the correlation looks at: it is then right to 0.003
_REPEATED = 0.95  # correlation above which one bit tells what another told


@dataclass(frozen=True)
class Health:
    """Measures of the codes of an index.

    Attributes:
        images: live images.
        bits: width of a code, B.
        sizes: (K,) int64, images of each distinct code, largest first.
        balance: (B,) float64, share of images whose bit is 1; 0.5 tells most.
        correlation: (B, B) float64, Pearson's between bits; 0 for a constant bit.
        candidates: (Q, B + 1) int64, images within each Hamming radius of sampled images.
    """

    images: int
    bits: int
    sizes: NDArray[np.int64]
    balance: NDArray[np.float64]
    correlation: NDArray[np.float64]
    candidates: NDArray[np.int64]

    @property
    def entropy(self) -> NDArray[np.float64]:
        """(B,) float64: bits of information of each bit alone, 0 to 1."""
        shares = np.stack([self.balance, 1 - self.balance])
        return _entropy(shares)

    @property
    def code_entropy(self) -> float:
        """Bits of information of the whole code: log2(images) if all codes differ."""
        return float(_entropy(self.sizes[:, None] / self.images)[0])

    @property
    def dead(self) -> list[int]:
        """Bits that are equal in all images."""
        return np.flatnonzero((self.balance == 0) | (self.balance == 1)).tolist()

    @property
    def repeated(self) -> list[int]:
        """Bits that repeat (or invert) an earlier one: |correlation| > 0.95."""
        earlier = np.tril(np.abs(self.correlation) > _REPEATED, -1)
        return np.flatnonzero(earlier.any(axis=1)).tolist()

    @property
    def independent_bits(self) -> float:
        """Number of independent bits with this much correlation: m^2 / sum of r^2.

        The participation ratio of the correlation matrix's eigenvalues, over the m bits
        that are not dead.
        """
        living = self.bits - len(self.dead)
        return living**2 / float((self.correlation**2).sum()) if living else 0.0

    def size_distribution(self) -> list[dict[str, int]]:
        """Buckets and images per size class: 1, 2-3, 4-7, 8-15, …"""
        # the power of two below each size, exactly
        classes = np.frexp(self.sizes.astype(np.float64))[1] - 1
        return [
            {
                "from": 1 << power,
                "to": (2 << power) - 1,
                "buckets": int((classes == power).sum()),
                "images": int(self.sizes[classes == power].sum()),
            }
            for power in range(int(classes.max(initial=-1)) + 1)
        ]

    def reached(self, share: float) -> NDArray[np.float64]:
        """(B + 1,) float64: quantile over the sampled queries of the images per radius."""
        if not len(self.candidates):
            return np.zeros(self.bits + 1)
        return np.asarray(np.quantile(self.candidates, share, axis=0))

    def radius_for(self, candidates: int) -> int:
        """Radius within which the median sampled query has so many images; B at most."""
        return min(self.bits, int(np.searchsorted(self.reached(0.5), candidates)))

    def to_json(self) -> dict[str, Any]:
        """As documented for `index.py stats --json`."""
        off_diagonal = np.abs(self.correlation[~np.eye(self.bits, dtype=bool)])
        return {
            "images": self.images,
            "bits": self.bits,
            "codes": len(self.sizes),
            "largest_bucket": int(self.sizes.max(initial=0)),
            "bucket_sizes": self.size_distribution(),
            "code_entropy": round(self.code_entropy, 3),
            "balance": np.round(self.balance, 4).tolist(),
            "entropy": np.round(self.entropy, 4).tolist(),
            "dead_bits": self.dead,
            "repeated_bits": self.repeated,
            "independent_bits": round(self.independent_bits, 2),
            "mean_correlation": round(float(off_diagonal.mean()), 4) if self.bits > 1 else 0.0,
            "max_correlation": round(float(off_diagonal.max(initial=0)), 4),
            "candidates_per_radius": {
                name: np.round(self.reached(share), 1).tolist()
                for name, share in (("p10", 0.1), ("median", 0.5), ("p90", 0.9))
            },
            "sampled_queries": len(self.candidates),
        }


def _entropy(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shannon entropy in bits over axis 0; 0 log 0 taken as 0."""
    logs = np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.asarray(np.maximum(0.0, -(shares * logs).sum(axis=0)))


def measure(
    parts: Iterable[tuple[Words, Sizes]],
    bits: int,
    queries: int = 200,
    seed: int = 0,
    on_progress: Progress = silent,
) -> Health:
    """Measure the codes of an index.

    Args:
        parts: of each segment, if any, its distinct codes (K, words) uint64, the packed bytes
            padded with zeros to whole words, and (K,) the live images of each.
        bits: B.
        queries: images drawn, with replacement, for the candidates per radius.
        seed: of the draws.
        on_progress: told of queries done.

    Returns:
        The measures. Correlations come from 100,000 drawn images where there are more.
    """
    nothing = (np.empty((0, (bits + 63) // 64), np.uint64), np.empty(0, np.int32))
    codes, sizes = merged(list(parts) or [nothing])
    generator = np.random.default_rng(seed)
    drawn = _draw(sizes, _SAMPLE, generator)
    chosen = codes[_draw(sizes, queries, generator)]
    return Health(
        images=int(sizes.sum()),
        bits=bits,
        sizes=np.sort(sizes)[::-1],
        balance=_balance(codes, sizes, bits),
        correlation=_correlation(codes[drawn], bits),
        candidates=_candidates(codes, sizes, chosen, bits, on_progress),
    )


def merged(parts: Iterable[tuple[Words, Sizes]]) -> tuple[Words, NDArray[np.int64]]:
    """Distinct codes of all segments with their live images; codes without any are left out.

    Returns:
        (K, words) uint64 and (K,) int64.
    """
    kept = [_without_empty(codes, sizes) for codes, sizes in parts]
    if len(kept) == 1:
        return kept[0]
    codes = np.concatenate([codes for codes, _ in kept])
    sizes = np.concatenate([sizes for _, sizes in kept])
    if not len(codes):
        return codes, sizes
    order = np.lexsort(codes.T)
    codes, sizes = codes[order], sizes[order]
    changed = (codes[1:] != codes[:-1]).any(axis=1)
    starts = np.concatenate(([0], np.flatnonzero(changed) + 1))
    return codes[starts], np.add.reduceat(sizes, starts)


def _without_empty(codes: Words, sizes: Sizes) -> tuple[Words, NDArray[np.int64]]:
    """Codes with images; a whole segment's stay mapped."""
    counts = sizes.astype(np.int64)
    full = counts > 0
    return (codes, counts) if full.all() else (codes[full], counts[full])


def _draw(
    sizes: NDArray[np.int64], count: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Buckets of `count` images drawn with replacement; of all images if they are fewer."""
    ends = np.cumsum(sizes)
    images = int(ends[-1]) if len(ends) else 0
    chosen = generator.integers(0, images, count) if images > count else np.arange(images)
    return np.searchsorted(ends, chosen, side="right")


def _unpacked(codes: Words, bits: int) -> NDArray[np.uint8]:
    """(n, words) uint64 to (n, bits) of 0 and 1."""
    return np.unpackbits(np.ascontiguousarray(codes).view(np.uint8), axis=1, count=bits)


def _balance(codes: Words, sizes: NDArray[np.int64], bits: int) -> NDArray[np.float64]:
    ones = np.zeros(bits)
    for start in range(0, len(codes), _ROWS):
        block = slice(start, start + _ROWS)
        ones += sizes[block].astype(np.float64) @ _unpacked(codes[block], bits).astype(np.float64)
    return np.asarray(ones / max(1, int(sizes.sum())))


def _correlation(codes: Words, bits: int) -> NDArray[np.float64]:
    """Pearson correlation of the bits of (n, words) codes."""
    together, ones = np.zeros((bits, bits)), np.zeros(bits)
    for start in range(0, len(codes), _ROWS):
        block = _unpacked(codes[start : start + _ROWS], bits).astype(np.float32)
        together += block.T @ block  # counts up to 8192: exact in float32
        ones += block.sum(axis=0)
    count = max(1, len(codes))
    mean = ones / count
    covariance = together / count - np.outer(mean, mean)
    deviation = np.sqrt(mean * (1 - mean))
    scale = np.outer(deviation, deviation)
    return np.asarray(np.divide(covariance, scale, out=np.zeros_like(scale), where=scale > 0))


def _candidates(
    codes: Words, sizes: NDArray[np.int64], queries: Words, bits: int, on_progress: Progress
) -> NDArray[np.int64]:
    """(Q, bits + 1): images within each radius of each query."""
    within = np.zeros((len(queries), bits + 1), np.int64)
    counts = sizes.astype(np.int32)
    for number, query in enumerate(queries):
        # within[number, r] = sum(sizes[k] for k if hamming(query, codes[k]) <= r)
        within[number] = np.cumsum(scan_rings(codes, counts, query, bits)[1])
        on_progress(number + 1, len(queries))
    return within
