"""Data layers of the torch engine against real Caffe's, and what they refuse."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bad_images import jpeg, photo, png_of_size, rotated_jpeg
from caffe_oracle import run_caffe
from latenthash.errors import DataError, LatentHashError
from latenthash.lmdb_store import DatumReader, DatumWriter
from latenthash.netdef import load_netdef
from latenthash.proto import write_mean
from latenthash.proto.caffe_pb2 import Datum

torch = pytest.importorskip("torch")

from latenthash.engines.torch.loader import Loader  # noqa: E402

HEIGHT, WIDTH = 12, 15
Arrays = dict[str, NDArray[np.float32]]
_BATCHES = """
import json, sys
import numpy as np
import _caffe
for job in json.load(sys.stdin):
    net = _caffe.Net(job["net"], {"TRAIN": 0, "TEST": 1}[job["phase"]])
    blobs = dict(zip(net._blob_names, net._blobs))
    found = {name: [] for name in blobs}
    for _ in range(job["count"]):
        net._forward(0, len(net.layers) - 1)
        for name, blob in blobs.items():
            found[name].append(blob.data.copy())
    np.savez(job["found"], **{name: np.stack(values) for name, values in found.items()})
    net = blobs = blob = None  # two nets over one LMDB would wait for each other
"""


def datum(pixels: NDArray[np.uint8], label: int) -> bytes:
    """A raw Datum of (C, H, W) pixels."""
    channels, height, width = pixels.shape
    sizes = {"channels": channels, "height": height, "width": width}
    return Datum(data=pixels.tobytes(), label=label, **sizes).SerializeToString()


def encoded(data: bytes, label: int = 0) -> bytes:
    return Datum(data=data, label=label, encoded=True).SerializeToString()


def noise(seed: int, channels: int = 3, height: int = HEIGHT, width: int = WIDTH) -> bytes:
    rng = np.random.default_rng(seed)
    return datum(rng.integers(0, 256, (channels, height, width), dtype=np.uint8), seed)


def write(path: Path, datums: list[bytes]) -> Path:
    with DatumWriter(path) as writer:
        for number, value in enumerate(datums):
            writer.put_datum(f"{number:04d}", value)
    return path


def data_layer(lmdb: Path, transform: str = "", data: str = "batch_size: 4", more: str = "") -> str:
    tops = "" if "top:" in more else 'top: "data" top: "label"'
    return (
        f'layer {{ name: "d" type: "Data" {tops} {more} transform_param {{ {transform} }} '
        f'data_param {{ source: "{lmdb}" backend: LMDB {data} }} }}\n'
    )


def net_file(folder: Path, text: str, name: str = "net") -> Path:
    path = folder / f"{name}.prototxt"
    path.write_text(text)
    return path


def ours(net: Path, phase: str, count: int, seed: int = 0, workers: int = 2) -> Arrays:
    """The first batches of every blob: (count, N, ...)."""
    shapes = {"data": (3, HEIGHT, WIDTH), "more": (3, HEIGHT, WIDTH)}
    definition = load_netdef(net, phase, shapes)
    with Loader(definition, seed, workers, torch.device("cpu")) as loader:
        batches = [loader.next() for _ in range(count)]
    return {name: np.stack([batch[name].numpy() for batch in batches]) for name in batches[0]}


def caffes(jobs: list[tuple[Path, str, int]], folder: Path) -> list[Arrays]:
    request = [
        {"net": str(net), "phase": phase, "count": count, "found": str(folder / f"{number}.npz")}
        for number, (net, phase, count) in enumerate(jobs)
    ]
    run_caffe(_BATCHES, json.dumps(request))
    return [dict(np.load(job["found"])) for job in request]


def images_lmdb(folder: Path, kind: str) -> Path:
    """Seven images in the form `kind`."""
    photos = [photo(WIDTH, HEIGHT, seed) for seed in range(7)]
    make = {
        "raw": lambda number: noise(number),
        "gray": lambda number: noise(number, 1),
        "jpeg": lambda number: encoded(jpeg(photos[number]), number),
        "small jpeg": lambda number: encoded(jpeg(photos[number], quality=40, subsampling=1)),
        "gray jpeg": lambda number: encoded(jpeg(photos[number].convert("L")), number),
        "turned jpeg": lambda number: encoded(rotated_jpeg(1 + number, photos[number]), number),
        "cmyk jpeg": lambda number: encoded(jpeg(photos[number].convert("CMYK")), number),
        "png": lambda number: encoded(png(photos[number])),
        "gray png": lambda number: encoded(png(photos[number].convert("L"))),
        "black and white png": lambda number: encoded(png(photos[number].convert("1"))),
        "palette png": lambda number: encoded(png(photos[number].convert("P"))),
        "transparent png": lambda number: encoded(png(see_through(photos[number]))),
    }[kind]
    return write(folder / kind.replace(" ", "_"), [make(number) for number in range(7)])


def png(image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def see_through(image: Image.Image) -> Image.Image:
    image = image.convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


CASES = {
    "raw": ("raw", ""),
    "raw scaled": ("raw", "scale: 0.017"),
    "raw cropped": ("raw", "crop_size: 7 scale: 0.00390625"),
    "raw cropped, mean file": ("raw", 'crop_size: 8 mean_file: "MEAN" scale: 0.1'),
    "raw, mean file": ("raw", 'mean_file: "MEAN"'),
    "raw, one mean value": ("raw", "mean_value: 117.3 crop_size: 5"),
    "raw, mean values": ("raw", "mean_value: 104 mean_value: 117.1 mean_value: 123 scale: 0.3"),
    "raw, colour is not forced": ("raw", "force_gray: true"),
    "gray": ("gray", "mean_value: 33.3 crop_size: 6"),
    "jpeg": ("jpeg", ""),
    "jpeg cropped, mean file": ("jpeg", 'crop_size: 9 mean_file: "MEAN" scale: 0.1'),
    "jpeg to gray": ("jpeg", "force_gray: true"),
    "small jpeg": ("small jpeg", "crop_size: 11"),
    "gray jpeg": ("gray jpeg", ""),
    "gray jpeg to colour": ("gray jpeg", "force_color: true"),
    "turned jpeg": ("turned jpeg", ""),
    "turned jpeg to colour": ("turned jpeg", "force_color: true crop_size: 10"),
    "turned jpeg to gray": ("turned jpeg", "force_gray: true crop_size: 10"),
    "cmyk jpeg": ("cmyk jpeg", ""),
    "png": ("png", "crop_size: 8"),
    "png to gray": ("png", "force_gray: true"),
    "gray png": ("gray png", ""),
    "black and white png": ("black and white png", ""),
    "palette png": ("palette png", ""),
    "palette png to gray": ("palette png", "force_gray: true"),
    "transparent png": ("transparent png", ""),
    "transparent png to colour": ("transparent png", "force_color: true"),
}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Arrays, Arrays]]:
    """What both engines' layers bring in the TEST phase."""
    folder = tmp_path_factory.mktemp("data")
    mean = np.random.default_rng(0).uniform(90, 150, (3, HEIGHT, WIDTH))
    write_mean(mean, folder / "mean.binaryproto")
    jobs = []
    for number, (kind, transform) in enumerate(CASES.values()):
        lmdb = folder / kind.replace(" ", "_")
        lmdb = lmdb if lmdb.exists() else images_lmdb(folder, kind)
        transform = transform.replace("MEAN", str(folder / "mean.binaryproto"))
        text = data_layer(lmdb, transform, "batch_size: 4 rand_skip: 5")
        jobs.append((net_file(folder, text, str(number)), "TEST", 5))
    theirs = caffes(jobs, folder)
    mine = [ours(*job) for job in jobs]
    return {name: pair for name, *pair in zip(CASES, mine, theirs, strict=True)}


