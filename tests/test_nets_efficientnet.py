"""EfficientNet-Lite0 as a net of Caffe's: its numbers, its padding, its training."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
import pytest

from caffe_layers import run_nets
from latenthash.errors import NetError
from latenthash.netdef import NetDef, load_netdef
from latenthash.nets import NETS, build, dsl, features, write_net
from latenthash.nets.efficientnet import STAGES
from latenthash.nets.folding import fold_net, foldables
from latenthash.proto import read_net, write_text
from latenthash.proto.caffe_pb2 import LayerParameter, NetParameter

ROOT = Path(__file__).resolve().parent.parent
FAMILY = "efficientnet_lite0"
PUBLISHED = 4_652_008  # parameters, with the classifier of 1000 classes
ENLARGED = 3 * 32 * 7 + (96 + 240) * 7 + (144 + 672) * 11  # zeros before kernels of stride 2
BVLC = {  # layer types of Caffe 1.0 that the nets are made of
    *("Input", "Data", "Convolution", "BatchNorm", "Scale", "ReLU", "Power", "Eltwise"),
    *("Pooling", "Dropout", "InnerProduct", "Sigmoid", "Softmax", "SoftmaxWithLoss", "Accuracy"),
}


def deploy(folder: Path, size: int = 128) -> NetDef:
    write_net(build(FAMILY, 48, size=size), folder, replace=True)
    return load_netdef(folder / "deploy.prototxt", "TEST")


def learned(net: NetDef) -> int:
    """Parameters of the trunk that gradients change."""
    return sum(
        prod(shape)
        for name, shapes in net.param_shapes.items()
        for shape in shapes
        if net.layer(name).type in ("Convolution", "Scale")
    )


def test_it_has_the_published_number_of_parameters(tmp_path: Path) -> None:
    assert learned(deploy(tmp_path)) - ENLARGED == PUBLISHED - 1281 * 1000


@pytest.mark.parametrize("size", [128, 224])
def test_sides_halve_five_times(size: int, tmp_path: Path) -> None:
    net = deploy(tmp_path, size)
    assert net.blob_shapes["data"] == (1, 3, size, size)
    assert net.blob_shapes["stem"] == (1, 32, size // 2, size // 2)
    assert net.blob_shapes["head"] == (1, 1280, size // 32, size // 32)
    assert net.blob_shapes[net.feature_blob] == (1, 1280, 1, 1)
    assert net.bits == 48
    added = {name for name in net.blob_shapes if name.endswith("_add")}
    assert len(added) == sum(stage.blocks - 1 for stage in STAGES) == 9


def test_every_caffe_has_its_layers() -> None:
    files = build(FAMILY, 48)
    nets = (files.train_val, files.deploy, features(FAMILY))
    assert {layer.type for net in nets for layer in net.layer} == BVLC


def test_the_shipped_net_for_features_is_the_builders() -> None:
    shipped = read_net(ROOT / "prototxt" / FAMILY / "deploy.prototxt")
    assert shipped == features(FAMILY, 224)
    assert {layer.type for layer in shipped.layer}.isdisjoint({"BatchNorm", "Scale"})


@pytest.mark.parametrize("size", [0, 16, 100, 225])
def test_sizes_that_would_be_padded_otherwise_are_refused(size: int) -> None:
    with pytest.raises(NetError, match=f"{size} x {size} - give a multiple of 32"):
        build(FAMILY, 48, size=size)
    with pytest.raises(NetError, match="alexnet for images of 128 x 128 - give 227"):
        build("alexnet", 48, size=128)
    assert build("alexnet", 48, size=227) == build("alexnet", 48)


def test_a_size_brings_its_resize() -> None:
    files = build(FAMILY, 48, size=224)
    assert files.train_val.layer[0].transform_param.crop_size == 224
    assert NETS[FAMILY].sized(224).resize == 252


def test_statistics_can_be_fixed(tmp_path: Path) -> None:
    normal, fixed = build(FAMILY, 48), build(FAMILY, 48, fixed_statistics=True)
    assert fixed.deploy == normal.deploy and fixed.solver == normal.solver
    kept = [x.batch_norm_param for x in fixed.train_val.layer if x.type == "BatchNorm"]
    assert len(kept) == 49 and all(norm.use_global_stats for norm in kept)
    for layer in fixed.train_val.layer:
        layer.batch_norm_param.ClearField("use_global_stats")
        if layer.type != "BatchNorm":
            layer.ClearField("batch_norm_param")
    assert fixed.train_val == normal.train_val


def same_padded(images: np.ndarray, kernels: np.ndarray, stride: int) -> np.ndarray:
    """TensorFlow's SAME convolution of one channel at a time, as a loop over windows."""
    size, kernel = images.shape[-1], kernels.shape[-1]
    outputs = -(-size // stride)
    pad = max((outputs - 1) * stride + kernel - size, 0)
    before, after = pad // 2, pad - pad // 2
    padded = np.pad(images, ((0, 0), (0, 0), (before, after), (before, after)))
    found = np.zeros((*images.shape[:2], outputs, outputs))
    for y in range(outputs):
        for x in range(outputs):
            top, left = y * stride, x * stride
            window = padded[:, :, top : top + kernel, left : left + kernel]
            found[:, :, y, x] = (window * kernels[:, 0]).sum((2, 3))
    return found


@pytest.mark.caffe
def test_padding_is_tensorflows_in_caffe(tmp_path: Path) -> None:
    """Depthwise layers of the net, alone, with the zeros that the importer puts in."""
    net = deploy(tmp_path)
    random = np.random.default_rng(0)
    jobs, expected = [], []
    for name, kernel in (("block1", 3), ("block2", 3), ("block3", 5), ("block4", 5)):
        layer = net.layer(f"{name}_depthwise")
        outputs = layer.param.convolution_param.num_output = 6
        layer.param.convolution_param.group = outputs
        size, stride = 8, layer.param.convolution_param.stride[0:1] or [1]
        images = random.normal(size=(2, outputs, size, size)).astype(np.float32)
        kernels = random.normal(size=(outputs, 1, kernel, kernel)).astype(np.float32)
        expected.append(same_padded(images, kernels, stride[0]))
        net_file = tmp_path / f"{name}.prototxt"
        image = dsl.input_layer(outputs, size)
        image.input_param.shape[0].dim[0] = 2
        layer.param.bottom[0] = "data"
        zeros = layer.param.convolution_param.kernel_size[0] - kernel
        assert zeros == stride[0] - 1
        values = np.pad(kernels, ((0, 0), (0, 0), (zeros, 0), (zeros, 0)))
        blob = layer.param.blobs.add()
        blob.shape.dim.extend(values.shape)
        blob.data.extend(values.ravel())
        write_text(NetParameter(layer=[image, layer.param]), net_file)
        jobs.append((net_file, None, {"blob data": images}, "TEST", False))
    found = run_nets(jobs, tmp_path)
    for (file, *_), arrays, values in zip(jobs, found, expected, strict=True):
        np.testing.assert_allclose(arrays[f"blob {file.stem}_depthwise"], values, atol=1e-5)


@pytest.mark.caffe
def test_relu6_learns_in_caffe(tmp_path: Path) -> None:
    """Values and gradients of min(max(x, 0), 6); for nets that run, in place."""
    x = np.array([-3, -0.5, 0.5, 3, 5.9, 6.1, 9], np.float32).reshape(1, 1, 1, 7)
    jobs = []
    for top in ("x", "y"):
        source = LayerParameter(name="x", type="Input", top=["x"])
        source.input_param.shape.add(dim=x.shape)
        net = NetParameter(layer=[source, *dsl.relu6("x", top)], force_backward=True)
        write_text(net, tmp_path / f"{top}.prototxt")
        given = {"blob x": x, "diff y": np.full(x.shape, 2, np.float32)}
        given = given if top == "y" else {"blob x": x}
        jobs.append((tmp_path / f"{top}.prototxt", None, given, "TRAIN", top == "y"))
    in_place, apart = run_nets(jobs, tmp_path)
    np.testing.assert_allclose(in_place["blob x"], np.clip(x, 0, 6), atol=1e-6)
    np.testing.assert_allclose(apart["blob y"], np.clip(x, 0, 6), atol=1e-6)
    np.testing.assert_array_equal(apart["diff x"], np.where((x > 0) & (x < 6), 2, 0))


def chain(*layers: LayerParameter) -> NetParameter:
    return NetParameter(layer=[dsl.input_layer(3, 8), *layers])


def test_what_cannot_be_folded_stays() -> None:
    conv = dsl.conv("c", "data", 4, 3, weight=dsl.msra(), bias=None)
    norm, scale = dsl.batch_norm("c", epsilon=1e-3, kept=0.9)
    assert [f.last.name for f in foldables(chain(conv, norm, scale))] == ["c_scale"]
    assert [f.last.name for f in foldables(chain(conv, norm, dsl.relu("r", "c")))] == ["c_bn"]
    by_batch = LayerParameter()
    by_batch.CopyFrom(norm)
    by_batch.batch_norm_param.use_global_stats = False
    norm.top[0], scale.bottom[0], scale.top[0] = "n", "n", "n"
    other = dsl.unary("Sigmoid", "other", "c")
    for net in (chain(conv, by_batch), chain(conv, norm, scale, other), chain(conv, other)):
        assert list(foldables(net)) == []
        assert fold_net(net) == net
    folded = fold_net(chain(conv, norm, scale, dsl.relu("r", "n")))
    assert [(layer.name, *layer.top) for layer in folded.layer] == [
        ("data", "data"),
        ("c", "n"),
        ("r", "n"),
    ]
    assert folded.layer[1].convolution_param.bias_term
