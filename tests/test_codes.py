from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from latenthash.codes import CodeSet, CodeWriter, Rows, file_size, merge
from latenthash.errors import DataError
from latenthash.hamming import pack


def some_rows(count: int, bits: int = 12, dim: int = 6, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    return Rows(
        names=[f"å/{seed}-{number}\udcff.png" for number in range(count)],  # \xff: no UTF-8
        labels=rng.integers(0, 3, count, dtype=np.int32),
        features=rng.random((count, dim)).astype(np.float16),
        codes=pack(rng.random((count, bits)) < 0.5),
        content=rng.integers(0, 256, (count, 32), dtype=np.uint8),
    )


def write(path: Path, *blocks: Rows, bits: int = 12, dim: int = 6) -> Path:
    with CodeWriter(path, bits, dim, 100) as writer:
        for rows in blocks:
            writer.append(rows)
        writer.finish({"stage": "extract", "format": 1, "bits": bits})
    return path


def assert_same(found: Rows, expected: Rows) -> None:
    assert found.names == expected.names
    for column in ("labels", "features", "codes", "content"):
        left, right = getattr(found, column), getattr(expected, column)
        assert left.dtype == right.dtype
        assert (left == right).all()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    first, second = some_rows(5), some_rows(3, seed=1)
    with CodeSet(write(tmp_path / "codes.h5", first, second)) as codes:
        assert (len(codes), codes.bits, codes.dim) == (8, 12, 6)
        assert_same(codes.rows(0, 5), first)
        assert_same(codes.rows(5, 8), second)
        assert codes.names == first.names + second.names
        assert (codes.features(4, 6) == np.vstack([first.features[4:], second.features[:1]])).all()
        assert [len(block) for block in codes.blocks(3)] == [3, 3, 2]


def test_two_runs_write_the_same_bytes(tmp_path: Path) -> None:
    one, two = (write(tmp_path / name, some_rows(50)) for name in ("a.h5", "b.h5"))
    assert one.read_bytes() == two.read_bytes()


def test_merge_keeps_the_order(tmp_path: Path) -> None:
    parts = [write(tmp_path / f"{seed}.h5", some_rows(4, seed=seed)) for seed in (2, 0, 1)]
    merge(parts, tmp_path / "all.h5", {"stage": "extract", "format": 1, "bits": 12})
    with CodeSet(tmp_path / "all.h5") as codes:
        for position, seed in enumerate((2, 0, 1)):
            assert_same(codes.rows(4 * position, 4 * position + 4), some_rows(4, seed=seed))


def test_a_failed_write_leaves_nothing_new(tmp_path: Path) -> None:
    path = write(tmp_path / "codes.h5", some_rows(2))
    before = path.read_bytes()
    with pytest.raises(RuntimeError), CodeWriter(path, 12, 6, 10) as writer:
        writer.append(some_rows(3))
        raise RuntimeError
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["codes.h5"]


@pytest.mark.parametrize("damage", ["missing", "truncated", "text", "other", "newer"])
def test_files_that_cannot_be_read_are_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "codes.h5"
    write(path, some_rows(40))
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "text":
        path.write_text("no HDF5")
    else:
        with h5py.File(path, "a") as file:
            if damage == "other":
                del file["codes"]
            else:
                file.attrs["manifest"] = '{"format": 99, "bits": 12}'
    with pytest.raises(DataError, match=r"codes\.h5"):
        CodeSet(path)


def test_reserved_room_that_was_not_needed_is_given_back(tmp_path: Path) -> None:
    with CodeWriter(tmp_path / "codes.h5", 12, 6, rows=1_000_000) as writer:
        writer.append(some_rows(3))
        writer.finish({"stage": "extract", "format": 1, "bits": 12})
    assert (tmp_path / "codes.h5").stat().st_size < 2_000_000
    with CodeSet(tmp_path / "codes.h5") as codes:
        assert_same(codes.rows(0, 3), some_rows(3))


@pytest.mark.parametrize(("rows", "bits", "dim"), [(1, 1, 1), (5000, 48, 500), (3000, 1024, 4096)])
def test_file_size_is_never_too_little(tmp_path: Path, rows: int, bits: int, dim: int) -> None:
    path = tmp_path / "codes.h5"
    with CodeWriter(path, bits, dim, rows) as writer:
        writer.append(some_rows(rows, bits, dim))
        writer.finish({"stage": "extract", "format": 1, "bits": bits})
    assert path.stat().st_size < file_size(rows, bits, dim)
