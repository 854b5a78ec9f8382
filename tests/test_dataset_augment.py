"""Copies of training images, cut and coloured otherwise, in LMDBs that every engine reads."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bad_images import photo
from caffe_tools import caffe_tool
from latenthash.dataset import Augment, build_lmdb, workers
from latenthash.dataset.augment import Copy, with_copies
from latenthash.errors import DataError
from latenthash.images import decode
from latenthash.lmdb_store import DatumReader
from latenthash.manifest import read_manifest
from latenthash.proto import read_mean
from latenthash.sources import Sample

TOOL = Path(__file__).parent.parent / "tools" / "build_lmdb.py"
COLOUR = Augment(0.3, 0.3, 0.3)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for label in range(2):
        (tmp_path / "in" / str(label)).mkdir(parents=True)
        for number in range(6):
            image = photo(24, 16, seed=10 * label + number)
            image.save(tmp_path / "in" / str(label) / f"{number}.png")
    return tmp_path / "in"


class Fixed(np.random.Generator):
    """Draws these values where others draw from -1 to 1."""

    def __init__(self, *values: float) -> None:
        super().__init__(np.random.PCG64(0))
        self._values = np.array(values)

    def uniform(self, *_: object) -> NDArray[np.float64]:  # type: ignore[override]
        return self._values


def expected(pixels: NDArray[np.uint8], factors: tuple[float, float, float]) -> NDArray[np.float64]:
    """The three changes by their formulas, each cut to 0..255."""

    def gray(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values @ [0.114, 0.587, 0.299] if values.shape[2] == 3 else values[..., 0]

    brightness, contrast, saturation = factors
    values = np.clip(pixels * brightness, 0, 255)
    mean = gray(values).mean()
    values = np.clip(mean + contrast * (values - mean), 0, 255)
    if values.shape[2] == 1:
        return values
    own = gray(values)[..., None]
    return np.clip(own + saturation * (values - own), 0, 255)


@given(
    draws=st.tuples(*[st.floats(-1, 1)] * 3),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 100),
)
def test_a_change_is_that_of_the_formulas(
    draws: tuple[float, float, float], channels: int, seed: int
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 7, channels), dtype=np.uint8)
    augment = Augment(0.5, 0.4, 0.6)
    found = augment.change(pixels, Fixed(*draws))
    assert (found.shape, found.dtype) == (pixels.shape, np.uint8)
    factors = tuple(1 + s * d for s, d in zip((0.5, 0.4, 0.6), draws, strict=True))
    assert np.abs(found - expected(pixels, factors)).max() <= 4  # type: ignore[arg-type]  # rounding, thrice


def test_the_middle_changes_nothing() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    assert np.array_equal(COLOUR.change(pixels, Fixed(0, 0, 0)), pixels)


def ramps(height: int, width: int) -> NDArray[np.uint8]:
    """Blue grows to the right, green downwards: a cut tells where it was."""
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[..., 0] = 255 * np.arange(width) / width
    image[..., 1] = 255 * np.arange(height)[:, None] / height
    return image


def cut_of(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Middle (x, y) and size (width, height) of a cut of `ramps`, in shares of the image."""
    inner = pixels[8:-8, 8:-8].astype(float) / 255  # the filter's reach
    slopes = np.array([np.diff(inner[..., 0].mean(0)).mean() * pixels.shape[1],
                       np.diff(inner[..., 1].mean(1)).mean() * pixels.shape[0]])  # fmt: skip
    return inner[..., :2].mean((0, 1)), slopes


def test_a_zoom_cuts_somewhere_within_and_fills_the_frame() -> None:
    image, random = ramps(96, 128), np.random.default_rng(3)
    cuts = [cut_of(Augment(zoom=0.6).change(image, random)) for _ in range(300)]
    middles, sizes = (np.stack(part) for part in zip(*cuts, strict=True))
    areas, ratios = sizes.prod(1), sizes[:, 0] / sizes[:, 1]
    assert (middles - sizes / 2).min() > -0.02 and (middles + sizes / 2).max() < 1.02
    assert 0.37 < areas.min() < 0.45 and 0.9 < areas.max() < 1.02
    assert 0.72 < ratios.min() < 0.8 and 1.25 < ratios.max() < 1.38
    assert np.abs(middles.mean(0) - 0.5).max() < 0.03 and middles.std(0).min() > 0.05


def test_a_zoom_leaves_the_colours_as_they_would_be() -> None:
    gray = np.full((9, 7, 1), 100, dtype=np.uint8)
    assert np.array_equal(Augment(zoom=0.9).change(gray, np.random.default_rng(0)), gray)
    flat = np.full((9, 7, 3), (10, 100, 200), dtype=np.uint8)
    for seed in range(5):
        both, colours = (
            augment.change(flat, np.random.default_rng(seed))
            for augment in (Augment(0.3, 0.3, 0.3, zoom=0.5), COLOUR)
        )
        assert np.array_equal(both, colours)


