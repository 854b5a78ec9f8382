"""The shipped nets: equal to their builders, shaped as their sources, trained by real Caffe."""

from __future__ import annotations

import json
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format

from caffe_oracle import caffe_shapes, run_caffe
from latenthash.errors import NetError
from latenthash.lmdb_store import DatumWriter
from latenthash.netdef import NetDef, load_netdef
from latenthash.nets import ADVICE, NETS, NetFiles, build, dsl, find_family, texts, write_net
from latenthash.proto import write_mean
from latenthash.proto.caffe_pb2 import NetParameter

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = {
    "lenet_48": ("lenet", 48),
    "alexnet_20": ("alexnet", 20),
    "alexnet_48": ("alexnet", 48),
    "alexnet_128": ("alexnet", 128),
    "vgg16_48": ("vgg16", 48),
    "vgg19_8": ("vgg19", 8),
    "efficientnet_lite0_48": ("efficientnet_lite0", 48),
}
FEATURES = {"lenet": "ip1", "quick": "ip1", "efficientnet_lite0": "pool"}
CAFFENET = {  # from BVLC's bvlc_reference_caffenet.caffemodel
    "conv1": ((96, 3, 11, 11), (96,)),
    "conv2": ((256, 48, 5, 5), (256,)),
    "conv3": ((384, 256, 3, 3), (384,)),
    "conv4": ((384, 192, 3, 3), (384,)),
    "conv5": ((256, 192, 3, 3), (256,)),
    "fc6": ((4096, 9216), (4096,)),
    "fc7": ((4096, 4096), (4096,)),
}
FC8 = 4097 * 1000
TRUNK_PARAMETERS = {  # published totals less the 1000-way fc8 that the hashing nets replace
    "alexnet": 60_965_224 - FC8,
    "vgg16": 138_357_544 - FC8,
    "vgg19": 143_667_240 - FC8,
}


def load(files: NetFiles, folder: Path, phase: str) -> NetDef:
    """The train_val net in a phase, over images of the family's usual size."""
    write_net(files, folder, replace=True)
    family = NETS[files.name.rsplit("_", 1)[0]]
    image = (family.channels, family.resize, family.resize)
    return load_netdef(folder / "train_val.prototxt", phase, {"data": image})


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files_are_what_the_builder_writes(name: str) -> None:
    files = build(*SHIPPED[name])
    assert files.name == name
    for file, text in texts(files).items():
        assert (ROOT / "prototxt" / name / file).read_text() == text, f"make_net.py writes {file}"


@pytest.mark.parametrize("family", NETS)
def test_both_phases_and_deploy_fit_together(family: str, tmp_path: Path) -> None:
    files = build(family, 24, 7)
    train, test = load(files, tmp_path, "TRAIN"), load(files, tmp_path, "TEST")
    deploy = load_netdef(tmp_path / "deploy.prototxt", "TEST")
    size, channels = NETS[family].crop, NETS[family].channels
    for net, batch in ((train, NETS[family].batches[0]), (test, NETS[family].batches[1])):
        assert net.blob_shapes["loss"] == () and net.layer("loss").tops == ("loss",)
        assert (net.bits, net.classes) == (24, 7)
        assert net.blob_shapes["data"] == (batch, channels, size, size)
    assert "accuracy" in test.blob_shapes and "accuracy" not in train.blob_shapes
    assert deploy.blob_shapes["data"] == (1, channels, size, size)
    assert deploy.blob_shapes["prob"] == (1, 7) and deploy.blob_shapes[deploy.code_blob] == (1, 24)
    assert deploy.feature_blob == train.feature_blob == FEATURES.get(family, "fc7")
    trained = {name: shapes for name, shapes in train.param_shapes.items() if "label" not in name}
    assert deploy.param_shapes == trained


@pytest.mark.parametrize("family", NETS)
def test_only_training_is_random_or_frozen_by_settings(family: str) -> None:
    files = build(family, 24, 7)
    train, test = files.train_val.layer[:2]
    assert train.transform_param.mirror == NETS[family].mirror and not test.transform_param.mirror
    text = text_format.MessageToString(files.deploy)
    assert "filler" not in text and "lr_mult" not in text


def test_alexnet_takes_bvlcs_weights(tmp_path: Path) -> None:
    net = load(build("alexnet", 48), tmp_path, "TRAIN")
    trunk = {name: net.param_shapes[name] for name in CAFFENET}
    assert trunk == CAFFENET
    assert set(net.param_shapes) - set(CAFFENET) == {"latent", "classifier"}
    names = [layer.name for layer in net.layers]
    assert names.index("pool1") < names.index("norm1") < names.index("conv2")


