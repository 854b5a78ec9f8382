"""Whole nets on the torch engine, beside real Caffe."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import tiny
from latenthash.engines import Net, get_engine
from latenthash.errors import EngineError, NetError
from latenthash.netdef import load_netdef
from latenthash.weights import read_weights, write_weights

pytest.importorskip("torch")

from latenthash.engines.torch import TorchEngine

PROTOTXT = Path(__file__).parent.parent / "prototxt"


def random_weights(deploy: Path, path: Path) -> Path:
    """Weights that keep activations of a useful size through many layers."""
    random = np.random.default_rng(0)
    weights = {
        layer: [
            random.normal(0, (2 / np.prod(shape[1:], dtype=int)) ** 0.5, shape).astype(np.float32)
            for shape in shapes
        ]
        for layer, shapes in load_netdef(deploy, "TEST").param_shapes.items()
    }
    write_weights(weights, path)
    return path


def images(count: int, shape: tuple[int, ...] = (1, 8, 8), seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 30, (count, *shape)).astype(np.float32)


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    deploy = tmp_path / "deploy.prototxt"
    tiny.write_deploy(deploy)
    weights = random_weights(deploy, tmp_path / "tiny.caffemodel")
    with get_engine("torch", 1).load(deploy, weights) as net:
        yield net


def inception(name: str, bottom: str, sizes: tuple[int, int, int, int, int, int]) -> str:
    """GoogLeNet's module: 1x1, 3x3 and 5x5 behind a reduction, and pooling, side by side."""

    def conv(top: str, below: str, outputs: int, kernel: int = 1) -> str:
        return f"""
layer {{ name: "{name}/{top}" type: "Convolution" bottom: "{below}" top: "{name}/{top}"
  convolution_param {{ num_output: {outputs} kernel_size: {kernel} pad: {kernel // 2} }} }}
layer {{ name: "{name}/relu_{top}" type: "ReLU" bottom: "{name}/{top}" top: "{name}/{top}" }}"""

    branches = [f"{name}/{top}" for top in ("1x1", "3x3", "5x5", "pool_proj")]
    bottoms = " ".join(f'bottom: "{branch}"' for branch in branches)
    return (
        conv("1x1", bottom, sizes[0])
        + conv("3x3_reduce", bottom, sizes[1])
        + conv("3x3", f"{name}/3x3_reduce", sizes[2], 3)
        + conv("5x5_reduce", bottom, sizes[3])
        + conv("5x5", f"{name}/5x5_reduce", sizes[4], 5)
        + f"""
layer {{ name: "{name}/pool" type: "Pooling" bottom: "{bottom}" top: "{name}/pool"
  pooling_param {{ pool: MAX kernel_size: 3 stride: 1 pad: 1 }} }}"""
        + conv("pool_proj", f"{name}/pool", sizes[5])
        + f"""
layer {{ name: "{name}/output" type: "Concat" {bottoms} top: "{name}/output" }}"""
    )


GOOGLENET_LIKE = (
    """
name: "googlenet_like"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 3, 96, 96] } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 16 kernel_size: 7 stride: 2 pad: 3 } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
  pooling_param { pool: MAX kernel_size: 3 stride: 2 } }
layer { name: "norm1" type: "LRN" bottom: "pool1" top: "norm1"
  lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 } }"""
    + inception("3a", "norm1", (8, 6, 12, 4, 6, 5))
    + """
layer { name: "pool3" type: "Pooling" bottom: "3a/output" top: "pool3"
  pooling_param { pool: MAX kernel_size: 3 stride: 2 } }"""
    + inception("4a", "pool3", (10, 8, 14, 4, 8, 6))
    + inception("4b", "4a/output", (10, 8, 14, 4, 8, 6))
    + """
layer { name: "pool5" type: "Pooling" bottom: "4b/output" top: "pool5"
  pooling_param { pool: AVE global_pooling: true } }
layer { name: "drop" type: "Dropout" bottom: "pool5" top: "pool5"
  dropout_param { dropout_ratio: 0.4 } }
layer { name: "classifier" type: "InnerProduct" bottom: "pool5" top: "classifier"
  inner_product_param { num_output: 10 } }
layer { name: "prob" type: "Softmax" bottom: "classifier" top: "prob" }
"""
)


@pytest.mark.caffe
def test_a_net_like_googlenet_is_caffes(tmp_path: Path) -> None:
    deploy = tmp_path / "deploy.prototxt"
    deploy.write_text(GOOGLENET_LIKE)
    assert_as_caffe(deploy, tmp_path)


@pytest.mark.caffe
@pytest.mark.parametrize(
    "name",
    [
        "lenet_48",
        pytest.param("alexnet_48", marks=pytest.mark.slow),
        pytest.param("vgg16_48", marks=pytest.mark.slow),
    ],
)
def test_a_shipped_net_is_caffes(name: str, tmp_path: Path) -> None:
    assert_as_caffe(PROTOTXT / name / "deploy.prototxt", tmp_path)