@pytest.mark.caffe
@pytest.mark.parametrize("name", CASES)
def test_batches_are_caffes(both: dict[str, tuple[Arrays, Arrays]], name: str) -> None:
    """Bit for bit, for five batches of four from seven images; printers' inks within 1."""
    mine, theirs = both[name]
    assert set(mine) == set(theirs)
    tolerance = 1 if "cmyk" in name else 0
    for blob, values in mine.items():
        np.testing.assert_allclose(values, theirs[blob], rtol=0, atol=tolerance, err_msg=blob)


@pytest.mark.caffe
def test_nets_of_several_layers_and_old_ones_are_caffes(tmp_path: Path) -> None:
    raw, gray = images_lmdb(tmp_path, "raw"), images_lmdb(tmp_path, "gray")
    crop = "batch_size: 2 scale: 0.5 crop_size: 7 mirror: false"
    one_top = data_layer(gray, data="batch_size: 3", more='top: "more"').replace('"d"', '"e"')
    old = data_layer(raw, data=crop).replace("layer {", "layers {").replace('"Data"', "DATA")
    texts = {
        "two layers": (data_layer(raw) + one_top, "TEST"),
        "upgraded": (old, "TEST"),
        "of no effect": (data_layer(raw, data=crop.replace("false", "true")), "TRAIN"),
        "of a phase": (
            data_layer(raw, "crop_size: 5", more='phase: TEST top: "data" top: "label"'),
            "TRAIN",
        ),
        "without chance": (data_layer(raw, "mean_value: 3.3"), "TRAIN"),
    }
    jobs = [(net_file(tmp_path, text, name), phase, 4) for name, (text, phase) in texts.items()]
    for job, theirs in zip(jobs, caffes(jobs, tmp_path), strict=True):
        mine = ours(*job)
        assert set(mine) == set(theirs)
        for blob, values in mine.items():
            np.testing.assert_array_equal(values, theirs[blob], err_msg=f"{job[0].name} {blob}")


