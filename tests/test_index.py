"""One suite over the oracle and the bucket index."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latenthash.codes import CodeSet, CodeWriter, Rows
from latenthash.distances import METRICS
from latenthash.errors import DataError, LatentHashError, MismatchError, StorageError
from latenthash.hamming import pack
from latenthash.index import (
    BucketIndex,
    Filter,
    Hits,
    IndexWriter,
    LinearIndex,
    SearchOptions,
    build_index,
)

DIM = 5
CLASSES = ["a", "b"]


def code_file(folder: Path, rows: Rows, bits: int) -> Path:
    deploy = folder / "deploy.prototxt"
    deploy.write_text("name: 'net'")
    model = {"deploy": str(deploy), "preprocess": {"mean": None}}
    with CodeWriter(folder / "codes.h5", bits, DIM, len(rows)) as writer:
        writer.append(rows)
        writer.finish(
            {"stage": "extract", "format": 1, "bits": bits, "model": model, "classes": CLASSES}
        )
    return folder / "codes.h5"


def clustered(count: int, bits: int, seed: int, first: int = 0) -> Rows:
    """Few distinct codes, features with ties: what breaks sloppy ordering."""
    rng = np.random.default_rng(seed)
    centres = rng.random((max(1, count // 6), bits)) < 0.5
    codes = centres[rng.integers(0, len(centres), count)] ^ (rng.random((count, bits)) < 0.02)
    return Rows(
        names=[f"{'dé'[number % 2]}/{number}.png" for number in range(first, first + count)],
        labels=rng.integers(-1, 2, count, dtype=np.int32),
        features=rng.choice([0, 1, 3], (count, DIM)).astype(np.float16),
        codes=pack(codes),
        content=np.zeros((count, 32), np.uint8),
    )


def build(folder: Path, rows: Rows, bits: int, storage: str = "float16") -> BucketIndex:
    with CodeSet(code_file(folder, rows, bits)) as codes:
        return BucketIndex(build_index(codes, folder / "index", storage))


def add(folder: Path, rows: Rows, bits: int) -> None:
    with CodeSet(code_file(folder, rows, bits)) as codes, IndexWriter(folder / "index") as writer:
        assert writer.add(codes).added == len(rows)


def remove(folder: Path, ids: Iterable[int]) -> None:
    with IndexWriter(folder / "index") as writer:
        writer.remove(ids)


def oracle(index: BucketIndex, parts: Sequence[Rows], removed: Iterable[int] = ()) -> LinearIndex:
    """Plain search over what `index` should hold, with its features as they are stored."""
    codes = np.concatenate([part.codes for part in parts])
    ids = np.setdiff1d(np.arange(len(codes)), list(removed))
    labels = np.concatenate([part.labels for part in parts])[ids]
    names = [name for part in parts for name in part.names]
    return LinearIndex(
        index.bits,
        codes[ids],
        index.stored(ids)[1],
        ids,
        [CLASSES[label] if label >= 0 else "" for label in labels],
        [names[number] for number in ids],
    )


def require_same(found: Hits, expected: Hits, all_hits: Hits, one_segment: bool) -> None:
    """Same answer; two that are equally far but for rounding may change places."""
    facts = (found.radius, found.candidates, found.exact, found.left_out, len(found.ids))
    assert facts == (
        expected.radius, expected.candidates, expected.exact, expected.left_out, len(expected.ids)
    )  # fmt: skip
    assert found.buckets == expected.buckets if one_segment else found.buckets >= expected.buckets
    np.testing.assert_allclose(found.distances, expected.distances, rtol=1e-5, atol=1e-6)
    order = np.lexsort((found.ids, found.distances))
    assert order.tolist() == list(range(len(found.ids)))
    place = {number: at for at, number in enumerate(all_hits.ids.tolist())}
    at = np.array([place[number] for number in found.ids.tolist()], int)
    np.testing.assert_allclose(found.distances, all_hits.distances[at], rtol=1e-5, atol=1e-6)
    assert found.hamming.tolist() == all_hits.hamming[at].tolist()


PATTERNS = st.lists(st.sampled_from(["d/*", "*1*", "?/[0-4]*", "é/7.png", "*"]), max_size=2)
LABELS = st.lists(st.sampled_from(["a", "b", ""]), max_size=2)
IDS = st.sets(st.integers(0, 90), max_size=60)
FILTERS = st.builds(
    Filter,
    labels=st.none() | LABELS, not_labels=st.none() | LABELS,
    ids=st.none() | IDS, not_ids=st.none() | IDS,
    names=st.none() | PATTERNS, not_names=st.none() | PATTERNS,
)  # fmt: skip
OPTIONS = st.builds(
    SearchOptions,
    top=st.integers(1, 90),
    metric=st.sampled_from(sorted(METRICS)),
    radius=st.none() | st.integers(0, 40),
    candidates=st.none() | st.integers(1, 90),
    # off the values that distances take, where rounding decides
    max_distance=st.none() | st.floats(0, 6).map(lambda value: value + 0.00123),
    exact=st.booleans(),
    filter=st.none() | FILTERS,
    max_candidates=st.none() | st.integers(1, 90),
)


@settings(max_examples=60)
@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    bits=st.sampled_from([1, 7, 8, 20, 48, 64, 65, 128, 1024]),
    seed=st.integers(0, 2**32),
    storage=st.sampled_from(["float32", "float16", "int8"]),
    removed=st.sets(st.integers(0, 90), max_size=20),
    way=st.sampled_from([None, "scan", "mih", "table"]),
    options=st.lists(OPTIONS, min_size=3, max_size=3),
)
def test_bucket_index_answers_as_the_oracle(
    counts: list[int], bits: int, seed: int, storage: str, removed: set[int],
    way: str | None, options: list[SearchOptions],
) -> None:  # fmt: skip
    starts = np.cumsum([0, *counts]).tolist()
    parts = [
        clustered(count, bits, seed + start, start)
        for count, start in zip(counts, starts, strict=False)
    ]
    queries = clustered(3, bits, seed + 999)
    with TemporaryDirectory() as name:
        folder = Path(name)
        build(folder, parts[0], bits, storage)
        for part in parts[1:]:
            add(folder, part, bits)
        remove(folder, removed)
        index = BucketIndex(folder / "index", way=way if bits <= 20 or way != "table" else None)
        assert len(index) == len(set(range(starts[-1])) - removed)
        linear = oracle(index, parts, removed)
        for one in options:
            found = index.search(queries.codes, queries.features, one)
            expected = linear.search(queries.codes, queries.features, one)
            everything = SearchOptions(top=1000, metric=one.metric, exact=True)
            all_hits = linear.search(queries.codes, queries.features, everything)
            for triple in zip(found, expected, all_hits, strict=True):
                require_same(*triple, one_segment=len(parts) == 1)
            [single] = index.search(queries.codes[:1], queries.features[:1], one)
            assert single.ids.tolist() == found[0].ids.tolist()
            assert single.distances.tolist() == found[0].distances.tolist()


def test_oracle_against_a_plain_loop() -> None:
    rows = clustered(40, 20, 3)
    index = LinearIndex(20, rows.codes, rows.features)
    query_code, query = rows.codes[7], rows.features[7].astype(np.float64)
    [hits] = index.search(rows.codes[7:8], rows.features[7:8], SearchOptions(top=9, radius=6))
    near = [
        row for row in range(40)
        if sum(bin(a ^ b).count("1") for a, b in zip(query_code, rows.codes[row], strict=True)) <= 6
    ]  # fmt: skip
    ranked = sorted(near, key=lambda row: (float(((query - rows.features[row]) ** 2).sum()), row))
    assert hits.ids.tolist() == ranked[:9]
    assert hits.candidates == len(near)


def test_top_5_is_a_prefix_of_top_15_for_any_layout(tmp_path: Path) -> None:
    rows, more = clustered(200, 8, 0), clustered(60, 8, 1, 200)
    index = build(tmp_path, rows, 8)
    before = index.search(rows.codes[:20], rows.features[:20], SearchOptions(top=15, exact=True))
    add(tmp_path, more, 8)
    assert index.refresh()
    split = index.search(rows.codes[:20], rows.features[:20], SearchOptions(top=15, exact=True))
    with IndexWriter(tmp_path / "index") as writer:
        writer.compact()
    assert index.refresh()
    for top in (1, 5, 15):
        options = SearchOptions(top=top, exact=True)
        merged = index.search(rows.codes[:20], rows.features[:20], options)
        for few, many in zip(merged, split, strict=True):
            assert few.ids.tolist() == many.ids[:top].tolist()
    assert any((one.ids != other.ids).any() for one, other in zip(before, split, strict=True))


def two_bit_rows() -> Rows:
    return Rows(
        list("abcd"), np.zeros(4, np.int32), np.zeros((4, DIM), np.float16),
        pack([[0, 0], [0, 1], [1, 0], [1, 1]]), np.zeros((4, 32), np.uint8),
    )  # fmt: skip


def test_ring_is_taken_whole(tmp_path: Path) -> None:
    rows = two_bit_rows()
    [hits] = build(tmp_path, rows, 2).search(
        rows.codes[:1], rows.features[:1], SearchOptions(candidates=2)
    )
    assert (hits.radius, hits.buckets, hits.candidates, hits.exact) == (1, 3, 3, False)


def test_an_answer_is_exact_if_all_were_compared(tmp_path: Path) -> None:
    rows = two_bit_rows()
    index = build(tmp_path, rows, 2)
    for options, exact in [
        (SearchOptions(radius=1), False),
        (SearchOptions(radius=1, exact=True), True),
        (SearchOptions(candidates=4), True),
        (SearchOptions(radius=0, filter=Filter(names=["a"])), True),
        (SearchOptions(radius=0, filter=Filter(names=["b"])), False),
    ]:
        [hits] = index.search(rows.codes[:1], rows.features[:1], options)
        assert hits.exact is exact, options


def test_nothing_within_the_radius(tmp_path: Path) -> None:
    rows = clustered(10, 8, 0)
    far = ~rows.codes[:1]
    [hits] = build(tmp_path, rows, 8).search(far, rows.features[:1], SearchOptions(radius=0))
    assert (hits.ids.tolist(), hits.radius, hits.candidates) == ([], -1, 0)
    assert not hits.exact


def test_collapsed_codes_are_capped_by_id_and_counted(tmp_path: Path) -> None:
    rows = clustered(50, 8, 0)
    rows.codes[:] = rows.codes[0]
    index = build(tmp_path, rows, 8)
    options = SearchOptions(top=50, candidates=5, max_candidates=20)
    [hits] = index.search(rows.codes[:1], rows.features[:1], options)
    assert sorted(hits.ids.tolist()) == list(range(20))
    assert (hits.candidates, hits.left_out, hits.exact) == (20, 30, False)
    wider = SearchOptions(top=50, candidates=30, max_candidates=20)
    [hits] = index.search(rows.codes[:1], rows.features[:1], wider)
    assert (hits.candidates, hits.left_out) == (30, 20)


def test_names_labels_and_paths_by_id(tmp_path: Path) -> None:
    rows, more = clustered(30, 8, 0), clustered(10, 8, 1, 30)
    build(tmp_path, rows, 8)
    add(tmp_path, more, 8)
    index = BucketIndex(tmp_path / "index")
    ids = np.array([29, 3, 35, 3], np.int64)
    assert index.names(ids) == ["é/29.png", "é/3.png", "é/35.png", "é/3.png"]
    expected = [[*CLASSES, ""][label] for label in (*rows.labels[[29, 3]], more.labels[5])]
    assert index.labels(ids) == [*expected, expected[1]]
    assert index.paths(ids[:1]) == [None]
    for wrong in (-1, 40):
        with pytest.raises(DataError, match=f"id {wrong}"):
            index.names(np.array([3, wrong]))


@pytest.mark.parametrize("storage", ["float32", "float16", "int8"])
def test_images_of_the_index_as_queries(tmp_path: Path, storage: str) -> None:
    rows, more = clustered(30, 48, 0), clustered(10, 48, 1, 30)
    build(tmp_path, rows, 48, storage)
    add(tmp_path, more, 48)
    remove(tmp_path, [4])
    index = BucketIndex(tmp_path / "index")
    number = index.find_name("d/36.png")
    assert number == 36
    codes, features = index.stored(np.array([7, number]))
    assert (codes == [rows.codes[7], more.codes[6]]).all()
    given = [rows.features[7], more.features[6]]
    np.testing.assert_allclose(features, given, atol=0 if storage != "int8" else 0.02)
    hits = index.search_ids(np.array([7, number]), SearchOptions(top=40, exact=True))
    for asked, answer in zip((7, number), hits, strict=True):
        assert answer.distances[0] == 0
        assert asked in answer.ids[answer.distances == 0]
        assert answer.hamming[answer.ids == asked].tolist() == [0]
        assert 4 not in answer.ids
    assert index.find_name("d/4.png") is None
    assert index.find_name("nobody") is None
    for wrong in (4, 999):
        with pytest.raises(DataError, match=f"no image with id {wrong}"):
            index.search_ids(np.array([wrong]), SearchOptions())


def test_a_reader_keeps_its_generation_until_it_refreshes(tmp_path: Path) -> None:
    rows = clustered(30, 8, 0)
    index = build(tmp_path, rows, 8)
    options = SearchOptions(top=100, exact=True)

    def found() -> list[int]:
        [hits] = index.search(rows.codes[:1], rows.features[:1], options)
        return sorted(hits.ids.tolist())

    assert not index.refresh()
    add(tmp_path, clustered(10, 8, 1, 30), 8)
    remove(tmp_path, [0, 35])
    with IndexWriter(tmp_path / "index") as writer:
        writer.compact()
    assert (len(index), found()) == (30, list(range(30)))
    assert index.names(np.array([0])) == ["d/0.png"]
    assert index.refresh()
    assert (len(index), found()) == (38, sorted(set(range(40)) - {0, 35}))


def test_an_index_of_nothing_answers_nothing(tmp_path: Path) -> None:
    rows = clustered(5, 8, 0)
    index = build(tmp_path, rows, 8)
    remove(tmp_path, range(5))
    with IndexWriter(tmp_path / "index") as writer:
        for _ in range(2):
            index.refresh()
            [hits] = index.search(rows.codes[:1], rows.features[:1], SearchOptions())
            assert (hits.ids.tolist(), hits.radius, len(index)) == ([], -1, 0)
            writer.compact()


def test_many_threads_get_the_same_answers(tmp_path: Path) -> None:
    rows = clustered(300, 20, 0)
    index = build(tmp_path, rows, 20)
    options = [SearchOptions(top=20, filter=wanted) for wanted in (None, Filter(labels=["a"]))]
    expected = [index.search(rows.codes[:40], rows.features[:40], one) for one in options]
    wrong: list[object] = []

    def work(seed: int) -> None:
        for number in np.random.default_rng(seed).integers(0, 40, 30).tolist():
            query = slice(number, number + 1)
            for one, right in zip(options, expected, strict=True):
                [hits] = index.search(rows.codes[query], rows.features[query], one)
                if hits.ids.tolist() != right[number].ids.tolist():
                    wrong.append(number)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_locked_in_memory_it_answers_the_same(tmp_path: Path) -> None:
    rows = clustered(30, 8, 0)
    index = build(tmp_path, rows, 8)
    with BucketIndex(index.folder, ram=4096) as locked:
        for one, other in zip(
            index.search(rows.codes, rows.features, SearchOptions()),
            locked.search(rows.codes, rows.features, SearchOptions()),
            strict=True,
        ):
            assert one.ids.tolist() == other.ids.tolist()


def test_every_answer_has_the_time_of_each_phase(tmp_path: Path) -> None:
    rows = clustered(30, 8, 0)
    for hits in build(tmp_path, rows, 8).search(rows.codes, rows.features, SearchOptions()):
        assert list(hits.timings_ms) == ["coarse", "fine", "rank"]
        assert all(value >= 0 for value in hits.timings_ms.values())
        assert hits.ways == ("scan",)


def test_queries_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    rows = clustered(10, 12, 0)
    index = build(tmp_path, rows, 12)
    wide, stray, bad = clustered(10, 24, 0), rows.codes | 1, rows.features.copy()
    bad[3, 2] = np.nan
    for codes, features, error, words in [
        (wide.codes, rows.features, MismatchError, "codes of 2 bytes"),
        (rows.codes, rows.features[:, 1:], MismatchError, "has 2 and 4"),
        (stray, rows.features, MismatchError, "more than 12 bits"),
        (rows.codes, bad, DataError, "not finite"),
    ]:
        with pytest.raises(error, match=words):
            index.search(codes, features, SearchOptions())
    with pytest.raises(DataError, match="no class 'c'"):
        index.search(rows.codes, rows.features, SearchOptions(filter=Filter(labels=["c"])))


@pytest.mark.parametrize(
    "wrong",
    [{"metric": "l3"}, {"top": 0}, {"candidates": 0}, {"radius": -1}, {"max_distance": -0.5},
     {"max_distance": float("nan")}, {"max_candidates": 0}],
)  # fmt: skip
def test_senseless_options_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(DataError, match=next(iter(wrong))):
        SearchOptions(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name",
    ["segments/000001/buckets.npy", "segments/000001/features.npy", "segments/000001/names.bin",
     "model/000001/deploy.prototxt"],
)  # fmt: skip
def test_damage_is_named(tmp_path: Path, name: str) -> None:
    index = build(tmp_path, clustered(20, 8, 0), 8)
    index.verify()
    path = index.folder / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(StorageError, match=name):
        BucketIndex(index.folder).verify()
    path.write_bytes(whole[:-1])
    with pytest.raises(StorageError, match=name):
        BucketIndex(index.folder)
    path.unlink()
    with pytest.raises(StorageError, match=f"{name}: missing"):
        BucketIndex(index.folder)


def test_folders_that_hold_no_index_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        BucketIndex(tmp_path / "nowhere")
    manifest = build(tmp_path, clustered(5, 8, 0), 8).folder / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": 99}))
    with pytest.raises(LatentHashError, match="format 99"):
        BucketIndex(tmp_path / "index")
