from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bad_images import HANDLED, make_bad_images, photo
from caffe_tools import caffe_tool
from latenthash.dataset import build_lmdb
from latenthash.dataset.split import split_samples
from latenthash.errors import DataError, StorageError
from latenthash.images import decode
from latenthash.lmdb_store import DatumReader
from latenthash.manifest import read_manifest
from latenthash.proto import read_mean
from latenthash.sources import Sample

FILES = {
    "class_counts.csv",
    "class_counts.png",
    "dataset.json",
    "labels.txt",
    "mean.binaryproto",
    "report.md",
    "skipped.csv",
    "train.txt",
    "train_lmdb",
    "val.txt",
    "val_lmdb",
}


def photos(folder: Path, classes: int = 3, each: int = 10, kind: str = "jpg") -> Path:
    """Class folders of small photos of one size."""
    for label in range(classes):
        (folder / f"class {label}").mkdir(parents=True)
        for number in range(each):
            image = photo(24, 16, seed=100 * label + number)
            image.save(folder / f"class {label}" / f"{number:03d}.{kind}")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def listed(path: Path) -> list[tuple[str, int]]:
    lines = path.read_text(errors="surrogateescape").splitlines()
    return [(name, int(label)) for name, _, label in (line.rpartition(" ") for line in lines)]


def test_everything_is_written_and_agrees(tmp_path: Path) -> None:
    source = photos(tmp_path / "in")
    seen: list[tuple[int, int]] = []
    report = build_lmdb(source, tmp_path / "out", on_progress=lambda *step: seen.append(step))
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == FILES
    assert (report.train_counts, report.val_counts) == ([8, 8, 8], [2, 2, 2])
    assert report.shape == (3, 16, 24)
    assert (out / "labels.txt").read_text() == "class 0\nclass 1\nclass 2\n"
    assert seen[-1] == (30, 30)
    assert seen == sorted(seen)
    names = []
    for split, count in (("train", 24), ("val", 6)):
        lines = listed(out / f"{split}.txt")
        names += [name for name, _ in lines]
        with DatumReader(out / f"{split}_lmdb") as reader:
            assert len(reader) == len(lines) == count
            for (key, pixels, label), (name, listed_label) in zip(reader, lines, strict=True):
                assert (key[9:], label) == (name, listed_label)
                assert source / name == source / f"class {label}" / name.rpartition("/")[2]
                assert np.array_equal(pixels, decode(source / name).transpose(2, 0, 1))
    assert len(set(names)) == 30


def test_the_manifest_tells_the_settings_and_hashes(tmp_path: Path) -> None:
    build_lmdb(photos(tmp_path / "in"), tmp_path / "out", seed=7, encode="raw", resize=(8, 10))
    manifest = read_manifest(tmp_path / "out" / "dataset.json", "build_lmdb")
    assert manifest["seed"] == 7
    assert manifest["shape"] == [3, 8, 10]
    assert manifest["images"] == {"train": 24, "val": 6}
    with DatumReader(tmp_path / "out" / "train_lmdb") as reader:
        assert manifest["lmdb_sha256"]["train"] == reader.content_hash
    mean = read_mean(tmp_path / "out" / "mean.binaryproto")
    assert np.allclose(manifest["mean"]["values"], mean.mean(axis=(1, 2)), rtol=1e-5)


def test_the_same_seed_gives_the_same_bytes_whatever_the_threads(tmp_path: Path) -> None:
    source = photos(tmp_path / "in", each=40, kind="png")
    for name, workers in (("one", 1), ("two", 4)):
        build_lmdb(source, tmp_path / name, workers=workers, resize=(12, 12))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    build_lmdb(source, tmp_path / "other", seed=1, resize=(12, 12))
    assert listed(tmp_path / "other" / "train.txt") != listed(tmp_path / "one" / "train.txt")