def test_a_square_of_the_mean_colour_covers_up_to_its_share() -> None:
    image, random = ramps(80, 120), np.random.default_rng(5)
    shares, middles = [], []
    for _ in range(400):
        changed = Augment(erase=0.3).change(image, random)
        assert changed.shape == image.shape and changed.flags.writeable
        rows, columns = np.nonzero((changed != image).any(2))
        covered = changed[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert np.abs(covered.astype(int) - image.mean((0, 1))).max() <= 1
        shares.append(covered.shape[0] * covered.shape[1] / (80 * 120))
        middles.append(((columns.min() + columns.max()) / 2, (rows.min() + rows.max()) / 2))
    assert 0.25 < max(shares) < 0.31 and min(shares) < 0.03
    assert np.abs(np.mean(middles, axis=0) / (120, 80) - 0.5).max() < 0.04
    assert np.array_equal(image, ramps(80, 120))


def test_a_square_covers_gray_images_too() -> None:
    gray = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    changed = [Augment(erase=0.9).change(gray, np.random.default_rng(n)) for n in range(9)]
    assert all(one.shape == gray.shape for one in changed)
    assert any((one == 32).sum() > 9 for one in changed)
    assert np.array_equal(gray.ravel(), np.arange(64))


def test_copies_and_images_are_mixed() -> None:
    samples = [Sample(str(n), n % 3, path=f"{n}.png") for n in range(40)]
    found = with_copies(samples, Augment(0.1, copies=2), seed=4)
    numbers = [one.number if isinstance(one, Copy) else 0 for one in found]
    for number in range(3):
        part = [one for one, own in zip(found, numbers, strict=True) if own == number]
        assert sorted(one.name for one in part) == sorted(one.name for one in samples)
        assert all(one.path == f"{one.name}.png" and one.label == int(one.name) % 3
                   for one in part)  # fmt: skip
        places = [place for place, own in enumerate(numbers) if own == number]
        assert 40 < np.mean(places) < 80  # of 0 to 119: no round comes first or last
    other = with_copies(samples, Augment(0.1, copies=2), seed=5)
    assert [one.name for one in other] != [one.name for one in found]
    assert with_copies(samples, None, seed=4) == samples


def test_each_copy_has_its_own_colours_whenever_it_is_made() -> None:
    drawn = [
        Copy(name, 0, number=number).random(seed).random()
        for name in ("a", "b") for number in (1, 2) for seed in (0, 1)
    ]  # fmt: skip
    assert len(set(drawn)) == 8
    assert Copy("a", 0, number=1).random(0).random() == drawn[0]


@pytest.mark.parametrize("encode", ["raw", "jpeg"])
def test_the_lmdb_holds_images_and_copies(source: Path, tmp_path: Path, encode: str) -> None:
    out = tmp_path / "out"
    augment = Augment(0.3, 0.3, 0.3, copies=2)
    told: list[tuple[int, int]] = []
    report = build_lmdb(source, out, val_fraction=0.5, augment=augment, encode=encode,  # type: ignore[arg-type]
                        on_progress=lambda *step: told.append(step))  # fmt: skip
    assert (report.train_counts, report.val_counts) == ([9, 9], [3, 3])
    assert told[-1] == (24, 24)
    with DatumReader(out / "train_lmdb") as reader:
        stored = [(key[9:], pixels, label) for key, pixels, label in reader]
    assert Counter(name for name, _, _ in stored) == dict.fromkeys({n for n, _, _ in stored}, 3)
    build_lmdb(source, tmp_path / "plain", val_fraction=0.5, encode=encode)  # type: ignore[arg-type]
    with DatumReader(tmp_path / "plain/train_lmdb") as reader:
        originals = {key[9:]: pixels for key, pixels, _ in reader}
    same = Counter(name for name, pixels, _ in stored if np.array_equal(pixels, originals[name]))
    assert same == dict.fromkeys(originals, 1)
    for name, pixels, label in stored:
        assert str(label) == name[0]
        near = np.abs(pixels - originals[name].astype(int)).mean()
        assert near < 90
    if encode == "raw":
        for name, pixels in originals.items():
            assert np.array_equal(pixels, decode(source / name).transpose(2, 0, 1))
    lines = (out / "train.txt").read_text().splitlines()
    assert [line.rpartition(" ")[0] for line in lines] == [name for name, _, _ in stored]
    with DatumReader(out / "val_lmdb") as reader:
        for key, pixels, _ in reader:
            assert key[9:] not in originals
            if encode == "raw":
                assert np.array_equal(pixels, decode(source / key[9:]).transpose(2, 0, 1))
    manifest = read_manifest(out / "dataset.json", "build_lmdb")
    assert manifest["augment"] == {
        "brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "zoom": 0.0, "erase": 0.0,
        "copies": 2, "seed": 0,
    }  # fmt: skip
    assert manifest["images"] == {"train": 18, "val": 6}


def test_images_and_split_are_those_without_copies(source: Path, tmp_path: Path) -> None:
    stored = []
    for name, augment in (("plain", None), ("more", COLOUR)):
        build_lmdb(source, tmp_path / name, augment=augment)
        with DatumReader(tmp_path / name / "train_lmdb") as reader:
            stored.append({value for _, value in reader.items()})
    assert stored[0] < stored[1] and len(stored[1]) == 2 * len(stored[0])
    val = [(tmp_path / name / "val_lmdb/data.mdb").read_bytes() for name in ("plain", "more")]
    assert val[0] == val[1]
    assert read_manifest(tmp_path / "plain/dataset.json", "build_lmdb")["augment"] is None


def test_the_same_seed_gives_the_same_bytes_however_they_are_made(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    for name, settings in (("one", {"workers": 1}), ("three", {"workers": 3}),
                           ("processes", {}), ("seed", {"seed": 1})):  # fmt: skip
        if name == "processes":
            monkeypatch.setattr(workers, "_MANY", 2)
        build_lmdb(source, tmp_path / name, augment=COLOUR, **settings)
        made.append((tmp_path / name / "train_lmdb/data.mdb").read_bytes())
    assert made[0] == made[1] == made[2] != made[3]


def test_the_mean_is_that_of_all_that_is_written(source: Path, tmp_path: Path) -> None:
    build_lmdb(source, tmp_path / "out", augment=COLOUR, encode="raw")
    with DatumReader(tmp_path / "out/train_lmdb") as reader:
        images = np.stack([pixels for _, pixels, _ in reader])
    mean = read_mean(tmp_path / "out/mean.binaryproto")
    assert np.allclose(mean, images.mean(axis=0), atol=1e-4)


@pytest.mark.caffe
def test_caffe_reads_them(source: Path, tmp_path: Path) -> None:
    build_lmdb(source, tmp_path / "out", augment=COLOUR)
    mean = tmp_path / "caffe.binaryproto"
    caffe_tool("compute_image_mean", tmp_path / "out/train_lmdb", mean)
    ours = read_mean(tmp_path / "out/mean.binaryproto")
    assert np.abs(ours - read_mean(mean)).max() < 6  # JPEG
    assert np.abs(ours - read_mean(mean)).mean() < 1


def test_a_bad_image_is_listed_once(source: Path, tmp_path: Path) -> None:
    (source / "0/0.png").write_bytes(b"no image")
    report = build_lmdb(source, tmp_path / "out", val_fraction=0, augment=COLOUR)
    assert report.skipped == [("0/0.png", "not an image")]
    assert report.train_counts == [10, 12]


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"brightness": 1.5}, "brightness 1.5 - give 0 to 1"),
        ({"contrast": -0.1}, "contrast -0.1"),
        ({"saturation": float("nan")}, "saturation nan"),
        ({"zoom": 1}, "zoom 1 - give 0 to 0.95"),
        ({"erase": 0.99}, "erase 0.99 - give 0 to 0.95"),
        ({}, "copies without a change"),
        ({"brightness": 0.1, "copies": 0}, "0 copies"),
    ],
)
def test_settings_without_sense_are_refused(settings: dict[str, float], match: str) -> None:
    with pytest.raises(DataError, match=match):
        Augment(**settings)  # type: ignore[arg-type]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOOL), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_tool_takes_all_or_some_changes(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for options, augment in (
        (["colour=0.2", "--copies", "3"], Augment(0.2, 0.2, 0.2, copies=3)),
        (["contrast=0.1", "saturation=0.4"], Augment(0, 0.1, 0.4)),
        (["colour=0.2", "brightness=0"], Augment(0, 0.2, 0.2)),
        (["zoom=0.5", "colour=0.1"], Augment(0.1, 0.1, 0.1, zoom=0.5)),
        (["erase=0.25"], Augment(erase=0.25)),
    ):
        done = run(source, out, "--seed", 2, "--json", "--augment", *options)
        assert done.returncode == 0, done.stderr
        manifest = json.loads((out / "dataset.json").read_text())
        assert manifest["augment"] == augment.to_json(2)
        assert json.loads(done.stdout)["train_images"] == 10 * (1 + augment.copies)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--augment", "colour"], "error: --augment colour - give such as colour=0.2"),
        (["--augment", "hue=0.1"], "error: --augment hue=0.1 - choose colour, brightness"),
        (["--augment", "colour=2"], "error: brightness 2.0 - give 0 to 1"),
        (["--copies", "2"], "error: 2 copies of nothing changed"),
    ],
)
def test_mistakes_are_one_line(
    source: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    done = run(source, tmp_path / "out", *options)
    assert done.returncode == 2 and done.stderr.startswith(message)
    assert not (tmp_path / "out").exists()
