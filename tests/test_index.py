"""One suite over the oracle and the bucket index."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latenthash.codes import CodeSet, CodeWriter, Rows
from latenthash.distances import METRICS
from latenthash.errors import DataError, LatentHashError, MismatchError, StorageError
from latenthash.hamming import pack
from latenthash.index import BucketIndex, LinearIndex, SearchOptions, build_index

DIM = 5


def code_file(folder: Path, rows: Rows, bits: int) -> Path:
    deploy = folder / "deploy.prototxt"
    deploy.write_text("name: 'net'")
    model = {"deploy": str(deploy), "preprocess": {"mean": None}}
    with CodeWriter(folder / "codes.h5", bits, DIM, len(rows)) as writer:
        writer.append(rows)
        writer.finish(
            {"stage": "extract", "format": 1, "bits": bits, "model": model, "classes": ["a", "b"]}
        )
    return folder / "codes.h5"


def clustered(count: int, bits: int, seed: int) -> Rows:
    """Few distinct codes, features with ties: what breaks sloppy ordering."""
    rng = np.random.default_rng(seed)
    centres = rng.random((max(1, count // 6), bits)) < 0.5
    codes = centres[rng.integers(0, len(centres), count)] ^ (rng.random((count, bits)) < 0.02)
    return Rows(
        names=[f"{number}.png" for number in range(count)],
        labels=rng.integers(-1, 2, count, dtype=np.int32),
        features=rng.integers(0, 3, (count, DIM)).astype(np.float16),
        codes=pack(codes),
        content=np.zeros((count, 32), np.uint8),
    )


def build(folder: Path, rows: Rows, bits: int) -> BucketIndex:
    with CodeSet(code_file(folder, rows, bits)) as codes:
        return BucketIndex(build_index(codes, folder / "index"))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    count=st.integers(1, 80),
    bits=st.sampled_from([1, 7, 8, 20, 48, 64, 65, 128, 1024]),
    seed=st.integers(0, 2**32),
    top=st.integers(1, 90),
    metric=st.sampled_from(sorted(METRICS)),
    radius=st.none() | st.integers(0, 40),
    candidates=st.none() | st.integers(1, 90),
    max_distance=st.none() | st.floats(0, 6),
)
def test_bucket_index_answers_as_the_oracle(
    tmp_path: Path, count: int, bits: int, seed: int, top: int, metric: str,
    radius: int | None, candidates: int | None, max_distance: float | None,
) -> None:  # fmt: skip
    rows, queries = clustered(count, bits, seed), clustered(3, bits, seed + 1)
    options = SearchOptions(top, metric, radius, candidates, max_distance)
    found = build(tmp_path, rows, bits).search(queries.codes, queries.features, options)
    expected = LinearIndex(bits, rows.codes, rows.features).search(
        queries.codes, queries.features, options
    )
    for one, other in zip(found, expected, strict=True):
        assert one.ids.tolist() == other.ids.tolist()
        assert one.hamming.tolist() == other.hamming.tolist()
        assert one.distances.tolist() == other.distances.tolist()
        facts = (one.radius, one.buckets, one.candidates)
        assert facts == (other.radius, other.buckets, other.candidates)


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


def test_top_5_is_a_prefix_of_top_15(tmp_path: Path) -> None:
    rows = clustered(200, 8, 0)
    index = build(tmp_path, rows, 8)
    short, long = (
        index.search(rows.codes[:20], rows.features[:20], SearchOptions(top=top)) for top in (5, 15)
    )
    for few, many in zip(short, long, strict=True):
        assert few.ids.tolist() == many.ids[:5].tolist()


def test_ring_is_taken_whole(tmp_path: Path) -> None:
    codes = pack([[0, 0], [0, 1], [1, 0], [1, 1]])
    rows = Rows(list("abcd"), np.zeros(4, np.int32), np.zeros((4, DIM), np.float16), codes,
                np.zeros((4, 32), np.uint8))  # fmt: skip
    [hits] = build(tmp_path, rows, 2).search(
        codes[:1], rows.features[:1], SearchOptions(candidates=2)
    )
    assert (hits.radius, hits.buckets, hits.candidates) == (1, 3, 3)


def test_nothing_within_the_radius(tmp_path: Path) -> None:
    rows = clustered(10, 8, 0)
    far = ~rows.codes[:1]
    [hits] = build(tmp_path, rows, 8).search(far, rows.features[:1], SearchOptions(radius=0))
    assert (hits.ids.tolist(), hits.radius, hits.candidates) == ([], -1, 0)


def test_names_and_labels_by_id(tmp_path: Path) -> None:
    rows = clustered(30, 8, 0)
    index = build(tmp_path, rows, 8)
    ids = np.array([29, 3, 3], np.int64)
    assert index.names(ids) == ["29.png", "3.png", "3.png"]
    assert index.labels(ids) == [["a", "b", ""][rows.labels[i]] for i in ids]


def test_codes_of_another_width_are_refused(tmp_path: Path) -> None:
    index = build(tmp_path, clustered(10, 8, 0), 8)
    wide = clustered(1, 16, 0)
    with pytest.raises(MismatchError, match="index"):
        index.search(wide.codes, wide.features, SearchOptions())


@pytest.mark.parametrize(
    "wrong",
    [{"metric": "l3"}, {"top": 0}, {"candidates": 0}, {"radius": -1}, {"max_distance": -0.5},
     {"max_distance": float("nan")}],
)  # fmt: skip
def test_senseless_options_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(DataError, match=next(iter(wrong))):
        SearchOptions(**wrong)  # type: ignore[arg-type]


def test_an_empty_code_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images"):
        build(tmp_path, clustered(0, 8, 0), 8)


def test_a_folder_of_something_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    (tmp_path / "index/thesis.tex").write_text("all of it")
    with pytest.raises(DataError, match="no index"):
        build(tmp_path, clustered(5, 8, 0), 8)
    assert (tmp_path / "index/thesis.tex").read_text() == "all of it"


def test_building_again_replaces_and_gives_the_same_bytes(tmp_path: Path) -> None:
    first, again = (build(tmp_path, clustered(20, 8, 0), 8).manifest for _ in range(2))
    assert again["segments"][0]["files"] == first["segments"][0]["files"]
    assert (first["generation"], again["generation"]) == (1, 2)
    assert len(build(tmp_path, clustered(25, 8, 0), 8)) == 25


@pytest.mark.parametrize(
    "name",
    [*(f"segments/000001/{n}" for n in ("buckets.npy", "features.npy", "names.bin")),
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
