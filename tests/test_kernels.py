from __future__ import annotations

import ctypes
import json
import logging
import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from latenthash import kernels
from latenthash.distances import METRICS
from latenthash.errors import StorageError
from latenthash.hamming import distances, pack, words
from latenthash.kernels import features as features_module
from latenthash.kernels import library, team

TYPES = ["float32", "float16", "int8"]


@pytest.fixture
def many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little work is shared among threads too."""
    monkeypatch.setattr(team, "_SHARE", 1)


def codes(count: int, bits: int, seed: int, like: float = 0.5) -> NDArray[np.uint8]:
    """Packed codes, each bit 1 with probability `like`."""
    return pack(np.random.default_rng(seed).random((count, bits)) < like)


def stored(
    rows: int, dim: int, storage: str, seed: int
) -> tuple[NDArray[np.generic], NDArray[np.float32] | None, NDArray[np.float32]]:
    """Features as stored, their scale, and what they mean."""
    rng = np.random.default_rng(seed)
    values = np.maximum(rng.normal(size=(rows, dim)), 0).astype(np.float32)
    if storage != "int8":
        features = values.astype(storage)
        return features, None, features.astype(np.float32)
    scale = rng.uniform(0.01, 0.03, dim).astype(np.float32)
    quantised = np.clip(np.rint(values / scale), -127, 127).astype(np.int8)
    return quantised, scale, quantised * scale


@pytest.mark.usefixtures("many_threads")
@pytest.mark.parametrize("bits", [1, 7, 8, 20, 48, 64, 65, 128, 200, 256, 500, 512, 777, 1024])
def test_scan_and_rings_equal_the_naive_distances(level: str, bits: int) -> None:
    packed, query = codes(9001, bits, bits), codes(1, bits, 1)
    sizes = np.random.default_rng(bits).integers(0, 2**31, len(packed)).astype(np.int32)
    expected = distances(query, packed)[0]
    images = np.zeros(bits + 1, np.int64)
    np.add.at(images, expected, sizes)
    for threads in (1, 2, 3, 4):
        out = np.full(len(packed), 9999, np.uint16)
        assert kernels.scan(words(packed), words(query)[0], out, threads) is out
        np.testing.assert_array_equal(out, expected)
        found, rings = kernels.scan_rings(
            words(packed), sizes, words(query)[0], bits, threads=threads
        )
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(rings, images)


@given(
    bits=st.integers(1, 1024), count=st.integers(0, 300), queries=st.integers(0, 5),
    threads=st.integers(1, 4), room=st.integers(0, 200), seed=st.integers(0, 2**32),
)  # fmt: skip
def test_batches_equal_the_naive_answer(
    bits: int, count: int, queries: int, threads: int, room: int, seed: int
) -> None:
    packed, asked = codes(count, bits, seed), codes(queries, bits, seed + 1)
    limits = np.random.default_rng(seed).integers(-1, bits + 1, queries)
    ones = np.ones(count, np.int32)
    rings = kernels.rings_batch(words(packed), ones, words(asked), bits, threads)
    found = kernels.select_batch(words(packed), words(asked), limits, room, threads)
    assert rings.shape == (queries, bits + 1)
    assert len(found) == queries
    for naive, ring, limit, (indices, near) in zip(
        distances(asked, packed), rings, limits, found, strict=True
    ):
        np.testing.assert_array_equal(ring, np.bincount(naive, minlength=bits + 1))
        np.testing.assert_array_equal(indices, np.flatnonzero(naive.astype(int) <= limit))
        np.testing.assert_array_equal(near, naive[indices])


@pytest.mark.usefixtures("many_threads")
@pytest.mark.parametrize("room", [0, 5, 10**6])
def test_select_over_many_tiles_and_threads(level: str, room: int) -> None:
    packed, asked = codes(20_011, 48, 3), codes(4, 48, 4)
    limits, naive = np.array([15, 48, -1, 0]), distances(asked, packed).astype(int)
    found = kernels.select_batch(words(packed), words(asked), limits, room, 3)
    for near, limit, (indices, kept) in zip(naive, limits, found, strict=True):
        np.testing.assert_array_equal(indices, np.flatnonzero(near <= limit))
        np.testing.assert_array_equal(kept, near[indices])


@pytest.mark.usefixtures("many_threads")
@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 10_000])
@pytest.mark.parametrize("limit", [-1, 0, 3, 1024, 10**9])
def test_within_equals_flatnonzero(level: str, count: int, limit: int) -> None:
    far = np.random.default_rng(count).integers(0, 1025, count).astype(np.uint16)
    far[::7] %= 5
    for threads in (1, 2, 4):
        found = kernels.within(far, limit, threads)
        assert found.dtype == np.int64
        np.testing.assert_array_equal(found, np.flatnonzero(far.astype(int) <= limit))


def clustered(count: int, bits: int, seed: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    centres = rng.random((20, bits)) < 0.5
    flips = rng.random((count, bits)) < 0.06
    return np.unique(pack(centres[rng.integers(0, 20, count)] ^ flips), axis=0)


@pytest.mark.parametrize("kind", ["clustered", "random", "one giant", "few eligible", "none"])
@pytest.mark.parametrize("few", [1 << 16, 10])
def test_nearest_is_the_smallest_distance_that_holds_enough(
    monkeypatch: pytest.MonkeyPatch, kind: str, few: int
) -> None:
    monkeypatch.setattr(sys.modules["latenthash.kernels.nearest"], "_FEW", few)
    bits, rng = 40, np.random.default_rng(5)
    packed = codes(30_000, bits, 6) if kind == "random" else clustered(30_000, bits, 6)
    sizes = rng.integers(1, 9, len(packed)).astype(np.int32)
    if kind == "one giant":
        sizes[1234] = 10**8
    if kind == "few eligible":
        sizes[rng.random(len(packed)) < 0.999] = 0
    if kind == "none":
        sizes[:] = 0
    asked = np.concatenate([packed[1233:1236], codes(2, bits, 7)])
    naive = distances(asked, packed)
    for wanted in (1, 100, 10_000, 10**9):
        for radius in (None, 0, 9):
            found = kernels.nearest(words(packed), sizes, words(asked), bits, wanted, radius)
            for near, (indices, kept, rings) in zip(naive, found, strict=True):
                reached = np.cumsum(np.bincount(near, sizes, bits + 1)) >= wanted
                limit = int(np.argmax(reached)) if reached.any() else bits
                limit = limit if radius is None else min(limit, radius)
                np.testing.assert_array_equal(
                    indices, np.flatnonzero((near <= limit) & (sizes > 0))
                )
                np.testing.assert_array_equal(kept, near[indices])
                np.testing.assert_array_equal(rings, np.bincount(kept, sizes[indices], bits + 1))


def test_nearest_with_a_sample_made_before(level: str) -> None:
    packed, sizes = codes(70_000, 128, 8), np.ones(70_000, np.int32)
    array, query = words(packed), words(packed[77:79])
    sample = kernels.sample_of(array, sizes)
    found = kernels.nearest(array, sizes, query, 128, 500, None, sample)
    for near, (indices, *_) in zip(distances(packed[77:79], packed), found, strict=True):
        limit = np.sort(near)[499]
        np.testing.assert_array_equal(indices, np.flatnonzero(near <= limit))


def test_a_code_with_too_many_bits_is_damage(level: str) -> None:
    packed = np.full((3, 1), 255, np.uint8)  # of 6 bits
    sizes, query = np.ones(3, np.int32), words(np.zeros((1, 1), np.uint8))
    with pytest.raises(StorageError, match="more than 6 bits"):
        kernels.scan_rings(words(packed), sizes, query[0], 6)
    with pytest.raises(StorageError, match="more than 6 bits"):
        kernels.rings_batch(words(packed), sizes, query, 6)


@pytest.mark.parametrize(
    ("buckets", "query"), [((4, 2), (3,)), ((4, 17), (17,)), ((4,), (1,)), ((4, 0), (0,))]
)
def test_codes_of_wrong_shapes_are_refused(
    buckets: tuple[int, ...], query: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"codes of shape|words a code"):
        kernels.scan(np.zeros(buckets, np.uint64), np.zeros(query, np.uint64))


def test_outputs_and_sizes_of_wrong_shapes_are_refused() -> None:
    buckets, query = np.zeros((4, 1), np.uint64), np.zeros(1, np.uint64)
    with pytest.raises(ValueError, match="out of shape"):
        kernels.scan(buckets, query, np.zeros(3, np.uint16))
    with pytest.raises(ValueError, match="sizes of shape"):
        kernels.scan_rings(buckets, np.zeros(5, np.int32), query, 64)
    with pytest.raises(ValueError, match="limits for"):
        kernels.select_batch(buckets, query[None], np.zeros(2, np.int64))


@given(counts=st.lists(st.integers(0, 5), min_size=1, max_size=30), data=st.data())
def test_rows_of_buckets(counts: list[int], data: st.DataObject) -> None:
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    chosen = data.draw(st.lists(st.integers(0, len(counts) - 1), unique=True))
    near = np.arange(len(chosen), dtype=np.uint16) + 3
    rows, hamming = kernels.rows_of(offsets, np.array(chosen, np.int64), near)
    expected = [
        (row, 3 + place)
        for place, bucket in enumerate(chosen)
        for row in range(offsets[bucket], offsets[bucket + 1])
    ]
    assert list(zip(rows.tolist(), hamming.tolist(), strict=True)) == expected
    assert (rows.dtype, hamming.dtype) == (np.int64, np.uint16)


@pytest.mark.parametrize("offsets", [[0, 5, 2, 9], [0, -3, 4, 9], [0, 99, 100, 9], [0, 9, 0, 9]])
def test_damaged_offsets_are_refused(offsets: list[int]) -> None:
    with pytest.raises(StorageError, match="bucket"):
        kernels.rows_of(np.array(offsets), np.arange(3), np.zeros(3, np.uint16))


@pytest.mark.usefixtures("many_threads")
@pytest.mark.parametrize("storage", TYPES)
@pytest.mark.parametrize("dim", [1, 3, 63, 64, 65, 127, 1023, 1024, 1025, 2110])
def test_fine_distances_equal_the_reference(level: str, storage: str, dim: int) -> None:
    features, scale, values = stored(90, dim, storage, dim)
    rng = np.random.default_rng(dim)
    query = np.maximum(rng.normal(size=dim), 0).astype(np.float32)
    query[: dim // 3] = 0  # with the zeros of features: 0 / 0 in chi-square
    rows = rng.integers(0, 90, 77)
    for metric, reference in METRICS.items():
        expected = reference(query.astype(np.float64), values[rows])
        found = [kernels.fine(metric, features, scale, rows, query, threads=n) for n in (1, 2, 4)]
        np.testing.assert_allclose(found[0], expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(found[0], found[1])
        np.testing.assert_array_equal(found[0], found[2])


@pytest.mark.usefixtures("many_threads")
@pytest.mark.parametrize("storage", TYPES)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dim", [5, 1024, 1025, 3000])
def test_a_limit_spares_no_row_within_it(level: str, metric: str, storage: str, dim: int) -> None:
    features, scale, values = stored(90, dim, storage, dim)
    query, rows = values[0], np.random.default_rng(1).integers(0, 90, 61)
    whole = kernels.fine(metric, features, scale, rows, query)
    limits = np.quantile(whole, [0, 0.3, 0.7]).astype(np.float32)
    for limit in [*limits.tolist(), np.inf]:
        found = kernels.fine(metric, features, scale, rows, query, limit)
        near = whole <= np.float32(limit)
        np.testing.assert_array_equal(found[near], whole[near])
        assert ((found[~near] == whole[~near]) | np.isinf(found[~near])).all()


@pytest.mark.usefixtures("many_threads")
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("k", [1, 40, 700])
def test_the_k_nearest_are_not_given_up(
    level: str, metric: str, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features_module, "_LEAST", 64)
    features = np.abs(np.random.default_rng(k).normal(size=(3000, 1500))).astype(np.float16)
    features[::7] *= 3
    rows = np.random.default_rng(1).permutation(3000)
    whole = kernels.fine(metric, features, None, rows, features[5])
    for threads in (1, 3):
        found = kernels.fine(metric, features, None, rows, features[5], k=k, threads=threads)
        near = whole <= np.sort(whole)[k - 1]
        np.testing.assert_array_equal(found[near], whole[near])
        assert ((found[~near] == whole[~near]) | np.isinf(found[~near])).all()
        given_up = np.isinf(found).any()
        assert given_up == (metric in ("l2", "l1", "linf") and level != "numpy") or k == 700


def test_what_is_beyond_the_limit_is_not_read_to_its_end() -> None:
    features = np.ones((4, 8192), np.float32)
    found = kernels.fine("l2", features, None, np.arange(4), np.zeros(8192), 10)
    assert np.isinf(found).all() or library.native() is None


@pytest.mark.parametrize(
    ("metric", "name"),
    [("l2", "euclidean"), ("l1", "cityblock"), ("linf", "chebyshev"), ("cosine", "cosine")],
)
def test_fine_distances_equal_scipy_with_negative_values(metric: str, name: str) -> None:
    rng = np.random.default_rng(2)
    features, query = rng.normal(size=(50, 333)).astype(np.float32), rng.normal(size=333)
    found = kernels.fine(metric, features, None, np.arange(50), query)
    np.testing.assert_allclose(found, cdist(query[None], features, name)[0], rtol=1e-5, atol=1e-6)


@settings(max_examples=30)
@given(
    rows=st.lists(st.integers(0, 39), max_size=60), dim=st.integers(1, 150),
    metric=st.sampled_from(list(METRICS)), storage=st.sampled_from(TYPES),
)  # fmt: skip
def test_a_row_has_the_same_distance_in_any_company(
    rows: list[int], dim: int, metric: str, storage: str
) -> None:
    features, scale, values = stored(40, dim, storage, 9)
    alone = [
        kernels.fine(metric, features, scale, np.array([row]), values[5])[0] for row in range(40)
    ]
    found = kernels.fine(metric, features, scale, np.array(rows, np.int64), values[5])
    assert found.tolist() == [float(alone[row]) for row in rows]
    assert alone[5] == 0 or (metric == "cosine" and not values[5].any())


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("storage", TYPES)
def test_every_level_gives_the_same_bits(metric: str, storage: str) -> None:
    features, scale, _ = stored(60, 1100, storage, 10)
    native, query = library.native(), np.random.default_rng(1).random(1100)
    assert native is not None
    found = []
    for most in (0, 1, 2):
        native.lh_use_level(most)
        found.append(kernels.fine(metric, features, scale, np.arange(60), query).tobytes())
    native.lh_use_level(library.BEST)
    assert found[0] == found[1] == found[2]


def test_every_half_precision_number_is_read_rightly(level: str) -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)][:, None]
    query = np.zeros(1, np.float32)
    found = kernels.fine("l1", halves, None, np.arange(len(halves)), query)
    np.testing.assert_array_equal(found, np.abs(halves[:, 0].astype(np.float32)))


def test_cosine_of_a_zero_feature_is_one_and_of_opposites_two(level: str) -> None:
    features = np.array([[0, 0], [-3, -4], [6, 8]], np.float32)
    found = kernels.fine("cosine", features, None, np.arange(3), np.array([3.0, 4.0]))
    np.testing.assert_allclose(found, [1, 2, 0], atol=1e-7)
    none = kernels.fine("cosine", features, None, np.arange(3), np.zeros(2))
    assert none.tolist() == [1, 1, 1]


@pytest.mark.parametrize("row", [-1, 5])
def test_rows_outside_the_features_are_damage(row: int) -> None:
    with pytest.raises(StorageError, match="beyond the end"):
        kernels.fine("l2", np.zeros((5, 3), np.float32), None, np.array([0, row]), np.zeros(3))


@pytest.mark.parametrize(
    ("features", "scale", "dim"),
    [
        (np.zeros((5, 3), np.float64), None, 3),
        (np.zeros((5, 3), np.float32), None, 4),
        (np.zeros((5, 3), np.int8), None, 3),
        (np.zeros((5, 3), np.float32), np.ones(3, np.float32), 3),
        (np.zeros((5, 0), np.float32), None, 0),
    ],
)
def test_features_that_do_not_fit_are_refused(
    features: NDArray[np.generic], scale: NDArray[np.float32] | None, dim: int
) -> None:
    with pytest.raises(ValueError, match="features"):
        kernels.fine("l2", features, scale, np.arange(2), np.zeros(dim))


@given(
    values=st.lists(st.integers(0, 6), max_size=40), k=st.integers(1, 45),
    most=st.none() | st.integers(0, 6),
)  # fmt: skip
def test_top_is_ordered_by_distance_then_id(values: list[int], k: int, most: int | None) -> None:
    near = np.array(values, np.float32)
    ids = np.random.default_rng(3).permutation(len(values)).astype(np.int64)
    found = kernels.top(near, ids, k, most)
    expected = sorted(
        (i for i in range(len(values)) if most is None or values[i] <= most),
        key=lambda i: (values[i], ids[i]),
    )
    assert found.tolist() == expected[:k]


def _scan_in_child(results: multiprocessing.Queue[int]) -> None:
    packed = codes(20_000, 128, 1)
    results.put(int(kernels.scan(words(packed), words(packed)[0], None, 2).sum()))


@pytest.mark.usefixtures("many_threads")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")
def test_threads_work_in_a_forked_child() -> None:
    packed = codes(20_000, 128, 1)
    expected = int(kernels.scan(words(packed), words(packed)[0], None, 2).sum())
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=_scan_in_child, args=(results,))
    child.start()
    assert results.get(timeout=30) == expected
    child.join()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_helpers_may_run_anywhere_but_where_their_caller_does() -> None:
    allowed: dict[int, set[int]] = {}

    def work(member: int) -> None:
        allowed[member] = os.sched_getaffinity(0)
        if member == 0:
            helper_began.wait(10)
        else:
            helper_began.set()

    before = os.sched_getaffinity(0)
    for core in sorted(before)[:2]:
        helper_began = threading.Event()
        try:
            os.sched_setaffinity(0, {core})
            os.sched_setaffinity(0, before)  # still there, and free to move
            team.together(work, 2)
        finally:
            os.sched_setaffinity(0, before)
        assert allowed[0] == before
        assert len(allowed[1]) == len(before) - 1


def test_an_error_in_a_helper_thread_is_raised() -> None:
    def work(member: int) -> None:
        if member == 0:
            helper_began.wait(10)
        else:
            helper_began.set()
            raise OSError("lost")

    helper_began = threading.Event()
    with pytest.raises(OSError, match="lost"):
        team.together(work, 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "install a C compiler"), (b"no library", "install latenthash again")],
)
def test_without_a_library_a_warning_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    content: bytes | None, message: str,
) -> None:  # fmt: skip
    if content is not None:
        (tmp_path / f"_native{library.EXTENSION_SUFFIXES[0]}").write_bytes(content)
    monkeypatch.setattr(library, "__file__", str(tmp_path / "library.py"))
    with caplog.at_level(logging.WARNING):
        assert library.native.__wrapped__() is None
    assert message in caplog.text


def test_a_library_of_another_version_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(library, "VERSION", library.VERSION + 1)
    assert library.native.__wrapped__() is None
    assert "of an older version" in caplog.text


def test_structures_have_the_size_that_c_gives_them() -> None:
    assert ctypes.sizeof(library.ScanInput) == 5 * 8
    assert ctypes.sizeof(library.SelectInput) == 4 * 8
    assert ctypes.sizeof(library.SelectLog) == 6 * 8
    assert ctypes.sizeof(library.FineInput) == 9 * 8
    assert ctypes.sizeof(library.FineState) == 4 * 8


def test_the_benchmark_measures_every_kernel(tmp_path: Path) -> None:
    script = Path(__file__).parent.parent / "benchmarks/kernel_bench.py"
    sizes = ["--codes", "70000", "--bits", "20", "--dim", "70", "--candidates", "50"]
    rounds = ["--rounds", "1", "--json", str(tmp_path / "out.json")]
    done = subprocess.run(
        [sys.executable, script, *sizes, *rounds], capture_output=True, text=True, check=True
    )
    figures = json.loads((tmp_path / "out.json").read_text())
    assert {"plain read", "scan", "nearest", "fine chi2 int8"} <= set(figures)
    assert all(value > 0 for kernel in figures.values() for value in kernel.values())
    assert done.stdout.count("%") == len(figures)


@pytest.mark.parametrize("room", [0, 3, 4500])
def test_c_writes_no_more_than_there_is_room_for(room: int) -> None:
    native, count = library.native(), 10_000  # several tiles
    assert native is not None
    array, query = np.zeros((count, 1), np.uint64), np.zeros((1, 1), np.uint64)
    given = library.ScanInput(array.ctypes.data, count, 1, query.ctypes.data, 1)
    limits, places, taken = np.array([5]), np.zeros((1, 3), np.int64), ctypes.c_int64(0)
    indices, near = np.full(count, -7), np.full(count, 77, np.uint16)
    owners = near.copy()
    wanted = library.SelectInput(None, limits.ctypes.data, 1, places.ctypes.data)
    arrays = (array.ctypes.data for array in (indices, near, owners))
    log = library.SelectLog(4, room, 0, *arrays)
    native.lh_select(
        ctypes.byref(given), ctypes.byref(wanted), ctypes.byref(log), None, ctypes.byref(taken)
    )
    assert (log.used, places.tolist()) == (count, [[4, 0, count]])
    assert indices.tolist() == [*range(room), *[-7] * (count - room)]
    assert near.tolist() == owners.tolist() == [0] * room + [77] * (count - room)
    indices[:] = -7
    assert native.lh_within(near.ctypes.data, 0, count, 99, room, indices.ctypes.data) == count
    assert indices.tolist() == [*range(room), *[-7] * (count - room)]
