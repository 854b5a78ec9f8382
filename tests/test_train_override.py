"""Mirror and crop other than the net's own: in copies, on both engines."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tiny
from caffe_oracle import run_caffe
from latenthash.engines import get_engine
from latenthash.errors import DataError, NetError
from latenthash.lmdb_store import DatumReader
from latenthash.manifest import read_manifest
from latenthash.netdef import load_netdef
from latenthash.proto import read_net
from latenthash.train import Override, make_plan, train
from latenthash.train.override import set_transform, write_overridden

TOOL = Path(__file__).parent.parent / "tools/train.py"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    tiny.write_all(folder)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def transforms(net: Path) -> list[tuple[bool, int]]:
    """Mirror and crop of the data layers, TRAIN first."""
    params = [layer.transform_param for layer in read_net(net).layer if layer.type == "Data"]
    return [(param.mirror, param.crop_size) for param in params]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (Override(mirror=True), [(True, 0), (False, 0)]),
        (Override(crop=5), [(False, 5), (False, 5)]),
        (Override(mirror=True, crop=6), [(True, 6), (False, 6)]),
    ],
)
def test_training_images_are_mirrored_and_all_cropped(
    folder: Path, override: Override, expected: list[tuple[bool, int]]
) -> None:
    before = {path.name: path.read_bytes() for path in folder.glob("*.prototxt")}
    result = train(Path("solver.prototxt"), get_engine("fake"), override=override)
    assert transforms(Path("run/effective_net.prototxt")) == expected
    assert result.caffemodel == folder / "run/tiny_iter_20.caffemodel"  # where the solver says
    manifest = read_manifest(result.manifest, "train")
    side = override.crop or 8
    assert manifest["preprocess"]["crop"] == [side, side]
    assert load_netdef(Path("run/deploy.prototxt"), "TEST").blob_shapes["data"][2:] == (side, side)
    assert manifest["nets"]["net"]["file"] == str(folder / "run/overridden/net.prototxt")
    assert before == {path.name: path.read_bytes() for path in folder.glob("*.prototxt")}


def test_what_the_net_says_gives_way(folder: Path) -> None:
    tiny.write_net(folder, transform="mirror: true scale: 0.5 crop_size: 7 # as it was\n")
    write_overridden(Path("solver.prototxt"), Override(mirror=False, crop=4), Path("out"))
    net = Path("out/overridden/net.prototxt")
    assert transforms(net) == [(False, 4), (True, 4)]  # of the TEST phase only the crop
    assert "# as it was" in net.read_text()
    assert read_net(net).layer[0].transform_param.scale == 0.5


def test_without_an_override_nothing_is_copied(folder: Path) -> None:
    train(Path("solver.prototxt"), get_engine("fake"))
    assert not Path("run/overridden").exists()


def test_a_run_is_resumed_with_the_same_crop(folder: Path) -> None:
    solver = write_overridden(Path("solver.prototxt"), Override(crop=5), None)
    plan = make_plan(solver)
    assert plan.train.blob_shapes["data"] == (10, 1, 5, 5)
    assert plan.train.param_shapes["ip1"][0] == (6, 25)
    assert plan.settings.snapshot_prefix == str(folder / "run/tiny")


@pytest.mark.parametrize(
    "layer",
    [
        'layer { name: "d" type: "Data" }',
        'layer { name: "d" type: "Data" transform_param { } }',
        'layer { type: "Data" transform_param < mirror: false, crop_size: 9; scale: 2 > }',
        'layer {\n  type: "Data"\n  transform_param {\n    crop_size: 9 # kept\n  } # end\n}',
        'layers { type: DATA data_param { source: "a" mirror: false crop_size: 9 } }',
    ],
)
def test_a_layer_gets_the_fields_once_whatever_its_style(layer: str, tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(set_transform(layer, {"mirror": "true", "crop_size": "3"}))
    net = read_net(path)
    [found] = [*net.layer, *net.layers]
    assert (found.transform_param.mirror, found.transform_param.crop_size) == (True, 3)
    assert "9" not in path.read_text()
    assert (found.transform_param.scale == 2) == ("scale" in layer)
    assert ("# kept" in path.read_text()) == ("# kept" in layer)


@pytest.mark.parametrize(
    "form",
    [
        "input_param { shape { dim: 1 dim: 1 dim: 8 dim: 8 } }",
        "input_param { shape: { dim: [1, 1, 8, 8] } }",
    ],
)
def test_the_deploy_net_takes_images_of_the_crop(folder: Path, form: str) -> None:
    layer = f'layer {{ name: "data" type: "Input" top: "data" {form} }}'
    Path("deploy.prototxt").write_text(layer + tiny.body())
    write_overridden(Path("solver.prototxt"), Override(crop=5), None)
    found = load_netdef(Path("run/overridden/deploy.prototxt"), "TEST")
    assert found.blob_shapes["data"] == (1, 1, 5, 5)


@pytest.mark.parametrize("form", ["input_dim: 1 input_dim: 1 input_dim: 8 input_dim: 8",
                                  "input_shape { dim: 1 dim: 1 dim: 8 dim: 8 }"])  # fmt: skip
def test_inputs_of_old_syntax(folder: Path, form: str) -> None:
    Path("deploy.prototxt").write_text(f'input: "data" {form}\n' + tiny.body())
    write_overridden(Path("solver.prototxt"), Override(crop=5), None)
    found = load_netdef(Path("run/overridden/deploy.prototxt"), "TEST")
    assert found.blob_shapes["data"] == (1, 1, 5, 5)


def test_nets_of_a_phase_each(folder: Path) -> None:
    text = Path("net.prototxt").read_text()
    plain = text.replace("include { phase: TRAIN }", "").replace("include { phase: TEST }", "")
    first, second = plain.index("layer"), plain.index("layer", plain.index("layer") + 5)
    Path("train.prototxt").write_text(plain[:second] + tiny.body() + plain[plain.rindex("layer") :])
    Path("test.prototxt").write_text(plain[:first] + plain[second:])
    tiny.write_solver(folder, net=None, train_net='"train.prototxt"', test_net='"test.prototxt"')
    write_overridden(Path("solver.prototxt"), Override(mirror=True, crop=5), None)
    assert transforms(Path("run/overridden/train_net.prototxt")) == [(True, 5)]
    assert transforms(Path("run/overridden/test_net.prototxt")) == [(False, 5)]


def test_data_of_another_kind_cannot_be_overridden(folder: Path) -> None:
    text = Path("net.prototxt").read_text()
    Path("net.prototxt").write_text(text.replace('type: "Data"', 'type: "HDF5Data"'))
    with pytest.raises(NetError, match="has no Data layer to mirror or crop"):
        write_overridden(Path("solver.prototxt"), Override(mirror=True), None)


def test_what_cannot_be_is_refused(folder: Path) -> None:
    engine = get_engine("fake")
    with pytest.raises(NetError, match="a crop of 0 pixels"):
        Override(crop=0)
    with pytest.raises(DataError, match="crop_size 9, its images are 8x8"):
        train(Path("solver.prototxt"), engine, override=Override(crop=9))
    Path("deploy.prototxt").write_text(
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 8 } } }'
    )
    with pytest.raises(NetError, match="its input has 2 dimensions"):
        train(Path("solver.prototxt"), engine, override=Override(crop=5))
    text = Path("net.prototxt").read_text()
    start = text.index("layer", text.index("layer") + 5)
    shared = text[:start].replace("include { phase: TRAIN }", "")
    Path("net.prototxt").write_text(shared + text[text.index("layer", start + 5) :])
    with pytest.raises(NetError, match="layer 'data' feeds training and test"):
        train(Path("solver.prototxt"), engine, override=Override(mirror=True))
    write_overridden(Path("solver.prototxt"), Override(mirror=False), None)
    assert transforms(Path("run/overridden/net.prototxt")) == [(False, 0)]


_FED = """
import numpy as np, _caffe
net = _caffe.Net("run/effective_net.prototxt", 0)
net._forward(0, 0)
np.save("fed.npy", net._blobs[0].data)
"""


def _is_mirrored_window(image: np.ndarray, stored: np.ndarray) -> bool:
    windows = [stored[:, top : top + 6, left : left + 6] for top in range(3) for left in range(3)]
    return any(np.array_equal(image, window[..., ::-1]) for window in windows)


@pytest.mark.caffe
def test_caffe_crops_and_mirrors_as_told(folder: Path) -> None:
    train(Path("solver.prototxt"), get_engine("fake"), override=Override(mirror=True, crop=6))
    run_caffe(_FED, cwd=folder)
    fed = np.load("fed.npy")
    assert fed.shape == (10, 1, 6, 6)
    with DatumReader(Path("train_lmdb")) as reader:
        stored = [pixels.astype(np.float32) * np.float32(0.01) for _, pixels, _ in reader][:10]
    mirrored = [_is_mirrored_window(*pair) for pair in zip(fed, stored, strict=True)]
    assert 0 < sum(mirrored) < 10  # half of the time


@pytest.mark.parametrize("name", [pytest.param("caffe", marks=pytest.mark.caffe), "torch"])
def test_both_engines_train_the_copy(folder: Path, name: str) -> None:
    if name == "torch":
        pytest.importorskip("torch")
    options = ["--engine", name, "--threads", "1", "--mirror", "--crop", "6", "--json"]
    done = subprocess.run(
        [sys.executable, str(TOOL), "--solver", "solver.prototxt", *options],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["final"]["accuracy"] == 1.0
    assert transforms(Path("run/effective_net.prototxt")) == [(True, 6), (False, 6)]