def test_the_mean_is_that_of_the_training_images_alone(tmp_path: Path) -> None:
    """Against a sum over the files that train.txt lists."""
    source = photos(tmp_path / "in", each=30, kind="png")
    build_lmdb(source, tmp_path / "out", val_fraction=0.5)
    total = np.zeros((16, 24, 3))
    lines = listed(tmp_path / "out" / "train.txt")
    for name, _ in lines:
        total += decode(source / name)
    mean = read_mean(tmp_path / "out" / "mean.binaryproto")
    assert len(lines) == 45
    assert np.allclose(mean, (total / 45).transpose(2, 0, 1), rtol=1e-6)


@pytest.mark.caffe
@pytest.mark.parametrize("gray", [False, True])
def test_the_mean_is_that_of_compute_image_mean(gray: bool, tmp_path: Path) -> None:
    source = photos(tmp_path / "in", each=50)
    build_lmdb(source, tmp_path / "out", encode="raw", gray=gray)
    theirs = tmp_path / "caffe.binaryproto"
    caffe_tool("compute_image_mean", tmp_path / "out" / "train_lmdb", theirs)
    ours = read_mean(tmp_path / "out" / "mean.binaryproto")
    assert ours.shape == (1 if gray else 3, 16, 24)
    assert np.allclose(ours, read_mean(theirs), rtol=1e-6)


@pytest.mark.caffe
def test_caffe_reads_the_jpegs_as_we_do(tmp_path: Path) -> None:
    """One image a database: its mean is what Caffe decodes."""
    for number in range(3):
        folder = tmp_path / f"in{number}"
        photos(folder, classes=1, each=1, kind="png")
        out = tmp_path / f"out{number}"
        build_lmdb(folder, out, encode="jpeg", val_fraction=0)
        caffe_tool("compute_image_mean", out / "train_lmdb", out / "caffe.binaryproto")
        with DatumReader(out / "train_lmdb") as reader:
            ((_, pixels, _),) = list(reader)
        theirs = read_mean(out / "caffe.binaryproto")
        assert np.abs(pixels - theirs).max() <= 2


def test_bad_images_are_listed_with_their_reason_and_the_run_goes_on(tmp_path: Path) -> None:
    expected = make_bad_images(tmp_path / "in" / "bad")
    photos(tmp_path / "in", classes=2, each=4)
    (tmp_path / "in" / "void").mkdir()
    report = build_lmdb(tmp_path / "in", tmp_path / "out")
    with (tmp_path / "out" / "skipped.csv").open(errors="surrogateescape") as file:
        skipped = {row["name"]: row["reason"] for row in csv.DictReader(file)}
    bad = {f"bad/{name}": reason for name, reason in expected.items() if reason is not HANDLED}
    assert set(skipped) == {*bad, "void/"}
    for name, reason in bad.items():
        assert reason and reason in skipped[name]
    names = {name for part in ("train", "val") for name, _ in listed(tmp_path / f"out/{part}.txt")}
    good = {f"bad/{name}" for name, reason in expected.items() if reason is HANDLED}
    assert names == good | {f"class {c}/{n:03d}.jpg" for c in (0, 1) for n in range(4)}
    assert f"{len(skipped)} skipped" in report.summary()
    assert sum(report.train_counts) + sum(report.val_counts) == len(names)
    assert report.labels == ["bad", "class 0", "class 1", "void"]


def test_strict_fails_at_a_bad_image_and_names_it(tmp_path: Path) -> None:
    source = photos(tmp_path / "in")
    (source / "class 1" / "text.jpg").write_text("no picture")
    with pytest.raises(DataError, match=r"'class 1/text.jpg' \(not an image\)") as refused:
        build_lmdb(source, tmp_path / "out", strict=True)
    assert "--strict" in refused.value.remedy
    assert not (tmp_path / "out").exists()
    (source / "class 1" / "text.jpg").unlink()
    build_lmdb(source, tmp_path / "out", strict=True)


