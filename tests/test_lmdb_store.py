from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import lmdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bad_images import jpeg, photo
from caffe_tools import caffe_tool, list_file
from latenthash.errors import DataError, LatentHashError, StorageError
from latenthash.images import decode
from latenthash.lmdb_store import DatumReader, DatumWriter, encode_datum, make_key
from latenthash.proto.caffe_pb2 import Datum


def noise(count: int, channels: int = 3, height: int = 6, width: int = 5) -> NDArray[np.uint8]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, height, width, channels), dtype=np.uint8)


def write(path: Path, images: NDArray[np.uint8], encoding: str = "raw") -> None:
    with DatumWriter(path) as writer:
        for row, pixels in enumerate(images):
            writer.put(make_key(row, f"image {row}"), pixels, row % 7, encoding)  # type: ignore[arg-type]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("encoding", ["raw", "png"])
def test_what_is_written_is_read(channels: int, encoding: str, tmp_path: Path) -> None:
    images = noise(20, channels)
    write(tmp_path / "db", images, encoding)
    with DatumReader(tmp_path / "db") as reader:
        assert len(reader) == 20
        assert reader.shape == (channels, 6, 5)
        assert reader.labels().tolist() == [row % 7 for row in range(20)]
        for row, (key, pixels, label) in enumerate(reader):
            assert (key, label) == (f"{row:08d}_image {row}", row % 7)
            assert np.array_equal(pixels, images[row].transpose(2, 0, 1))


def test_jpeg_comes_back_nearly_and_upright(tmp_path: Path) -> None:
    pixels = decode(jpeg(photo()))
    write(tmp_path / "db", pixels[None], "jpeg")
    with DatumReader(tmp_path / "db") as reader:
        ((_, read, _),) = list(reader)
        assert np.abs(read.astype(int) - pixels.transpose(2, 0, 1)).mean() < 3
    with DatumReader(tmp_path / "db", channels=1) as reader:
        assert reader.shape == (1, 30, 40)


def test_raw_datums_are_caffes_bytes() -> None:
    """CHW, BGR, by a naive loop."""
    pixels = noise(1)[0]
    datum = Datum.FromString(encode_datum(pixels, 3))
    naive = [int(pixels[y, x, c]) for c in range(3) for y in range(6) for x in range(5)]
    assert list(datum.data) == naive
    assert (datum.channels, datum.height, datum.width) == (3, 6, 5)
    assert (datum.label, datum.encoded) == (3, False)


def test_the_same_images_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two", "other"):
        images = noise(400, 3, 64, 64)
        images[0, 0, 0, 0] += name == "other"
        write(tmp_path / name, images)
    one, two, other = (
        {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()}
        for name in ("one", "two", "other")
    )
    assert one == two
    assert set(one) == {"data.mdb", "manifest.json"}
    assert one["manifest.json"] != other["manifest.json"]


def test_the_content_hash_is_kept(tmp_path: Path) -> None:
    with DatumWriter(tmp_path / "db") as writer:
        writer.put("a", noise(1)[0], 0)
    with DatumReader(tmp_path / "db") as reader:
        assert reader.content_hash == writer.content_hash
        (tmp_path / "db" / "manifest.json").unlink()
        assert reader.content_hash is None


def test_the_map_grows_on_demand(tmp_path: Path) -> None:
    """More than its first 64 MiB, in batches and in one value."""
    images = noise(30, 3, 1000, 1000)
    write(tmp_path / "db", images)
    with DatumWriter(tmp_path / "big") as writer:
        writer.put("a", np.ones((5000, 5000, 3), np.uint8), 0)
    with DatumReader(tmp_path / "db") as reader:
        assert (
            sum(
                np.array_equal(p, q.transpose(2, 0, 1))
                for (_, p, _), q in zip(reader, images, strict=True)
            )
            == 30
        )
    with DatumReader(tmp_path / "big") as reader:
        assert reader.shape == (3, 5000, 5000)