@pytest.mark.parametrize("family", TRUNK_PARAMETERS)
def test_trunks_have_their_sources_number_of_parameters(family: str, tmp_path: Path) -> None:
    net = load(build(family, 8), tmp_path, "TRAIN")
    new = ("latent", "classifier", "label_minus_class")
    trunk = [shapes for name, shapes in net.param_shapes.items() if name not in new]
    assert sum(prod(shape) for shapes in trunk for shape in shapes) == TRUNK_PARAMETERS[family]


def test_papers_solver() -> None:
    files = build("alexnet", 48)
    solver = files.solver
    assert (solver.base_lr, solver.gamma) == pytest.approx((0.001, 0.1))
    assert (solver.momentum, solver.weight_decay) == pytest.approx((0.9, 0.0005))
    assert (solver.lr_policy, solver.stepsize, solver.max_iter) == ("step", 25000, 50000)
    layers = {layer.name: layer for layer in files.train_val.layer}
    assert [spec.lr_mult for spec in layers["classifier"].param] == [10, 20]
    assert files.train_val.layer[0].data_param.batch_size == 32
    assert files.train_val.layer[0].transform_param.crop_size == 227


def test_thesis_solver_and_frozen_layers() -> None:
    files = build("vgg19", 8)
    assert files.solver.max_iter == 3 * 272  # 8677 images in batches of 32
    assert (files.solver.base_lr, files.solver.momentum) == pytest.approx((1e-4, 0.9))
    learning = {
        layer.name for layer in files.train_val.layer if any(spec.lr_mult for spec in layer.param)
    }
    assert learning == {"latent", "classifier"}
    means = files.train_val.layer[0].transform_param.mean_value
    assert list(means) == pytest.approx([103.939, 116.779, 123.68])
    kinds = {layer.name: layer.type for layer in files.train_val.layer}
    assert kinds["loss"] == "SigmoidCrossEntropyLoss" and kinds["latent_drop"] == "Dropout"


def test_sources_and_numbers_of_images() -> None:
    files = build("vgg19", 8, 5, "sets/mine", "nets/x", train_images=100, val_images=31)
    assert files.train_val.layer[1].data_param.source == "sets/mine/val_lmdb"
    assert files.solver.net == "nets/x/train_val.prototxt"
    assert list(files.solver.test_iter) == [4] and files.solver.max_iter == 3 * 4
    quick = build("quick", 8, 5, "sets/mine")
    assert quick.train_val.layer[0].transform_param.mean_file == "sets/mine/mean.binaryproto"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("resnet", 48, 10), "'resnet'.*lenet"),
        (("lenet", 0, 10), "0 bits.*1 to 1024"),
        (("lenet", 1025, 10), "1025 bits"),
        (("lenet", 48, 1), "1 classes"),
        (("lenet", 48, 10, None, None, 0), "0 training"),
    ],
)
def test_what_cannot_be_built(arguments: Any, problem: str) -> None:
    with pytest.raises(NetError, match=problem):
        build(*arguments)


def test_another_net_is_not_replaced_unasked(tmp_path: Path) -> None:
    first, second = build("lenet", 48, 10), build("lenet", 48, 11)
    paths = write_net(first, tmp_path)
    assert write_net(first, tmp_path) == paths
    with pytest.raises(NetError, match="another net is there"):
        write_net(second, tmp_path)
    assert paths[0].read_text() == texts(first)["train_val.prototxt"]
    write_net(second, tmp_path, replace=True)
    assert paths[0].read_text() == texts(second)["train_val.prototxt"]


def test_registry() -> None:
    assert all(find_family(name).name == name for name in NETS)
    assert "20" in ADVICE and "128" in ADVICE


@pytest.mark.caffe
@pytest.mark.parametrize(
    "names",
    [
        ["lenet_48", "alexnet_20"],
        pytest.param(
            ["alexnet_48", "alexnet_128", "vgg16_48", "vgg19_8", "efficientnet_lite0_48"],
            marks=pytest.mark.slow,
        ),
    ],
    ids=["small", "all"],
)
def test_deploy_shapes_are_caffes(names: list[str]) -> None:
    files = [(ROOT / "prototxt" / name / "deploy.prototxt", "TEST") for name in names]
    for (path, phase), caffe in zip(files, caffe_shapes(files), strict=True):
        net = load_netdef(path, phase)
        assert net.blob_shapes == {name: caffe.blobs[name] for name in net.blob_shapes}
        assert net.param_shapes == caffe.params


