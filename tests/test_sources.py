from __future__ import annotations

import gzip
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bad_images import BROKEN_NAME, jpeg, photo
from latenthash.errors import DataError
from latenthash.sources import Source, open_source

DATA = jpeg(photo())


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(DATA)
    return folder


def named(source: Source) -> list[tuple[str, int]]:
    return [(sample.name, sample.label) for sample in source.samples]


def test_class_folders_are_numbered_in_the_order_of_their_names(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.jpg", "b/1.png", "a/deep/er/x.JPEG", "Z/z.gif", "a/note.txt", ".git/h.jpg")
    source = open_source(tmp_path)
    assert source.labels == ["Z", "a", "b"]
    assert named(source) == [
        ("Z/z.gif", 0),
        ("a/deep/er/x.JPEG", 1),
        ("b/1.png", 2),
        ("b/2.jpg", 2),
    ]
    assert all(sample.path == str(tmp_path / sample.name) for sample in source.samples)
    assert not source.has_split
    assert source.skipped == []


def test_an_empty_class_keeps_its_number_and_is_reported(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "c/1.jpg", "b/readme.txt", "stray.jpg")
    source = open_source(tmp_path)
    assert source.labels == ["a", "b", "c"]
    assert named(source) == [("a/1.jpg", 0), ("c/1.jpg", 2)]
    assert source.skipped == [
        ("b/", "class folder with no images"),
        ("stray.jpg", "not in a class folder"),
    ]


def test_names_that_break_lists_are_skipped_and_odd_ones_kept(tmp_path: Path) -> None:
    touch(tmp_path, "a/one\ntwo.jpg", f"a/{BROKEN_NAME}", "a/ф ф.jpg")
    source = open_source(tmp_path)
    assert source.skipped == [("a/one\ntwo.jpg", "a line break in its name")]
    assert {name for name, _ in named(source)} == {f"a/{BROKEN_NAME}", "a/ф ф.jpg"}


@pytest.mark.parametrize("part", ["test", "val"])
def test_train_and_test_folders_are_the_sets_own_split(part: str, tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/1.jpg", "train/dog/1.jpg", f"{part}/dog/1.jpg")
    source = open_source(tmp_path)
    assert source.labels == ["cat", "dog"]
    assert source.has_split
    assert sorted((s.name, s.label, s.split) for s in source.samples) == sorted(
        [
            ("train/cat/1.jpg", 0, "train"),
            ("train/dog/1.jpg", 1, "train"),
            (f"{part}/dog/1.jpg", 1, "val"),
        ]
    )


def test_classes_named_train_and_test_are_classes(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.jpg", "test/1.jpg", "tram/1.jpg")
    assert open_source(tmp_path).labels == ["test", "train", "tram"]


def test_caltech_leaves_the_background_out(tmp_path: Path) -> None:
    classes = ("BACKGROUND_Google", "accordion", "airplanes")
    touch(tmp_path / "101_ObjectCategories", *(f"{name}/image_0001.jpg" for name in classes))
    for path in (tmp_path, tmp_path / "101_ObjectCategories"):
        source = open_source(path)
        assert (source.kind, source.labels) == ("Caltech-101", ["accordion", "airplanes"])
        assert len(source.samples) == 2
        assert open_source(path, background=True).labels == list(classes)


def test_list_files_take_spaces_tabs_and_windows_lines(tmp_path: Path) -> None:
    touch(tmp_path / "img", "a b.jpg", "c.jpg", "d.jpg")
    text = "\ufeffa b.jpg 3\r\n\r\nc.jpg\t0\r\nd.jpg 1"
    (tmp_path / "list.txt").write_text(text, encoding="utf-8", newline="")
    source = open_source(tmp_path / "list.txt", root=tmp_path / "img")
    assert named(source) == [("a b.jpg", 3), ("c.jpg", 0), ("d.jpg", 1)]
    assert source.labels == ["0", "1", "2", "3"]
    assert all(sample.path and Path(sample.path).exists() for sample in source.samples)


def test_list_files_are_relative_to_their_own_folder_and_know_class_names(tmp_path: Path) -> None:
    touch(tmp_path, "x.jpg")
    (tmp_path / "list.txt").write_text("x.jpg 1\n")
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    source = open_source(tmp_path / "list.txt")
    assert source.samples[0].path == str(tmp_path / "x.jpg")
    assert source.labels == ["cat", "dog"]


def test_a_name_listed_twice_is_skipped_the_second_time(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("x.jpg 1\ny.jpg 0\nx.jpg 0\n")
    source = open_source(tmp_path / "list.txt")
    assert named(source) == [("x.jpg", 1), ("y.jpg", 0)]
    assert source.skipped == [("x.jpg", "line 3 names it again, after line 1")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x.jpg 1\ny.jpg\n", r"list.txt:2: 'y.jpg' has no label"),
        ("x.jpg 1\ny.jpg -1\n", r"list.txt:2"),
        ("x.jpg 99999999\n", "label 99999999"),
        ("just text\n", "holds no image set"),
        ("", "holds no image set"),
    ],
)
def test_a_malformed_list_names_its_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(DataError, match=message) as refused:
        open_source(tmp_path / "list.txt")
    assert refused.value.remedy


def idx(array: NDArray[np.uint8]) -> bytes:
    magic = 2048 + array.ndim
    return struct.pack(f">{1 + array.ndim}i", magic, *array.shape) + array.tobytes()


def mnist(folder: Path, packed: bool) -> dict[str, NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    arrays = {}
    folder.mkdir(exist_ok=True)
    for part, count in (("train", 12), ("t10k", 5)):
        pixels = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        for name, array in ((f"{part}-images-idx3", pixels), (f"{part}-labels-idx1", labels)):
            data = gzip.compress(idx(array)) if packed else idx(array)
            (folder / f"{name}-ubyte{'.gz' if packed else ''}").write_bytes(data)
        arrays[part] = pixels
    return arrays


@pytest.mark.parametrize("packed", [False, True])
def test_mnist_idx(packed: bool, tmp_path: Path) -> None:
    arrays = mnist(tmp_path, packed)
    source = open_source(tmp_path)
    assert source.labels == [str(digit) for digit in range(10)]
    assert source.has_split
    assert len({sample.name for sample in source.samples}) == 17
    train = [sample for sample in source.samples if sample.split == "train"]
    assert [sample.label for sample in train] == [row % 10 for row in range(12)]
    for sample, pixels in zip(train, arrays["train"], strict=True):
        assert np.array_equal(sample.pixels, pixels[:, :, None])


@pytest.mark.parametrize("damage", ["cut", "magic", "count", "gzip", "empty"])
def test_damaged_idx_files_are_named(damage: str, tmp_path: Path) -> None:
    mnist(tmp_path, damage == "gzip")
    name = "train-images-idx3-ubyte"
    path = tmp_path / (f"{name}.gz" if damage == "gzip" else name)
    data = path.read_bytes()
    changed = {
        "cut": data[:-1],
        "magic": b"\0\0\0\0" + data[4:],
        "count": idx(np.zeros((3, 28, 28), np.uint8)),
        "gzip": data[:50],
        "empty": b"",
    }
    path.write_bytes(changed[damage])
    with pytest.raises(DataError, match=name):
        open_source(tmp_path)


def cifar(folder: Path, binary: bool) -> NDArray[np.uint8]:
    """Batches of 3 images each; returns all pixels as (18, 3, 32, 32) RGB planes."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    rows = rng.integers(0, 256, (18, 3072), dtype=np.uint8)
    names = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
    for place, name in enumerate(names):
        data, labels = rows[3 * place : 3 * place + 3], [0, 9, place]
        if binary:
            table = np.column_stack([np.array(labels, dtype=np.uint8), data])
            (folder / f"{name}.bin").write_bytes(table.tobytes())
        else:
            batch = {b"data": data, b"labels": labels}
            (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    words = [f"class {number}" for number in range(10)]
    if binary:
        (folder / "batches.meta.txt").write_text("\n".join(words) + "\n\n")
    else:
        meta = {b"label_names": [word.encode() for word in words]}
        (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=2))
    return rows.reshape(-1, 3, 32, 32)


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("above", [False, True])
def test_cifar_batches(binary: bool, above: bool, tmp_path: Path) -> None:
    folder = tmp_path / f"cifar-10-batches-{'bin' if binary else 'py'}"
    planes = cifar(folder, binary)
    source = open_source(tmp_path if above else folder)
    assert source.labels == [f"class {number}" for number in range(10)]
    assert [sample.split for sample in source.samples] == ["train"] * 15 + ["val"] * 3
    assert [sample.label for sample in source.samples[:6]] == [0, 9, 0, 0, 9, 1]
    for sample, plane in zip(source.samples, planes, strict=True):
        assert sample.pixels is not None
        for c, bgr in enumerate((2, 1, 0)):
            assert np.array_equal(sample.pixels[:, :, c], plane[bgr])


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("pwned",)


def test_a_pickle_that_runs_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cifar(tmp_path / "c", binary=False)
    monkeypatch.chdir(tmp_path)
    for protocol in (0, 2, 5):
        (tmp_path / "c" / "data_batch_3").write_bytes(pickle.dumps(Evil(), protocol))
        with pytest.raises(DataError, match=r"data_batch_3.*refuses"):
            open_source(tmp_path / "c")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("data", [b"", b"text", pickle.dumps([1]), pickle.dumps({b"data": 3})])
def test_damaged_batches_are_named(data: bytes, tmp_path: Path) -> None:
    cifar(tmp_path / "c", binary=False)
    (tmp_path / "c" / "data_batch_2").write_bytes(data)
    with pytest.raises(DataError, match="data_batch_2"):
        open_source(tmp_path / "c")


def test_a_binary_batch_cut_short_is_named(tmp_path: Path) -> None:
    cifar(tmp_path / "c", binary=True)
    os.truncate(tmp_path / "c" / "test_batch.bin", 5000)
    with pytest.raises(DataError, match="test_batch"):
        open_source(tmp_path / "c")


@pytest.mark.parametrize("name", ["digits.csv", "digits.csv.gz"])
def test_csv_of_pixels_and_label(name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = rng.integers(0, 256, (6, 17), dtype=np.uint8)
    table[:, 16] = [0, 1, 2, 3, 1, 0]
    text = "\n".join(",".join(map(str, row)) for row in table).encode()
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    source = open_source(tmp_path / name)
    assert source.labels == ["0", "1", "2", "3"]
    assert [sample.label for sample in source.samples] == [0, 1, 2, 3, 1, 0]
    for sample, row in zip(source.samples, table, strict=True):
        assert np.array_equal(sample.pixels, row[:16].reshape(4, 4, 1))


@pytest.mark.parametrize("row", ["1,2,3", "1,2,3,4,300", "1,2,x,4,5"])
def test_a_malformed_csv_is_named(row: str, tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text(f"1,2,3,4,0\n{row}\n")
    with pytest.raises(DataError, match=r"d\.csv"):
        open_source(tmp_path / "d.csv")


def test_what_holds_no_set_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    touch(tmp_path / "flat", "1.jpg", "2.jpg")
    (tmp_path / "hollow" / "a").mkdir(parents=True)
    (tmp_path / "photo.jpg").write_bytes(DATA)
    for name in ("empty", "flat", "hollow", "photo.jpg", "missing"):
        with pytest.raises(DataError, match="class folders with images, a list file") as refused:
            open_source(tmp_path / name)
        assert str(tmp_path / name) in refused.value.problem


@pytest.mark.parametrize("place", [".", "..", "photos", "../set/photos"])
def test_names_are_relative_to_the_source_however_it_is_given(tmp_path, monkeypatch, place):
    for folder in ("cat", "dog"):
        path = tmp_path / "set/photos" / folder / "deep" / "1.jpg"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
    where = {".": "set/photos", "..": "set/photos/cat"}.get(place, "set")
    monkeypatch.chdir(tmp_path / where)
    source = open_source(Path(place))
    assert [sample.name for sample in source.samples] == ["cat/deep/1.jpg", "dog/deep/1.jpg"]
    assert all(Path(sample.path or "").samefile(tmp_path / "set/photos" / sample.name)
               for sample in source.samples)  # fmt: skip