@given(st.integers(0, 99_999_999), st.text(max_size=600))
def test_keys_fit_lmdb_and_keep_their_number(number: int, name: str) -> None:
    key = make_key(number, name.encode("utf-8", "ignore").decode())
    assert key.startswith(f"{number:08d}_")
    assert len(os.fsencode(key)) <= 511


def test_keys_that_do_not_ascend_are_refused(tmp_path: Path) -> None:
    for keys in (["b", "a"], ["a", "a"], [""], ["x" * 512]):
        with pytest.raises(ValueError, match="key"), DatumWriter(tmp_path / "db") as writer:
            for key in keys:
                writer.put(key, noise(1)[0], 0)
    assert list(tmp_path.iterdir()) == []


def test_an_exception_leaves_nothing_or_what_was_there(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="stop"), DatumWriter(tmp_path / "db") as writer:
        writer.put("a", noise(1)[0], 0)
        raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "db", noise(3))
    with pytest.raises(RuntimeError, match="stop"), DatumWriter(tmp_path / "db"):
        raise RuntimeError("stop")
    with DatumReader(tmp_path / "db") as reader:
        assert len(reader) == 3


_WRITE_FOR_EVER = """
import sys, itertools, resource
import numpy as np
from pathlib import Path
from latenthash.errors import StorageError
from latenthash.lmdb_store import DatumWriter, make_key
if len(sys.argv) > 2:
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000_000,) * 2)
try:
    with DatumWriter(Path(sys.argv[1])) as writer:
        for number in itertools.count():
            writer.put(make_key(number, "x"), np.zeros((400, 400, 3), np.uint8), 0)
except StorageError as error:
    print(error)
"""


def test_a_killed_writer_leaves_no_half_database(tmp_path: Path) -> None:
    path = tmp_path / "db"
    writer = subprocess.Popen([sys.executable, "-c", _WRITE_FOR_EVER, str(path)])
    data = tmp_path / "db.partial" / "data.mdb"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not (data.exists() and data.stat().st_size > 1 << 20):
        time.sleep(0.01)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert data.exists()
    assert not path.exists()
    write(path, noise(2))
    assert [entry.name for entry in tmp_path.iterdir()] == ["db"]


