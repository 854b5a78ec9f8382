"""Relevance feedback against naive loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latenthash.feedback import DISLIKED, LIKED, move_feature, vote
from latenthash.hamming import pack, unpack

BITS, DIM = 13, 6


def features(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)


def codes(count: int, seed: int) -> np.ndarray:
    return pack(np.random.default_rng(seed).random((count, BITS)) < 0.5)


@given(st.integers(0, 4), st.integers(0, 4), st.integers(0, 10**6))
def test_feature_moves_as_rocchio_says_and_keeps_its_length(
    liked: int, disliked: int, seed: int
) -> None:
    query, good, bad = features(1, seed)[0], features(liked, seed + 1), features(disliked, seed + 2)
    expected = [float(value) for value in query]
    for number in range(DIM):
        for row in good:
            expected[number] += LIKED * float(row[number]) / liked
        for row in bad:
            expected[number] -= DISLIKED * float(row[number]) / disliked
    scale = np.linalg.norm(query) / np.linalg.norm(expected)
    moved = move_feature(query, good, bad)
    assert moved.dtype == np.float32
    np.testing.assert_allclose(moved, np.array(expected) * scale, rtol=1e-4, atol=1e-5)


def test_features_that_are_never_negative_stay_so() -> None:
    query, bad = np.array([1, 0, 0], np.float32), np.array([[0, 8, 0]], np.float32)
    moved = move_feature(query, np.empty((0, 3), np.float32), bad)
    np.testing.assert_array_equal(moved, query)


def test_a_query_that_is_moved_to_nothing_stays() -> None:
    query = np.array([1, 2], np.float32)
    gone = np.array([[4, 8]], np.float32)
    np.testing.assert_array_equal(move_feature(query, gone[:0], gone), query)


def test_liked_comes_nearer_and_disliked_goes_farther() -> None:
    query, good, bad = features(3, 5)[:, None]
    moved = move_feature(query[0], good, bad)
    assert moved @ good[0] > query[0] @ good[0]
    assert moved @ bad[0] < query[0] @ bad[0]


@given(st.integers(0, 4), st.integers(0, 4), st.integers(0, 10**6))
def test_bits_vote(liked: int, disliked: int, seed: int) -> None:
    query, good, bad = codes(1, seed)[0], codes(liked, seed + 1), codes(disliked, seed + 2)
    votes = vote(query, good, bad, BITS)
    own = unpack(query[None], BITS)[0]
    strengths = []
    for bit in range(BITS):
        total = 1.0 if own[bit] else -1.0
        for rows, weight in ((good, LIKED), (bad, -DISLIKED)):
            for row in rows:
                total += weight * (1 if unpack(row[None], BITS)[0, bit] else -1) / len(rows)
        strengths.append(abs(total))
        wanted = own[bit] if abs(total) < 1e-12 else total > 0
        assert unpack(votes.code[None], BITS)[0, bit] == wanted
    mean = sum(strengths) / BITS
    np.testing.assert_allclose(votes.weights, np.array(strengths) / mean, rtol=1e-5, atol=1e-6)


def test_without_examples_nothing_changes() -> None:
    [query] = codes(1, 3)
    votes = vote(query, codes(0, 0), codes(0, 0), BITS)
    np.testing.assert_array_equal(votes.code, query)
    np.testing.assert_array_equal(votes.weights, np.ones(BITS))


def test_votes_that_cancel_out_weigh_alike() -> None:
    query = pack(np.ones((1, BITS), bool))
    votes = vote(query[0], pack(np.zeros((1, BITS), bool)), query, BITS)
    np.testing.assert_array_equal(votes.weights, np.ones(BITS))
    np.testing.assert_array_equal(votes.code, query[0])


def test_disagreement_is_the_share_of_the_weights() -> None:
    query, others = codes(1, 7)[0], codes(20, 8)
    votes = vote(query, codes(2, 9), codes(1, 10), BITS)
    own = unpack(votes.code[None], BITS)[0]
    expected = []
    for row in others:
        differs = [bit for bit in range(BITS) if unpack(row[None], BITS)[0, bit] != own[bit]]
        expected.append(sum(float(votes.weights[bit]) for bit in differs) / BITS)
    assert votes.disagreement(others) == pytest.approx(expected, abs=1e-6)
    assert votes.disagreement(votes.code[None])[0] == 0
