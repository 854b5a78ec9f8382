"""Nets that average over a picture and its mirror image, on both engines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from latenthash import nets
from latenthash.engines import get_engine
from latenthash.errors import NetError
from latenthash.netdef import load_netdef
from latenthash.nets.mirroring import mirror_net, mirror_weights
from latenthash.proto import write_text
from latenthash.proto.caffe_pb2 import NetParameter
from latenthash.weights import Weights, write_weights

ENGINES = ["torch", pytest.param("caffe", marks=pytest.mark.caffe)]
Array = NDArray[np.float32]


def lenet() -> NetParameter:
    return nets.build("lenet", 8, 10).deploy


def written(net: NetParameter, weights: Weights, folder: Path) -> tuple[Path, Path]:
    folder.mkdir()
    deploy, file = folder / "deploy.prototxt", folder / "net.caffemodel"
    write_text(net, deploy)
    write_weights(weights, file, net.name)
    return deploy, file


@pytest.fixture
def both(tmp_path: Path) -> tuple[tuple[Path, Path], tuple[Path, Path]]:
    """A net with random weights, and the one that mirrors."""
    random = np.random.default_rng(0)
    net = lenet()
    write_text(net, tmp_path / "plain.prototxt")
    known = load_netdef(tmp_path / "plain.prototxt", "TEST")
    weights = {
        layer: [random.normal(0, 0.1, shape).astype(np.float32) for shape in shapes]
        for layer, shapes in known.param_shapes.items()
    }
    mirrored = mirror_net(net, known.feature_blob)
    return (
        written(net, weights, tmp_path / "one"),
        written(mirrored, weights | mirror_weights(net), tmp_path / "two"),
    )


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("count", [1, 3])
def test_the_feature_is_the_average(
    both: tuple[tuple[Path, Path], tuple[Path, Path]], engine: str, count: int
) -> None:
    images = np.random.default_rng(1).normal(0, 1, (count, 1, 28, 28)).astype(np.float32)
    (deploy, weights), mirrored = both
    net = load_netdef(deploy, "TEST")
    plain = get_engine(engine).load(deploy, weights)
    blob = net.feature_blob
    first, second = (
        plain.forward(batch, [blob])[blob]
        for batch in (images, np.ascontiguousarray(images[..., ::-1]))
    )
    assert np.abs(first - second).max() > 0.01
    found = get_engine(engine).load(*mirrored).forward(images, [blob, net.code_blob])
    assert np.allclose(found[blob], (first + second) / 2, atol=1e-5)
    assert found[net.code_blob].shape == (count, 8)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_picture_and_its_mirror_image_have_one_code(
    both: tuple[tuple[Path, Path], tuple[Path, Path]], engine: str
) -> None:
    images = np.random.default_rng(2).normal(0, 1, (4, 1, 28, 28)).astype(np.float32)
    net = get_engine(engine).load(*both[1])
    codes = [
        net.forward(batch, ["latent_sigmoid"])["latent_sigmoid"]
        for batch in (images, np.ascontiguousarray(images[..., ::-1]))
    ]
    assert np.allclose(codes[0], codes[1], atol=1e-6)


def test_what_reads_past_the_feature_is_refused() -> None:
    net = lenet()
    blob = net.layer[1].top[0]
    net.layer.add(name="shortcut", type="Pooling", bottom=[blob], top=["shortcut"])
    with pytest.raises(NetError, match=f"'shortcut' reads '{blob}', past"):
        mirror_net(net, "latent")


def test_other_blobs_and_inputs_are_refused() -> None:
    with pytest.raises(NetError, match="no blob 'fc9' - name"):
        mirror_net(lenet(), "fc9")
    net = lenet()
    del net.layer[0].input_param.shape[0].dim[2:]
    with pytest.raises(NetError, match="takes no images"):
        mirror_net(net, "latent")
