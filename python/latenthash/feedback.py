"""Relevance feedback: a query moved towards what was liked, away from what was not.

The feature moves as Rocchio's formula says (Rocchio, *Relevance feedback in information
retrieval*, 1971, with the weights of Manning et al., *Introduction to Information
Retrieval*, 2008, ch. 9); the bits of the code vote by the same weights, and a bit on
which the examples agree weighs more than one on which they differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .hamming import Codes, pack, unpack

OWN, LIKED, DISLIKED = 1.0, 0.75, 0.25

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Votes:
    """Bits of a moved query.

    Attributes:
        code: (W,) uint8, packed.
        weights: (B,) float32 of the bits, of mean 1.
    """

    code: Codes
    weights: Floats

    def disagreement(self, codes: Codes) -> Floats:
        """(N,) float32: share of the weights on which (N, W) packed codes differ, 0 to 1."""
        bits = len(self.weights)
        differs = unpack(codes, bits) != unpack(self.code[None], bits)
        shares: Floats = (differs @ self.weights / bits).astype(np.float32)
        return shares


def move_feature(query: Floats, liked: Floats, disliked: Floats) -> Floats:
    """Rocchio: own + 0.75 mean(liked) - 0.25 mean(disliked), of the query's length.

    Args:
        query: (D,).
        liked: (L, D), L >= 0.
        disliked: (M, D), M >= 0.

    Returns:
        (D,) float32. Where no value of any example is negative (after a ReLU), none of
        the result is; if nothing is left, the query itself.
    """
    moved = OWN * query + LIKED * _mean(liked) - DISLIKED * _mean(disliked)
    if min(part.min(initial=0) for part in (query, liked, disliked)) >= 0:
        moved = np.maximum(moved, 0)
    length = float(np.linalg.norm(moved))
    if not length:
        return query.astype(np.float32)
    scaled: Floats = (moved * (np.linalg.norm(query) / length)).astype(np.float32)
    return scaled


def vote(query: Codes, liked: Codes, disliked: Codes, bits: int) -> Votes:
    """Each bit by majority, the query's own vote weighing most; a tie keeps its bit.

    Args:
        query: (W,) uint8, packed.
        liked: (L, W), L >= 0.
        disliked: (M, W), M >= 0.
        bits: B.
    """
    own = _signs(query[None], bits)[0]
    votes = (
        OWN * own
        + LIKED * _mean(_signs(liked, bits))
        - DISLIKED * _mean(_signs(disliked, bits))
    )  # fmt: skip
    chosen = np.where(votes == 0, own, votes) > 0
    weights = np.abs(votes) if votes.any() else np.ones(bits)
    weights *= bits / weights.sum()
    return Votes(pack(chosen[None])[0], weights.astype(np.float32))


def _signs(codes: Codes, bits: int) -> NDArray[np.float64]:
    return np.where(unpack(codes, bits), 1.0, -1.0)


def _mean(rows: NDArray[np.floating]) -> NDArray[np.floating]:
    return rows.mean(axis=0) if len(rows) else np.zeros(rows.shape[1], rows.dtype)