def test_nothing_usable_is_an_error(tmp_path: Path) -> None:
    for name in ("a/1.jpg", "a/2.jpg", "b/1.jpg"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_text("no picture")
    with pytest.raises(DataError, match="can be read"):
        build_lmdb(tmp_path / "in", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_size_and_channels_follow_the_images(tmp_path: Path) -> None:
    same = photos(tmp_path / "same")
    assert build_lmdb(same, tmp_path / "1").shape == (3, 16, 24)
    assert build_lmdb(same, tmp_path / "2", resize=(5, 7), gray=True).shape == (1, 5, 7)
    photo(9, 9).save(same / "class 0" / "other.jpg")
    assert build_lmdb(same, tmp_path / "3").shape == (3, 256, 256)
    for label in range(2):
        (tmp_path / "gray" / str(label)).mkdir(parents=True)
        for number in range(2):
            photo().convert("L").save(tmp_path / "gray" / str(label) / f"{number}.png")
    assert build_lmdb(tmp_path / "gray", tmp_path / "4").shape == (1, 30, 40)
    assert build_lmdb(tmp_path / "gray", tmp_path / "5", gray=False).shape == (3, 30, 40)


def test_arrays_are_stored_raw_and_may_be_resized(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = rng.integers(0, 256, (20, 17))
    table[:, 16] = np.arange(20) % 2
    text = "\n".join(",".join(map(str, row)) for row in table)
    (tmp_path / "d.csv").write_text(text)
    report = build_lmdb(tmp_path / "d.csv", tmp_path / "out")
    assert (report.encode, report.shape) == ("raw", (1, 4, 4))
    with DatumReader(tmp_path / "out" / "train_lmdb") as reader:
        for key, pixels, label in reader:
            row = table[int(key.rpartition("_")[2])]
            assert np.array_equal(pixels.ravel(), row[:16])
            assert label == row[16]
    assert build_lmdb(tmp_path / "d.csv", tmp_path / "2", resize=(8, 8)).shape == (1, 8, 8)


def test_the_sets_own_split_is_kept_unless_a_share_is_given(tmp_path: Path) -> None:
    photos(tmp_path / "in" / "train", each=6)
    photos(tmp_path / "in" / "test", each=2)
    own = build_lmdb(tmp_path / "in", tmp_path / "own")
    assert (own.train_counts, own.val_counts) == ([6] * 3, [2] * 3)
    assert all(name.startswith("test/") for name, _ in listed(tmp_path / "own" / "val.txt"))
    half = build_lmdb(tmp_path / "in", tmp_path / "half", val_fraction=0.5)
    assert (half.train_counts, half.val_counts) == ([4] * 3, [4] * 3)
    none = build_lmdb(tmp_path / "in", tmp_path / "none", val_fraction=0)
    assert none.val_counts == [0] * 3
    assert not (tmp_path / "none" / "val_lmdb").exists()


@given(
    labels=st.lists(st.integers(0, 5), min_size=1, max_size=200),
    fraction=st.floats(0, 0.99),
    seed=st.integers(0, 100),
)
def test_the_split_is_stratified_and_loses_nothing(
    labels: list[int], fraction: float, seed: int
) -> None:
    samples = [Sample(str(row), label) for row, label in enumerate(labels)]
    train, val = split_samples(samples, fraction, seed)
    assert sorted(s.name for s in train + val) == sorted(s.name for s in samples)
    held = Counter(sample.label for sample in val)
    for label, count in Counter(labels).items():
        assert abs(held[label] - count * fraction) <= 1
        assert held[label] < count
        assert fraction == 0 or count < 2 or held[label] > 0
    again = split_samples(samples, fraction, seed)
    assert ([s.name for s in train], [s.name for s in val]) == tuple(
        [s.name for s in part] for part in again
    )


def test_an_output_that_is_not_ours_is_never_replaced(tmp_path: Path) -> None:
    source = photos(tmp_path / "in")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    for output in (mine, source, source / "class 0" / "out", tmp_path):
        before = contents(tmp_path)
        with pytest.raises(DataError, match=r"not from build_lmdb|lie in one another"):
            build_lmdb(source, output)
        assert contents(tmp_path) == before
    build_lmdb(source, tmp_path / "out")
    build_lmdb(source, tmp_path / "out", seed=1)
    assert read_manifest(tmp_path / "out" / "dataset.json", "build_lmdb")["seed"] == 1


@pytest.mark.parametrize(
    "settings", [{"val_fraction": 1.0}, {"val_fraction": -0.1}, {"quality": 0}, {"resize": (0, 9)}]
)
def test_settings_without_sense_are_refused(settings: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=" - give"):
        build_lmdb(photos(tmp_path / "in"), tmp_path / "out", **settings)  # type: ignore[arg-type]


def test_an_exception_keeps_the_earlier_output(tmp_path: Path) -> None:
    source = photos(tmp_path / "in")
    build_lmdb(source, tmp_path / "out")
    before = contents(tmp_path)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_lmdb(source, tmp_path / "out", seed=1, on_progress=interrupt)
    assert contents(tmp_path) == before


_BUILD = """
import sys, time
from pathlib import Path
from latenthash.dataset import build_lmdb
def slow(done, total): print(done, flush=True); time.sleep(1)
build_lmdb(Path(sys.argv[1]), Path(sys.argv[2]), on_progress=slow, seed=1)
"""


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_killed_build_leaves_no_half_output(kill: signal.Signals, tmp_path: Path) -> None:
    source = photos(tmp_path / "in", each=50)
    build_lmdb(source, tmp_path / "out")
    before = contents(tmp_path / "out")
    command = [sys.executable, "-c", _BUILD, str(source), str(tmp_path / "out")]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert child.stdout is not None
    assert child.stdout.readline()  # in the middle of the first LMDB
    child.send_signal(kill)
    assert child.wait(timeout=60) != 0
    child.stdout.close()
    assert contents(tmp_path / "out") == before
    build_lmdb(source, tmp_path / "out", seed=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_a_full_disk_is_one_error_and_keeps_the_earlier_output(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        source = photos(tmp_path / "in")
        build_lmdb(source, disk / "out")
        before = contents(disk)
        with pytest.raises(StorageError, match="the disk is full - free some room"):
            build_lmdb(source, disk / "out", resize=(400, 400), encode="raw")
        assert contents(disk) == before
    finally:
        subprocess.run(["umount", str(disk)], check=True)


_PEAK = """
import resource, sys
from pathlib import Path
from latenthash.dataset import build_lmdb
build_lmdb(Path(sys.argv[1]), Path(sys.argv[2]), resize=(500, 500), encode="raw", workers=2)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_images(tmp_path: Path) -> None:
    """750 kB an image: 300 more would be 225 MB more."""
    peaks = []
    for each in (100, 400):
        source = tmp_path / f"in{each}"
        photos(source, classes=1, each=each, kind="bmp")
        command = [sys.executable, "-c", _PEAK, str(source), str(tmp_path / f"out{each}")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) / 1024)
    assert peaks[1] - peaks[0] < 60


def test_the_report_counts_and_totals(tmp_path: Path) -> None:
    source = photos(tmp_path / "in")
    (source / "class 1").rename(source / "a|b")
    report = build_lmdb(source, tmp_path / "out")
    with (tmp_path / "out" / "class_counts.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["a|b", "class 0", "class 2"]
    assert {(row["train"], row["val"]) for row in rows} == {("8", "2")}
    table = (tmp_path / "out" / "report.md").read_text()
    assert "| 0 | a\\|b | 8 | 2 | 10 |" in table
    assert "| | **all** | **24** | **6** | **30** |" in table
    assert json.loads(json.dumps(report.to_json()))["train_images"] == 24


def test_a_jpeg_that_fits_is_stored_as_it_is(tmp_path: Path) -> None:
    source = photos(tmp_path / "in", classes=1, each=1)
    build_lmdb(source, tmp_path / "out", val_fraction=0)
    original = (source / "class 0" / "000.jpg").read_bytes()
    assert original in (tmp_path / "out" / "train_lmdb" / "data.mdb").read_bytes()
    build_lmdb(source, tmp_path / "small", val_fraction=0, resize=(8, 8))
    assert original not in (tmp_path / "small" / "train_lmdb" / "data.mdb").read_bytes()