_TRAIN = """
import json, sys
import _caffe, numpy
steps = json.load(sys.stdin)
solver = _caffe.get_solver("net/solver.prototxt")
blobs = dict(zip(solver.net._blob_names, solver.net._blobs))
layers = dict(zip(solver.net._layer_names, solver.net.layers))
before = {name: [b.data.copy() for b in l.blobs] for name, l in layers.items()}
losses = []
for _ in range(steps):
    solver.step(1)
    losses.append(float(blobs["loss"].data))
test = solver.test_nets[0]
test.share_with(solver.net)
test._forward(0, len(test.layers) - 1)
tested = dict(zip(test._blob_names, test._blobs))
print(json.dumps({
    "losses": losses,
    "accuracy": float(tested["accuracy"].data),
    "changed": [name for name, arrays in before.items()
                if any((a != b.data).any() for a, b in zip(arrays, layers[name].blobs))],
    "labels": blobs["label"].data.tolist(),
    "one_hot": blobs["one_hot"].data.tolist() if "one_hot" in blobs else None,
}))
"""


def train(family: str, folder: Path, steps: int, batches: tuple[int, int], **solver: Any) -> Any:
    """Some steps of Caffe's solver on coloured noise, one colour a class."""
    files = build(family, 8, 5, "data", "net", val_images=20)
    for layer, batch in zip(files.train_val.layer[:2], batches, strict=True):
        layer.data_param.batch_size = batch
    for name, value in ({"test_interval": 1000, "snapshot": 0, "display": 0} | solver).items():
        setattr(files.solver, name, value)
    files.solver.test_initialization = False
    write_net(files, folder / "net")
    write_data(NETS[family].channels, NETS[family].resize, folder / "data")
    return json.loads(run_caffe(_TRAIN, json.dumps(steps), folder))


def write_data(channels: int, size: int, folder: Path) -> None:
    rng = np.random.default_rng(1)
    colours = rng.integers(0, 200, (5, channels))
    for split, count in (("train", 40), ("val", 20)):
        with DatumWriter(folder / f"{split}_lmdb") as writer:
            for i in range(count):
                noise = rng.integers(0, 50, (size, size, channels))
                writer.put(f"{i:03}", (noise + colours[i % 5]).astype(np.uint8), i % 5)
    write_mean(np.full((channels, size, size), 120, np.float32), folder / "mean.binaryproto")


@pytest.mark.caffe
@pytest.mark.parametrize("family", ["lenet", "quick"])
def test_caffe_trains_from_scratch(family: str, tmp_path: Path) -> None:
    result = train(family, tmp_path, 120, (10, 20), base_lr=0.01 if family == "lenet" else 0.001)
    assert np.mean(result["losses"][-10:]) < 0.75 * np.mean(result["losses"][:10])
    assert result["accuracy"] > 0.5
    assert set(result["changed"]) >= {"conv1", "ip1", "latent", "classifier"}


@pytest.mark.caffe
@pytest.mark.slow
@pytest.mark.parametrize("family", ["alexnet", "vgg16", "vgg19", "efficientnet_lite0"])
def test_caffe_runs_a_step_of_large_nets(family: str, tmp_path: Path) -> None:
    result = train(family, tmp_path, 1, (2, 2))
    assert np.isfinite(result["losses"]).all() and result["losses"][0] > 0
    learns = {"latent", "classifier"}
    assert learns <= set(result["changed"])
    if family == "vgg19":
        assert learns == set(result["changed"])


@pytest.mark.caffe
def test_one_hot_head_learns_from_plain_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """VGG19's head, rates and preprocessing on a trunk of one frozen layer."""

    def trunk() -> list[Any]:
        pooled = dsl.pool("pool1", "data", 4, 4)
        weight = dsl.gaussian(0.01)
        fc7 = dsl.inner("fc7", "pool1", 64, weight=weight, rates=dsl.FROZEN)
        return [pooled, fc7, dsl.relu("relu7", "fc7")]

    tiny = replace(NETS["vgg19"], name="tiny", resize=10, crop=8, trunk=trunk)
    monkeypatch.setitem(NETS, "tiny", tiny)
    result = train("tiny", tmp_path, 400, (10, 20), base_lr=0.1)
    np.testing.assert_array_equal(
        result["one_hot"], np.eye(5)[np.array(result["labels"], dtype=int)]
    )
    assert set(result["changed"]) == {"latent", "classifier"}
    assert result["accuracy"] > 0.8
    assert np.mean(result["losses"][-10:]) < 0.5 * np.mean(result["losses"][:10])


def test_one_hot_layers_are_stock_caffe() -> None:
    """None of a fork's layers, and no Python layer."""
    kinds = [layer.type for layer in dsl.one_hot("label", 3)]
    assert kinds == ["Reshape", "Tile", "Bias", "AbsVal", "Power", "ReLU"]
    net = NetParameter(layer=dsl.one_hot("label", 3))
    assert list(net.layer[2].blobs[0].data) == [0, -1, -2]
