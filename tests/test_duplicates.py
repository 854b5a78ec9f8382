"""Near-copies against loops over all pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from latenthash.hamming import pack
from latenthash.index import duplicates
from latenthash.index.components import Components
from latenthash.index.duplicates import find_duplicates, fold
from latenthash.index.near_codes import pairs_within
from latenthash.index.rows import Part

Bits = NDArray[np.bool_]
DIM = 6


def words(bits: Bits) -> NDArray[np.uint64]:
    packed = pack(bits)
    return np.pad(packed, ((0, 0), (0, -packed.shape[1] % 8))).view(np.uint64)


def clustered(count: int, bits: int, rng: np.random.Generator) -> Bits:
    centres = rng.random((max(1, count // 6), bits)) < 0.5
    return centres[rng.integers(0, len(centres), count)] ^ (rng.random((count, bits)) < 0.02)


def part(bits: Bits, features: NDArray, ids: NDArray, live: NDArray | None = None) -> Part:
    codes, bucket = np.unique(words(bits), axis=0, return_inverse=True)
    order = np.argsort(bucket, kind="stable")
    offsets = np.concatenate(([0], np.cumsum(np.bincount(bucket, minlength=len(codes)))))
    scale, stored = None, features[order].astype(np.float16)
    if features.dtype == np.int8:
        scale, stored = np.full(features.shape[1], 0.5, np.float32), features[order]
    return Part(codes, offsets, stored, ids[order], scale, None if live is None else live[order])


def distance(x: NDArray, y: NDArray) -> float:
    x, y = x.astype(np.float64), y.astype(np.float64)
    norms = np.sqrt((x @ x) * (y @ y))
    return 1 - x @ y / norms if norms else 1.0


def expected(
    bits: Bits, features: NDArray, ids: NDArray, radius: int, limit: float
) -> list[list[int]]:
    """Components of the graph of all near pairs, by a loop over them."""
    count = len(ids)
    near = [
        (i, j)
        for i in range(count)
        for j in range(i)
        if (bits[i] != bits[j]).sum() <= radius and distance(features[i], features[j]) <= limit
    ]
    one, other = np.array(near, np.int64).reshape(-1, 2).T
    graph = csr_array((np.ones(len(one)), (one, other)), (count, count))
    labels = connected_components(graph, directed=False)[1]
    groups = [sorted(ids[labels == label].tolist()) for label in set(labels.tolist())]
    return sorted((g for g in groups if len(g) > 1), key=lambda g: (-len(g), g[0]))


@pytest.mark.parametrize("bits", [1, 2, 8, 20, 48, 64, 65, 128, 1000])
@pytest.mark.parametrize("radius", [0, 1, 2, 3, 9])
def test_near_codes_are_those_of_a_loop_each_once(bits: int, radius: int) -> None:
    images = clustered(60, bits, np.random.default_rng(bits + radius))
    found = [
        (min(pair), max(pair))
        for one, other in pairs_within(words(images), bits, radius)
        for pair in zip(one.tolist(), other.tolist(), strict=True)
    ]
    near = [(i, j) for j in range(60) for i in range(j) if (images[i] != images[j]).sum() <= radius]
    assert sorted(found) == sorted(near)


@given(st.integers(1, 30), st.lists(st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)))))
def test_components_equal_relabelling(count: int, batches: list[list[tuple[int, int]]]) -> None:
    components, labels = Components(count), list(range(count))
    for batch in batches:
        edges = np.array(batch, np.int64).reshape(-1, 2) % count
        components.join(*edges.T)
        for one, other in edges.tolist():
            low, high = sorted((labels[one], labels[other]))
            labels = [low if label == high else label for label in labels]
    assert components.roots(np.arange(count)).tolist() == labels
    groups = [[n for n in range(count) if labels[n] == root] for root in range(count)]
    assert [g.tolist() for g in components.groups()] == [g for g in groups if len(g) > 1]


@given(
    count=st.integers(1, 70),
    bits=st.sampled_from([4, 8, 48, 65]),
    radius=st.integers(0, 6),
    limit=st.sampled_from([0.0, 0.01, 0.1, 0.5]),
    segments=st.integers(1, 3),
    kept=st.sampled_from([0.0, 0.7, 1.0]),
    int8=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_groups_equal_a_loop_over_all_pairs(
    count: int, bits: int, radius: int, limit: float, segments: int, kept: float, int8: bool,
    seed: int,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    images = clustered(count, bits, rng)
    features = rng.integers(0, 4, (count, DIM)).astype(np.int8 if int8 else np.float16)
    ids = np.sort(rng.choice(1000, count, replace=False))
    live = rng.random(count) < kept
    owner = rng.integers(0, segments, count)
    parts = [
        part(images[owner == n], features[owner == n], ids[owner == n], live[owner == n])
        for n in set(owner.tolist())
    ]
    found = find_duplicates(parts, bits, radius, limit)
    known = expected(images[live], features[live], ids[live], radius, limit + 1e-6)
    assert [group.ids.tolist() for group in found.groups] == known
    assert found.cut == 0
    row = dict(zip(ids.tolist(), features, strict=True))
    for group in found.groups:
        distances = [distance(row[group.ids[0]], row[number]) for number in group.ids.tolist()]
        np.testing.assert_allclose(group.distances, distances, atol=1e-6)


@pytest.fixture
def photos() -> tuple[Bits, NDArray, NDArray]:
    """300 images in one bucket, 100 of them with two copies that differ a little."""
    rng = np.random.default_rng(0)
    originals = np.maximum(0, rng.normal(size=(100, 32)))
    features = np.concatenate([originals, originals * 1.7, originals + 0.003])
    return np.zeros((300, 8), bool), features.astype(np.float16), np.arange(300)


@pytest.mark.parametrize("path", ["whole", "large", "pairs"])
def test_each_way_of_comparing_finds_the_copies(
    photos: tuple[Bits, NDArray, NDArray], path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In small blocks, along a direction, or pair by pair: one answer."""
    monkeypatch.setattr(duplicates, "_VALUES", 32 * 7)
    limits = {"whole": (16, 1 << 28), "large": (16, 17), "pairs": (1 << 20, 1 << 28)}
    few, most = limits[path]
    monkeypatch.setattr(duplicates, "_FEW", few)
    monkeypatch.setattr(duplicates, "_MOST", most)
    found = find_duplicates([part(*photos)], 8)
    copies = [[n, n + 100, n + 200] for n in range(100)]
    assert [group.ids.tolist() for group in found.groups] == copies
    assert found.cut == 0


