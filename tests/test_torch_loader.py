"""The loader of the torch engine: chance, threads, errors, and that it is ahead."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chisquare

from bad_images import jpeg, photo
from latenthash.errors import DataError, EngineError
from latenthash.lmdb_store import DatumReader, DatumWriter
from latenthash.netdef import NetDef, load_netdef
from latenthash.proto import write_mean
from latenthash.proto.caffe_pb2 import Datum, TransformationParameter

torch = pytest.importorskip("torch")

from latenthash.engines.torch.loader import AHEAD, Loader  # noqa: E402
from latenthash.engines.torch.transform import Place, Transform  # noqa: E402

CPU = torch.device("cpu")
SIDE = 10
NUMBERED = np.arange(3 * SIDE * SIDE, dtype=np.uint16).reshape(3, SIDE, SIDE) % 251
"""An image in which a crop tells where it was taken."""


def write(path: Path, count: int, pixels: NDArray[np.integer] = NUMBERED) -> Path:
    with DatumWriter(path) as writer:
        for number in range(count):
            hwc = pixels.astype(np.uint8).transpose(1, 2, 0)
            writer.put(f"{number:05d}", hwc, number)
    return path


def net(folder: Path, transform: str, phase: str = "TRAIN", batch: int = 50) -> NetDef:
    path = folder / "net.prototxt"
    path.write_text(
        'layer { name: "d" type: "Data" top: "data" top: "label" '
        f"transform_param {{ {transform} }} data_param {{ backend: LMDB "
        f'source: "{folder / "db"}" batch_size: {batch} }} }}'
    )
    return load_netdef(path, phase, {"data": (3, SIDE, SIDE)})


def batches(definition: NetDef, count: int, seed: int = 1, workers: int = 2) -> torch.Tensor:
    with Loader(definition, seed, workers, CPU) as loader:
        return torch.cat([loader.next()["data"] for _ in range(count)])


def places(images: torch.Tensor, crop: int) -> list[Place]:
    """Where crops of NUMBERED were taken; each is looked for in all places."""
    windows = {}
    for top in range(SIDE - crop + 1):
        for left in range(SIDE - crop + 1):
            window = NUMBERED[:, top : top + crop, left : left + crop]
            windows[window.astype(np.float32).tobytes()] = Place(top, left, False)
            windows[window[:, :, ::-1].astype(np.float32).tobytes()] = Place(top, left, True)
    return [windows[image.numpy().tobytes()] for image in images]


def test_random_crops_lie_anywhere_alike(tmp_path: Path) -> None:
    write(tmp_path / "db", 7)
    definition = net(tmp_path, "crop_size: 7 mirror: true", batch=400)
    found = places(batches(definition, 8), 7)
    counts = np.zeros((4, 4, 2))
    for place in found:
        counts[place] += 1
    assert chisquare(counts.ravel()).pvalue > 1e-3


def test_in_the_test_phase_crops_are_central_but_mirrors_random(tmp_path: Path) -> None:
    write(tmp_path / "db", 7)
    found = places(batches(net(tmp_path, "crop_size: 7 mirror: true", "TEST", 300), 1), 7)
    assert {(place.top, place.left) for place in found} == {(1, 1)}
    assert 100 < sum(place.mirrored for place in found) < 200


def test_chance_depends_on_the_seed_and_not_on_the_threads(tmp_path: Path) -> None:
    write(tmp_path / "db", 7)
    definition = net(tmp_path, "crop_size: 5 mirror: true")
    first = batches(definition, 5)
    for workers in (0, 1, 7):
        assert torch.equal(first, batches(definition, 5, workers=workers))
    for seed in (2, -1):
        assert not torch.equal(first, batches(definition, 5, seed))
    assert not torch.equal(first[:50], first[50:100])


def test_layers_draw_each_for_itself(tmp_path: Path) -> None:
    write(tmp_path / "db", 7)
    net(tmp_path, "crop_size: 5 mirror: true")
    path = tmp_path / "net.prototxt"
    text = path.read_text()
    other = text.replace('"d"', '"e"').replace('"data"', '"other"').replace('"label"', '"l"')
    path.write_text(text + other)
    with Loader(load_netdef(path, "TRAIN"), 0, 2, CPU) as loader:
        blobs = loader.next()
    assert torch.equal(blobs["label"], blobs["l"])
    assert not torch.equal(blobs["data"], blobs["other"])


@given(
    channels=st.integers(1, 4),
    size=st.tuples(st.integers(4, 9), st.integers(4, 9)),
    crop=st.integers(0, 4),
    mean=st.sampled_from(["none", "one", "each", "image"]),
    mirrored=st.lists(st.booleans(), min_size=3, max_size=3),
    interleaved=st.booleans(),
)
def test_transform_is_the_formula(
    channels: int,
    size: tuple[int, int],
    crop: int,
    mean: str,
    mirrored: list[bool],
    interleaved: bool,
) -> None:
    """Pixel by pixel, as Caffe's loops have it."""
    rng = np.random.default_rng(0)
    height, width = size
    pixels = rng.integers(0, 256, (3, channels, height, width), dtype=np.uint8)
    means = {
        "none": None,
        "one": torch.tensor([[[3.3]]]),
        "each": torch.arange(channels, dtype=torch.float32)[:, None, None] + 0.3,
        "image": torch.from_numpy(rng.random((channels, height, width), dtype=np.float32)),
    }[mean]
    transform = Transform(crop, True, True, means, 0.3)
    chances = [rng.random(3) * (1, 1, 0) + (0, 0, 0 if m else 0.9) for m in mirrored]
    found = [transform.place((channels, height, width), chance) for chance in chances]
    assert [place.mirrored for place in found] == mirrored
    if interleaved:
        pixels = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    cuts = [transform.cut(image, place) for image, place in zip(pixels, found, strict=True)]
    result = transform.finish(torch.from_numpy(np.stack(cuts)), found)
    assert result.is_contiguous()
    whole = np.zeros((channels, height, width), np.float32)
    if means is not None:
        whole += means.numpy()
    for image, place, values in zip(pixels, found, result.numpy(), strict=True):
        rows, columns = values.shape[1:]
        for c, y, x in np.ndindex(values.shape):
            column = place.left + (columns - 1 - x if place.mirrored else x)
            at = c, place.top + y, column
            expected = (np.float32(image[at]) - whole[at]) * np.float32(0.3)
            assert values[c, y, x] == expected
        assert (rows, columns) == ((crop, crop) if crop else size)