def test_a_file_that_may_not_grow_is_a_storage_error(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _WRITE_FOR_EVER, str(tmp_path / "db"), "limited"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert str(tmp_path / "db") in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def full_disk(tmp_path: Path):  # type: ignore[no-untyped-def]
    """A file system of 20 MB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_full_disk_is_a_storage_error_and_loses_nothing(full_disk: Path) -> None:
    write(full_disk / "db", noise(3))
    with (
        pytest.raises(StorageError, match=r"db: the disk is full - free some room"),
        DatumWriter(full_disk / "db") as writer,
    ):
        for number in range(100):
            writer.put(make_key(number, "x"), np.zeros((400, 400, 3), np.uint8), 0)
    assert [entry.name for entry in full_disk.iterdir()] == ["db"]
    with DatumReader(full_disk / "db") as reader:
        assert len(reader) == 3


def test_a_read_only_folder_is_read_without_a_lock(tmp_path: Path) -> None:
    write(tmp_path / "db", noise(3))
    (tmp_path / "db").chmod(0o555)
    with DatumReader(tmp_path / "db") as reader:
        assert len(reader) == 3
    assert not (tmp_path / "db" / "lock.mdb").exists()


def broken(kind: str, path: Path) -> None:
    """An LMDB that is broken in one way."""
    if kind == "missing":
        return
    if kind == "a file":
        path.write_bytes(b"x")
        return
    path.mkdir()
    if kind == "no data":
        (path / "readme.txt").touch()
    elif kind == "above":
        write(path / "train_lmdb", noise(1))
    elif kind == "of zero bytes":
        (path / "data.mdb").touch()
    elif kind == "garbage":
        (path / "data.mdb").write_bytes(os.urandom(100_000))
    elif kind == "cut short":
        shutil.rmtree(path)
        write(path, noise(300, 3, 30, 30))
        os.truncate(path / "data.mdb", 100_000)
    elif kind == "no entries":
        lmdb.open(str(path)).close()
    else:
        value = {"other values": b"\xff\xff text", "no pixels": Datum(label=1).SerializeToString()}
        value["bad jpeg"] = Datum(data=b"\xff\xd8\xff no", encoded=True).SerializeToString()
        with lmdb.open(str(path)) as environment, environment.begin(write=True) as transaction:
            transaction.put(b"key", value[kind])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "no such folder"),
        ("a file", "is a file"),
        ("no data", "holds no data.mdb"),
        ("above", "give .*train_lmdb"),
        ("of zero bytes", "cannot be opened"),
        ("garbage", "cannot be opened"),
        ("cut short", "cut short"),
        ("no entries", "is empty"),
        ("other values", "something else than Datums"),
        ("no pixels", "bytes of pixels"),
        ("bad jpeg", "damaged image"),
    ],
)
def test_a_broken_database_is_named_with_the_remedy(
    kind: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "the_lmdb"
    broken(kind, path)
    with pytest.raises(DataError, match=message) as refused:
        DatumReader(path)
    assert str(path) in refused.value.problem
    assert refused.value.remedy


def test_several_readers_share_a_database(tmp_path: Path) -> None:
    write(tmp_path / "db", noise(2))
    (tmp_path / "link").symlink_to(tmp_path / "db")
    with DatumReader(tmp_path / "db") as first:
        second = DatumReader(tmp_path / "link")
        second.close()
        second.close()
        with DatumReader(tmp_path / "db") as third:
            assert list(third.items()) == list(first.items())
        assert len(list(first)) == 2


def test_a_database_open_otherwise_says_so(tmp_path: Path) -> None:
    write(tmp_path / "db", noise(1))
    with (
        lmdb.open(str(tmp_path / "db"), readonly=True, lock=False),
        pytest.raises(LatentHashError, match="already open"),
    ):
        DatumReader(tmp_path / "db")


@pytest.mark.caffe
@pytest.mark.parametrize("flags", [(), ("--encoded", "--encode_type=png"), ("--gray",)])
def test_caffes_own_databases_are_read(flags: tuple[str, ...], tmp_path: Path) -> None:
    names = {f"{seed} a.png": seed for seed in range(5)}
    for name, seed in names.items():
        photo(seed=seed).save(tmp_path / name)
    listed = list_file(tmp_path / "list.txt", names)
    caffe_tool("convert_imageset", *flags, f"{tmp_path}/", listed, tmp_path / "db")
    channels = 1 if "--gray" in flags else 3
    with DatumReader(tmp_path / "db") as reader:
        assert reader.shape == (channels, 30, 40)
        for (key, pixels, label), (name, seed) in zip(reader, names.items(), strict=True):
            expected = decode(tmp_path / name, channels).transpose(2, 0, 1)
            assert (key, label) == (make_key(seed, name), seed)
            assert np.abs(pixels.astype(int) - expected).max() <= (channels == 1)


@pytest.mark.caffe
def test_our_bytes_are_those_of_convert_imageset(tmp_path: Path) -> None:
    """Key by key, Datum by Datum."""
    names = {f"{seed}.png": seed for seed in range(5)}
    for name, seed in names.items():
        photo(seed=seed).save(tmp_path / name)
    listed = list_file(tmp_path / "list.txt", names)
    caffe_tool("convert_imageset", f"{tmp_path}/", listed, tmp_path / "caffe")
    with DatumWriter(tmp_path / "ours") as writer:
        for row, (name, label) in enumerate(names.items()):
            writer.put(make_key(row, name), decode(tmp_path / name), label)
    assert entries(tmp_path / "caffe") == entries(tmp_path / "ours")


def entries(path: Path) -> list[tuple[bytes, Datum]]:
    opened = lmdb.open(str(path), readonly=True, lock=False)
    with opened as environment, environment.begin() as transaction:
        return [(bytes(key), Datum.FromString(value)) for key, value in transaction.cursor()]