def test_buckets_too_large_are_told_of(
    photos: tuple[Bits, NDArray, NDArray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "_MOST", 17)
    monkeypatch.setattr(duplicates, "_WINDOW", 30)
    monkeypatch.setattr(duplicates, "_VALUES", 32 * 7)
    found = find_duplicates([part(*photos)], 8)
    assert found.cut == 1
    assert len(found.groups) > 90  # the nearest along the direction are compared


def test_progress_grows_to_its_end(photos: tuple[Bits, NDArray, NDArray]) -> None:
    told: list[tuple[int, int]] = []
    find_duplicates([part(*photos)], 8, 2, 0.01, lambda *share: told.append(share))
    assert told == sorted(told)
    assert {total for _, total in told} == {told[-1][0]}


def test_a_chain_of_copies_is_one_group() -> None:
    angles = np.arange(5) * 0.1
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float16)
    chain = part(np.zeros((5, 4), bool), features, np.arange(5))
    [group] = find_duplicates([chain], 4, max_distance=0.01).groups
    assert group.ids.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(group.distances, 1 - np.cos(angles), atol=1e-3)


@given(
    count=st.integers(0, 40), limit=st.sampled_from([0.0, 0.01, 0.2]), seed=st.integers(0, 2**32)
)
def test_fold_keeps_the_best_of_near_copies(count: int, limit: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    features = rng.integers(0, 3, (count, DIM)).astype(np.float32)
    leaders: list[int] = []
    for number in range(count):
        near = [
            leader for leader in leaders
            if leaders[leader] == leader
            and distance(features[leader], features[number]) <= limit + 1e-6
        ]  # fmt: skip
        leaders.append(near[0] if near else number)
    assert fold(features, limit).tolist() == leaders
    half = count // 2
    assert fold(features[:half], limit).tolist() == leaders[:half]