def test_a_transform_reads_its_layer(tmp_path: Path) -> None:
    write_mean(np.ones((3, 4, 5)), tmp_path / "m")
    param = TransformationParameter(
        scale=0.5, mirror=True, crop_size=3, mean_file=str(tmp_path / "m")
    )
    found = Transform.of(param, "TEST", "here")
    assert (found.crop, found.at_random, found.mirror, found.scale) == (3, False, True, 0.5)
    assert found.mean is not None
    assert found.mean.shape == (3, 4, 5)


def test_images_of_many_sizes_are_cropped(tmp_path: Path) -> None:
    """Raw and encoded ones too, in one batch."""
    with DatumWriter(tmp_path / "db") as writer:
        for number in range(6):
            pixels = np.full((5 + number, 9 - number // 2, 3), number, np.uint8)
            writer.put(f"{number:05d}", pixels, number, "raw" if number % 2 else "png")
    with Loader(net(tmp_path, "crop_size: 5", batch=6), 0, 2, CPU) as loader:
        blobs = loader.next()
    expected = torch.arange(6.0)[:, None, None, None].expand(6, 3, 5, 5)
    assert torch.equal(blobs["data"], expected)
    assert torch.equal(blobs["label"], torch.arange(6.0))
    assert {blob.dtype for blob in blobs.values()} == {torch.float32}


def test_no_more_is_read_ahead_than_said(tmp_path: Path) -> None:
    write(tmp_path / "db", 64)
    definition = net(tmp_path, "", batch=4)
    with Loader(definition, 0, 1, CPU) as loader:
        [feed] = loader._feeds
        for taken in range(5):
            deadline = time.monotonic() + 10
            while feed._batch < taken + AHEAD and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(0.02)
            assert feed._batch == taken + AHEAD
            loader.next()


def test_closing_ends_the_threads_and_frees_the_lmdb(tmp_path: Path) -> None:
    write(tmp_path / "db", 64)
    before = threading.active_count()
    loader = Loader(net(tmp_path, "", batch=32), 0, 3, CPU)
    reader = DatumReader(tmp_path / "db")  # another reader does not mind
    loader.next()
    loader.close()
    loader.close()
    assert threading.active_count() == before
    assert len(list(reader)) == 64
    reader.close()
    with pytest.raises(EngineError, match="closed"):
        loader.next()


def test_an_error_waits_for_its_batch_and_stays(tmp_path: Path) -> None:
    with DatumWriter(tmp_path / "db") as writer:
        for number in range(40):
            data = b"broken" if number == 20 else jpeg(photo(SIDE, SIDE))
            datum = Datum(data=data, label=number, encoded=True)
            writer.put_datum(f"{number:05d}", datum.SerializeToString())
    with Loader(net(tmp_path, "", batch=9), 0, 2, CPU) as loader:
        for _ in range(2):
            loader.next()
        for _ in range(2):
            with pytest.raises(DataError, match="db: '00020' is a damaged image"):
                loader.next()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("mean", ["", "mean_value: 3.3", 'mean_file: "MEAN"'])
def test_a_gpu_gets_the_same(mean: str, tmp_path: Path) -> None:
    write(tmp_path / "db", 64)
    rng = np.random.default_rng(0)
    write_mean(rng.random((3, SIDE, SIDE)), tmp_path / "mean")
    settings = mean.replace("MEAN", str(tmp_path / "mean"))
    definition = net(tmp_path, f"crop_size: 7 mirror: true scale: 0.1 {settings}")
    gpu = torch.device("cuda")
    expected = batches(definition, 6)
    with Loader(definition, 1, 2, gpu) as loader:
        found = [loader.next() for _ in range(6)]
    assert {blob.device.type for blobs in found for blob in blobs.values()} == {"cuda"}
    assert torch.equal(torch.cat([blobs["data"] for blobs in found]).cpu(), expected)
