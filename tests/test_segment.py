"""A segment holds what was given, in bucket order, and finds it again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latenthash.errors import StorageError
from latenthash.hamming import pack
from latenthash.index.bucket import segment_writer
from latenthash.index.bucket.arrays import header, open_array, write_array
from latenthash.index.bucket.segment import Segment
from latenthash.index.bucket.segment_writer import Block, Items, group, write_segment
from numbered import MEMORY

DIM = 3


def make_items(count: int, bits: int, seed: int) -> tuple[Items, np.ndarray]:
    rng = np.random.default_rng(seed)
    centres = rng.random((max(1, count // 4), bits)) < 0.5
    features = rng.random((count, DIM)).astype(np.float16)
    order = rng.permutation(count)  # sources need not come by position

    def blocks(rows: int) -> Iterator[Callable[[], Block]]:
        for start in range(0, count, 7):
            part = order[start : start + 7]
            yield lambda part=part: (part, features[part])

    content = rng.integers(0, 3, (count, 32), dtype=np.uint8) * (rng.random((count, 1)) < 0.8)
    content[rng.integers(0, count, count // 3)] = content[0]
    names = [f"{rng.integers(0, 10**9)}é{number}".encode() for number in range(count)]
    items = Items(
        ids=np.cumsum(rng.integers(1, 5, count)),
        codes=pack(centres[rng.integers(0, len(centres), count)]),
        labels=rng.integers(-1, 2, count, dtype=np.int32),
        content=content.astype(np.uint8),
        names=names,
        features=blocks,
    )
    return items, features


def write(folder: Path, items: Items, bits: int, removed: np.ndarray) -> Segment:
    entry = write_segment(folder / "segments/000001", items, bits, DIM, "float16")
    facts = {"bits": bits, "dim": DIM, "storage": "float16", "classes": ["a", "b"]}
    return Segment(folder / "segments/000001", entry, facts, removed)


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 60),
    bits=st.sampled_from([1, 7, 8, 20, 63, 64, 65, 128, 1024]),
    seed=st.integers(0, 2**32),
    data=st.data(),
)
def test_a_segment_is_what_was_given(count: int, bits: int, seed: int, data: st.DataObject) -> None:
    items, features = make_items(count, bits, seed)
    gone = data.draw(st.sets(st.integers(0, count - 1)))
    removed = np.array(sorted({int(items.ids[at]) for at in gone} | {10**9}), np.int64)
    with TemporaryDirectory(dir=MEMORY) as place:
        found = write(Path(place), items, bits, removed)
        assert np.array_equal(found.features[found.rows], features)
        assert np.array_equal(found.codes(np.arange(count)), items.codes)
        for name in ("ids", "labels", "content"):
            assert np.array_equal(getattr(found, name), getattr(items, name))
        keys = [bytes(bucket) for bucket in found.buckets.view(np.uint8)]
        assert keys == sorted(set(keys))
        for bucket, size in enumerate(found.sizes):
            positions = found.positions[found.offsets[bucket] : found.offsets[bucket + 1]].tolist()
            assert positions == sorted(positions)
            assert size == len(set(positions) - gone)
            assert {items.codes[at].tobytes() for at in positions} == {
                keys[bucket][: items.codes.shape[1]]
            }
        alive = [at for at in range(count) if at not in gone]
        assert found.live_positions.tolist() == alive
        assert found.live_images == len(alive)
        assert (found.live is None) == (not gone)
        check_finding(found, items, gone)


def check_finding(found: Segment, items: Items, gone: set[int]) -> None:
    for at, name in enumerate(items.names):
        expected = None if at in gone else at
        assert found.find_id(int(items.ids[at])) == expected
        assert found.find_name(name.decode()) == expected
        same = [
            other for other in range(len(items.names))
            if other not in gone and items.content[at].any()
            and (items.content[other] == items.content[at]).all()
        ]  # fmt: skip
        assert found.find_content(items.content[at].tobytes()) == (same[0] if same else None)
    live = [name for at, name in enumerate(items.names) if at not in gone]
    assert sorted(found.taken_names(items.names)) == sorted(live)
    assert found.find_name("nobody") is None
    assert found.find_id(-1) is None and found.find_id(10**9) is None
    asked = np.array([10**9, *items.ids[::-1], -1, *items.ids[:1]])
    here, positions = found.find_ids(asked)
    wanted = [(place, found.find_id(int(number))) for place, number in enumerate(asked)]
    pairs = zip(here.tolist(), positions.tolist(), strict=True)
    assert list(pairs) == [pair for pair in wanted if pair[1] is not None]
    assert found.find_content(b"\xff" * 32) is None


def test_many_blocks_give_the_bytes_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items, _ = make_items(50, 20, 0)
    for part, views in (("a", 512), ("b", 2)):
        monkeypatch.setattr(segment_writer, "_VIEWS", views)
        write(tmp_path / part, items, 20, np.empty(0, np.int64))
    one, other = (tmp_path / part / "segments/000001" for part in "ab")
    for path in one.iterdir():
        assert path.read_bytes() == (other / path.name).read_bytes()


def test_group_by_hand() -> None:
    codes = pack([[1, 0], [0, 1], [1, 0], [0, 0]])
    buckets, offsets, order = group(codes)
    assert buckets.view(np.uint8)[:, 0].tolist() == [0, 0b01000000, 0b10000000]
    assert (offsets.tolist(), order.tolist()) == ([0, 1, 2, 4], [3, 1, 0, 2])


@pytest.mark.parametrize("shape", [(7,), (1,), (3, 5), (2, 4096)])
@pytest.mark.parametrize("dtype", ["<f2", "|i1", "<u8", "<i4", "|u1"])
def test_arrays_are_plain_npy_files(tmp_path: Path, shape: tuple[int, ...], dtype: str) -> None:
    array = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    write_array(tmp_path / "a.npy", array)
    loaded = np.load(tmp_path / "a.npy")
    assert loaded.dtype == array.dtype and np.array_equal(loaded, array)
    opened = open_array(tmp_path / "a.npy", dtype, shape)
    assert np.array_equal(opened, array) and not opened.flags.writeable
    assert len(header(dtype, shape)) % 64 == 0


def test_rows_of_features_begin_at_a_page() -> None:
    assert len(header("<f2", (10, 4096))) == 4096


def test_another_shape_or_type_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    write_array(path, np.arange(8, dtype="<i4"))
    for dtype, shape in (("<f4", (8,)), ("<i4", (4, 2)), ("<i8", (4,)), ("<i4", (2**60,))):
        with pytest.raises(StorageError, match=r"a\.npy"):
            open_array(path, dtype, shape)
