"""Nets that train on mixed pairs of images: their loss, on both engines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tiny
from latenthash import nets
from latenthash.engines import get_engine
from latenthash.errors import NetError
from latenthash.nets.mixing import mix
from latenthash.proto.caffe_pb2 import NetParameter
from latenthash.weights import Weights, read_weights, write_weights

torch = pytest.importorskip("torch")

from latenthash.engines.torch.execution import default_execution  # noqa: E402
from latenthash.engines.torch.graph import Graph  # noqa: E402
from latenthash.engines.torch.phase_net import PhaseNet, load_phase  # noqa: E402

BATCH, SHARE = 6, 0.3


def lenet(mixed: float | None) -> NetParameter:
    net = nets.build("lenet", 8, 10, source=".", mixed=mixed).train_val
    for layer in net.layer:
        if layer.type == "Data":
            layer.data_param.batch_size = BATCH
    return net


def written(lenet_folder: Path, mixed: float | None) -> Path:
    path = lenet_folder / "train_val.prototxt"
    path.write_text(str(lenet(mixed)))
    return path


def random_weights(graph: Graph) -> Weights:
    rng = np.random.default_rng(0)
    return {
        name: [rng.normal(0, 0.1, blob.shape).astype(np.float32) for blob in blobs]
        for name, blobs in graph.weights().items()
    }


def test_the_loss_is_that_of_both_labels_of_mixed_images(lenet_folder: Path) -> None:
    execution = default_execution("float32")
    plain = PhaseNet(load_phase(written(lenet_folder, None), "TRAIN"), execution, 1, 1)
    mixed = PhaseNet(load_phase(written(lenet_folder, SHARE), "TRAIN"), execution, 1, 1)
    weights = random_weights(plain.graph)
    plain.graph.take(weights)
    mixed.graph.take(weights)
    blobs = plain._loader.next()  # what both nets read
    images, labels = blobs["data"], blobs["label"]
    order = [*range(BATCH // 2, BATCH), *range(BATCH // 2)]
    inputs = (1 - SHARE) * images + SHARE * images[order]
    with torch.no_grad():
        own = plain.graph({"data": inputs, "label": labels}, {"loss"})["loss"]
        other = plain.graph({"data": inputs, "label": labels[order]}, {"loss"})["loss"]
        total, outputs = mixed.forward()
    assert float(total) == pytest.approx(float((1 - SHARE) * own + SHARE * other), rel=1e-5)
    assert float(outputs["loss"]) == pytest.approx(float(own), rel=1e-5)
    assert float(outputs["loss_others"]) == pytest.approx(float(other), rel=1e-5)
    plain.close()
    mixed.close()


def test_testing_is_as_it_was(lenet_folder: Path) -> None:
    found = []
    for share in (None, SHARE):
        net = PhaseNet(load_phase(written(lenet_folder, share), "TEST"), default_execution(), 1, 1)
        net.graph.take(random_weights(net.graph))
        found.append({name: float(value) for name, value in net.forward()[1].items()})
        net.close()
    assert found[0] == pytest.approx(found[1], rel=1e-6)


@pytest.mark.caffe
def test_both_engines_train_it_alike(lenet_folder: Path) -> None:
    phase = load_phase(written(lenet_folder, SHARE), "TRAIN")
    net = PhaseNet(phase, default_execution("float32"), 1, 1)
    start = lenet_folder / "start.caffemodel"
    write_weights(random_weights(net.graph), start)
    net.close()
    ended = []
    for engine in ("caffe", "torch"):
        solver = tiny.write_solver(
            lenet_folder, net='"train_val.prototxt"', base_lr=0.01, max_iter=10, snapshot=10,
            test_interval=10, snapshot_prefix=f'"{engine}"', random_seed=3,
        )  # fmt: skip
        ended.append(read_weights(get_engine(engine, 1).train(solver, start)))
    for name, blobs in ended[0].items():
        for one, two in zip(blobs, ended[1][name], strict=True):
            np.testing.assert_allclose(two, one, atol=1e-3 * np.abs(one).max())


@pytest.mark.parametrize("share", [0, -0.1, 0.6])
def test_a_share_that_is_none(share: float) -> None:
    with pytest.raises(NetError, match="to mix in"):
        nets.build("lenet", 8, mixed=share)


def test_what_cannot_be_mixed() -> None:
    odd = lenet(None)
    odd.layer[0].data_param.batch_size = 7
    with pytest.raises(NetError, match="batches of 7 images"):
        mix(odd, SHARE)
    with pytest.raises(NetError, match="its loss takes no mixed images"):
        nets.build("vgg19", 8, mixed=SHARE)