def test_relative_paths_count_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images_lmdb(tmp_path, "raw")
    write_mean(np.full((3, HEIGHT, WIDTH), 7.0), tmp_path / "m.binaryproto")
    net = net_file(tmp_path, data_layer(Path("raw"), 'mean_file: "m.binaryproto"'))
    monkeypatch.chdir(tmp_path)
    relative = ours(net, "TEST", 1)["data"]
    absolute = ours(net_file(tmp_path, data_layer(tmp_path / "raw"), "b"), "TEST", 1)["data"]
    np.testing.assert_array_equal(relative, absolute - 7)


BAD_LAYERS = {
    "LevelDB": (data_layer(Path("raw")).replace("LMDB", "LEVELDB"), "'d': reads LevelDB - set"),
    "both": (data_layer(Path("raw"), "force_color: true force_gray: true"), "force_gray - keep"),
    "two means": (data_layer(Path("raw"), 'mean_file: "m" mean_value: 1'), "mean_value - keep"),
    "no mean": (data_layer(Path("raw"), 'mean_file: "nowhere"'), "nowhere: No such file"),
    "no LMDB": (data_layer(Path("nowhere")), "nowhere: no such folder"),
    "other kind": (
        'layer { name: "d" type: "DummyData" top: "data" dummy_data_param '
        "{ shape { dim: 1 dim: 2 } } }",
        "cannot read data of type 'DummyData' - give it an LMDB",
    ),
}


@pytest.mark.parametrize("name", BAD_LAYERS)
def test_layers_that_cannot_be_are_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, words = BAD_LAYERS[name]
    images_lmdb(tmp_path, "raw")
    monkeypatch.chdir(tmp_path)
    net = net_file(tmp_path, data_layer(Path("raw"), more='top: "more"') + text)
    with pytest.raises(LatentHashError, match=words):
        ours(net, "TEST", 1)
    with DatumReader(tmp_path / "raw"):  # what was opened before is closed again
        pass


PIXELS = np.zeros((3, HEIGHT, WIDTH), np.uint8)
BAD_DATUMS = {
    "no Datum": (b"\xff\xff", "", "is no Datum"),
    "no pixels": (Datum(channels=3, height=2, width=2).SerializeToString(), "", "has 0 bytes"),
    "few pixels": (
        Datum(channels=3, height=9, width=2, data=b"abc").SerializeToString(),
        "",
        r"\(3, 9, 2\) has 3 bytes of pixels",
    ),
    "no image": (encoded(b"no image"), "", "is a damaged image"),
    "empty image": (encoded(b""), "", "is a damaged image"),
    "cut image": (encoded(jpeg(photo(60, 60))[:-300]), "", "is a damaged image .*truncated"),
    "huge image": (encoded(png_of_size(40_000, 40_000)), "", "is a damaged image"),
    "16 bits": (
        encoded(png(Image.fromarray(np.full((9, 9), 999, np.uint16)))),
        "",
        "has pixels of mode I;16, not of 8 bits",
    ),
    "another size": (datum(PIXELS[:, 1:], 0), "", r"has shape \(3, 11, 15\), '0000' \(3, 12, 15"),
    "another colour": (datum(PIXELS[:1], 0), "crop_size: 5", r"has shape \(1, 5, 5\), '0000'"),
    "below the crop": (datum(PIXELS[:, :4], 0), "crop_size: 5", "is 15x4, less than crop_size 5"),
    "not the mean's": (
        datum(PIXELS[:, 1:], 0),
        'mean_file: "m"',
        r"11, 15\), the mean file \(3, 12",
    ),
    "too few means": (
        datum(np.zeros((4, HEIGHT, WIDTH), np.uint8), 0),
        "mean_value: 1 mean_value: 1 mean_value: 1",
        "has 4 channels, mean_value 3",
    ),
}


@pytest.mark.parametrize("name", BAD_DATUMS)
def test_bad_datums_are_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad, transform, words = BAD_DATUMS[name]
    write(tmp_path / "db", [noise(0), noise(1), bad, noise(3)])
    write_mean(PIXELS.astype(float), tmp_path / "m")
    monkeypatch.chdir(tmp_path)
    net = net_file(tmp_path, data_layer(Path("db"), transform))
    with pytest.raises(DataError, match=f"^db: '0002' .*{words}.* - "):
        ours(net, "TEST", 1)