def assert_as_caffe(deploy: Path, folder: Path) -> None:
    """All blobs of a net with random weights, on both engines."""
    weights = random_weights(deploy, folder / "random.caffemodel")
    definition = load_netdef(deploy, "TEST")
    [data] = definition.data_layers[0].tops
    batch = images(2, definition.blob_shapes[data][1:])
    blobs = [blob for blob in definition.blob_shapes if blob != data]
    found = []
    for engine in ("caffe", "torch"):
        with get_engine(engine).load(deploy, weights) as net:
            found.append(net.forward(batch, blobs))
    for blob in blobs:
        expected = found[0][blob]
        scale = float(np.abs(expected).max())
        np.testing.assert_allclose(found[1][blob] / scale, expected / scale, atol=1e-4)


def test_batches_of_any_size(net: Net) -> None:
    whole = net.forward(images(9), ["codes"])["codes"]
    assert whole.dtype == np.float32
    for size in (1, 4, 9, 2):
        part = net.forward(images(9)[:size], ["codes"])["codes"]
        np.testing.assert_allclose(part, whole[:size], rtol=0, atol=1e-6)  # of 0 to 1


def test_batches_that_are_strided_or_may_not_be_written(net: Net) -> None:
    batch = images(6)
    expected = net.forward(batch[::2].copy(), ["codes"])["codes"]
    batch.flags.writeable = False
    np.testing.assert_array_equal(net.forward(batch[::2], ["codes"])["codes"], expected)


@pytest.mark.parametrize(
    "batch",
    [images(1).astype(np.float64), images(1)[0], images(0), np.zeros((1, 1, 8, 9), np.float32)],
)
def test_wrong_batch(net: Net, batch: NDArray[np.float32]) -> None:
    with pytest.raises(NetError, match=r"takes float32 \(N, 1, 8, 8\)"):
        net.forward(batch, ["codes"])


def test_missing_blob(net: Net) -> None:
    with pytest.raises(NetError, match=r"no blob 'fc7' - there are data, ip1"):
        net.forward(images(1), ["codes", "fc7"])


def test_from_several_threads(net: Net) -> None:
    batches = [images(1 + index % 3, seed=index) for index in range(12)]
    expected = [net.forward(batch, ["codes"])["codes"] for batch in batches]
    found: dict[int, NDArray[np.float32]] = {}

    def work(index: int) -> None:
        found[index] = net.forward(batches[index], ["codes"])["codes"]

    workers = [threading.Thread(target=work, args=(index,)) for index in range(len(batches))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for index, values in enumerate(expected):
        np.testing.assert_array_equal(found[index], values)


def test_a_closed_net_says_so(net: Net) -> None:
    net.close()
    net.close()
    with pytest.raises(EngineError, match="the net is closed"):
        net.forward(images(1), ["codes"])


def test_weights_of_another_net_are_refused(tmp_path: Path) -> None:
    deploy = tmp_path / "deploy.prototxt"
    tiny.write_deploy(deploy)
    write_weights({"ip1": [np.zeros((3, 3), np.float32)]}, tmp_path / "w.caffemodel")
    with pytest.raises(NetError, match=r"trained with deploy\.prototxt"):
        get_engine("torch").load(deploy, tmp_path / "w.caffemodel")


@pytest.mark.parametrize("kind", ["alexnet-like", "batch norm"])
def test_bfloat16_is_near_float32(kind: str, tmp_path: Path) -> None:
    body = {
        "alexnet-like": tiny.body(),
        "batch norm": 'layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn" }\n'
        'layer { name: "scale" type: "Scale" bottom: "bn" top: "bn" '
        "scale_param { bias_term: true } }\n"
        'layer { name: "conv" type: "Convolution" bottom: "bn" top: "conv" '
        "convolution_param { num_output: 4 kernel_size: 3 } }\n"
        + tiny.body().replace('bottom: "data"', 'bottom: "conv"'),
    }[kind]
    deploy = tiny.write_deploy(tmp_path / "deploy.prototxt", body)
    weights = random_weights(deploy, tmp_path / "tiny.caffemodel")
    values = read_weights(weights)
    values |= {"bn": [np.abs(blob) + 1 for blob in values["bn"]]} if "bn" in values else {}
    write_weights(values, weights)
    found = []
    for precision in ("float32", "bfloat16"):
        with TorchEngine(1, precision).load(deploy, weights) as net:
            found.append(net.forward(images(4) / 30, ["ip1", "codes"]))
    for name, exact in found[0].items():
        assert found[1][name].dtype == np.float32
        scale = np.abs(exact).max()
        error = float(np.abs(found[1][name] - exact).max() / scale)
        assert 0 < error < 0.03, name


def test_no_such_precision() -> None:
    with pytest.raises(EngineError, match=r"float16'.* - choose float32 or bfloat16"):
        TorchEngine(1, "float16")


def test_without_pytorch_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("latenthash.engines.torch")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(EngineError, match=r"not installed - pip install '\.\[torch\]'"):
        get_engine("torch")
