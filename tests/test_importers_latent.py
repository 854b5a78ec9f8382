"""The latent layer set by a hash: its codes are the hash's, on both engines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from latenthash import nets
from latenthash.engines import get_engine
from latenthash.errors import MismatchError, NetError
from latenthash.hamming import pack
from latenthash.hashing import HashFunction, HashSettings, learn
from latenthash.importers import learn_latent, set_latent, trained_hash
from latenthash.netdef import load_netdef
from latenthash.proto import read_net, write_text
from latenthash.weights import Weights, write_weights

ENGINES = ["torch", pytest.param("caffe", marks=pytest.mark.caffe)]
Array = NDArray[np.float32]
BITS, IMAGES = 8, 200


@pytest.fixture
def net(tmp_path: Path) -> tuple[Path, Weights]:
    """LeNet with random weights."""
    random = np.random.default_rng(0)
    deploy = tmp_path / "deploy.prototxt"
    write_text(nets.build("lenet", BITS, 10).deploy, deploy)
    shapes = load_netdef(deploy, "TEST").param_shapes
    return deploy, {
        name: [random.normal(0, 0.1, shape).astype(np.float32) for shape in blobs]
        for name, blobs in shapes.items()
    }


def forward(engine: str, deploy: Path, weights: Weights, images: Array, *blobs: str) -> list[Array]:
    file = deploy.with_suffix(".caffemodel")
    write_weights(weights, file, "net")
    with get_engine(engine).load(deploy, file) as loaded:
        found = loaded.forward(images, list(blobs))
    return [found[blob].reshape(len(images), -1) for blob in blobs]


def images() -> Array:
    return np.random.default_rng(1).normal(0, 1, (IMAGES, 1, 28, 28)).astype(np.float32)


class Codes:
    """What `learn_latent` reads of a code file."""

    def __init__(self, features: Array) -> None:
        self.labels = (features[:, 0] > np.median(features[:, 0])).astype(np.int32)
        self._features = features

    def __len__(self) -> int:
        return len(self.labels)

    def features(self) -> Array:
        return self._features


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("method", ["itq-cca", "itq", "latent"])
def test_codes_are_those_of_the_hash(
    net: tuple[Path, Weights], tmp_path: Path, engine: str, method: str
) -> None:
    deploy, weights = net
    blob = load_netdef(deploy, "TEST").feature_blob
    features, classes = forward("torch", deploy, weights, images(), blob, "prob")
    function, spread = learn_latent(
        Codes(features),
        HashSettings(method, BITS, seed=3),  # type: ignore[arg-type]
    )
    made, found = set_latent(read_net(deploy), weights, function, spread)
    changed = tmp_path / "changed.prototxt"
    write_text(made, changed)
    known = load_netdef(changed, "TEST")
    assert (known.feature_blob, known.bits, known.classes) == (blob, BITS, 10)
    read, values, activations, prob = forward(
        engine, changed, found, images(), blob, "latent", "latent_sigmoid", "prob"
    )
    np.testing.assert_allclose(read, features, atol=1e-4)
    np.testing.assert_allclose(prob, classes, atol=1e-4)  # the classifier reads its own
    sides = function.project(read)
    np.testing.assert_allclose(values, 4 * sides / spread, atol=2e-3)
    clear = np.abs(values) > 2e-3
    assert ((activations >= 0.5) == (sides >= 0))[clear].all() and clear.mean() > 0.9
    assert 0.5 < np.abs(values).mean() < 8


def test_what_training_left_is_a_hash(net: tuple[Path, Weights]) -> None:
    deploy, weights = net
    blob = load_netdef(deploy, "TEST").feature_blob
    features, trained = forward("torch", deploy, weights, images(), blob, "latent_sigmoid")
    assert trained_hash(weights) is None
    _, changed = set_latent(read_net(deploy), weights, hash_of(features), 1.0)
    left = trained_hash(changed)
    assert left is not None
    clear = np.abs(trained - 0.5).min(axis=1) > 1e-4
    assert np.array_equal(left.encode(features)[clear], pack(trained >= 0.5)[clear])


def hash_of(features: Array) -> HashFunction:
    return learn(features, HashSettings("lsh", BITS))


def test_other_hashes_and_nets_are_refused(net: tuple[Path, Weights]) -> None:
    deploy, weights = net
    message = read_net(deploy)
    features = np.random.default_rng(0).normal(size=(50, 500)).astype(np.float32)
    function = hash_of(features)
    with pytest.raises(MismatchError, match="features of 3 values, the latent layer reads 500"):
        set_latent(message, weights, hash_of(features[:, :3]), 1.0)
    waves = replace(function, phase=np.zeros(BITS, np.float32))
    with pytest.raises(MismatchError, match="no planes"):
        set_latent(message, weights, waves, 1.0)
    with pytest.raises(NetError, match="no latent layer with weights"):
        set_latent(message, {}, function, 1.0)


def test_a_large_set_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latenthash.importers.latent.SAMPLE", 30)
    features = np.random.default_rng(0).normal(size=(60, 9)).astype(np.float32)
    found = [
        learn_latent(Codes(features), HashSettings("itq-cca", 4, seed))[0]  # type: ignore[arg-type]
        for seed in (0, 0, 1)
    ]
    assert [one.learned_from for one in found] == [30] * 3
    assert found[0].identity == found[1].identity != found[2].identity
