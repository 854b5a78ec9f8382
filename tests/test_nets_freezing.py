"""Nets whose first layers keep their weights, on both engines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tiny
from latenthash import nets
from latenthash.engines import get_engine
from latenthash.errors import NetError
from latenthash.netdef import load_netdef
from latenthash.weights import Weights, read_weights, write_weights

FAMILY = "efficientnet_lite0"
BATCH = 4


def random_weights(net: Path) -> Weights:
    rng = np.random.default_rng(0)
    shapes = load_netdef(net, "TEST").param_shapes
    return {
        name: [rng.normal(0, 0.1, shape).astype(np.float32) for shape in blobs]
        for name, blobs in shapes.items()
    }


@pytest.mark.parametrize("engine", [pytest.param("caffe", marks=pytest.mark.caffe), "torch"])
def test_layers_up_to_the_named_one_keep_their_weights(lenet_folder: Path, engine: str) -> None:
    if engine == "torch":
        pytest.importorskip("torch")
    files = nets.build("lenet", 8, 10, source=".", frozen_to="conv2")
    for layer in files.train_val.layer:
        if layer.type == "Data":
            layer.data_param.batch_size = BATCH
    for name in ("train_val", "deploy"):
        (lenet_folder / f"{name}.prototxt").write_text(str(getattr(files, name)))
    start = random_weights(lenet_folder / "deploy.prototxt")
    write_weights(start, lenet_folder / "start.caffemodel")
    solver = tiny.write_solver(
        lenet_folder, net='"train_val.prototxt"', max_iter=3, snapshot=3, test_interval=3
    )
    result = get_engine(engine).train(solver, lenet_folder / "start.caffemodel")
    moved = {
        name
        for name, blobs in read_weights(result).items()
        if any(
            not np.array_equal(a.ravel(), b.ravel())
            for a, b in zip(blobs, start[name], strict=True)
        )
    }
    assert moved == set(start) - {"conv1", "conv2"}


def test_nothing_else_changes() -> None:
    normal = nets.build(FAMILY, 48)
    frozen = nets.build(FAMILY, 48, frozen_to="block2_add")
    assert frozen.deploy == normal.deploy and frozen.solver == normal.solver
    number = [layer.name for layer in normal.train_val.layer].index("block2_add")
    pairs = list(zip(frozen.train_val.layer, normal.train_val.layer, strict=True))
    rates = [spec.lr_mult for layer, _ in pairs[: number + 1] for spec in layer.param]
    assert len(rates) == 27 and not any(rates)
    for layer, _ in pairs[: number + 1]:
        assert not any(spec.decay_mult for spec in layer.param)
        del layer.param[:]
    assert all(layer == before for layer, before in pairs[number + 1 :])
    for layer, before in pairs[: number + 1]:
        del before.param[:]
        assert layer == before


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("block2", "efficientnet_lite0_48 has no layer 'block2'"),
        ("nowhere", "efficientnet_lite0_48 has no layer 'nowhere'"),
        ("classifier", "efficientnet_lite0_48: nothing after layer 'classifier' learns"),
    ],
)
def test_what_cannot_be_frozen_is_an_error(layer: str, message: str) -> None:
    with pytest.raises(NetError) as caught:
        nets.build(FAMILY, 48, frozen_to=layer)
    assert str(caught.value).startswith(message)


def test_a_mixed_net_can_be_frozen_too() -> None:
    both = nets.build(FAMILY, 48, mixed=0.3, frozen_to="stem_relu6").train_val
    rates = {layer.name: [spec.lr_mult for spec in layer.param] for layer in both.layer}
    assert rates["stem"] == [0] and rates["stem_scale"] == [0, 0]
    assert rates["block0_depthwise"] == [1]
