"""Weights files: round trips, real Caffe, damaged files, and how weights fit a net."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from caffe_oracle import run_caffe, start_caffe
from latenthash.errors import NetError
from latenthash.netdef import load_netdef
from latenthash.proto import write_binary, write_mean
from latenthash.proto.caffe_pb2 import BlobProto, NetParameter, V1LayerParameter
from latenthash.weights import Fit, Weights, fit, read_weights, write_weights

NET = """
layer { name: "data" type: "Input" top: "x" input_param { shape { dim: [1, 2, 4, 4] } } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "c"
        convolution_param { num_output: 3 kernel_size: 2
                            weight_filler { type: "gaussian" } bias_filler { value: 0.5 } } }
layer { name: "relu" type: "ReLU" bottom: "c" top: "c" }
layer { name: "ip" type: "InnerProduct" bottom: "c" top: "i"
        inner_product_param { num_output: 5 weight_filler { type: "gaussian" } } }
"""
SUFFIXES = (".caffemodel", ".caffemodel.h5")


def weights_of_net(seed: int = 0) -> Weights:
    rng = np.random.default_rng(seed)
    shapes = {"conv": [(3, 2, 2, 2), (3,)], "ip": [(5, 27), (5,)]}
    return {
        name: [rng.standard_normal(shape).astype(np.float32) for shape in layer]
        for name, layer in shapes.items()
    }


def net_file(folder: Path) -> Path:
    path = folder / "net.prototxt"
    path.write_text(NET)
    return path


def assert_equal(found: Weights, expected: Weights) -> None:
    assert found.keys() == expected.keys()
    for name, arrays in expected.items():
        assert len(found[name]) == len(arrays)
        for a, b in zip(found[name], arrays, strict=True):
            assert a.dtype == np.float32 and a.shape == b.shape
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_round_trip(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"w{suffix}"
    weights = weights_of_net() | {"shared": [np.float32(0.25).reshape(())]}
    write_weights(weights, path)
    assert_equal(read_weights(path), weights)


def test_more_values_than_are_written_at_once(tmp_path: Path) -> None:
    many = np.arange((1 << 20) + 3, dtype=np.float32)
    write_weights({"a": [many]}, tmp_path / "w.caffemodel", name="big")
    assert_equal(read_weights(tmp_path / "w.caffemodel"), {"a": [many]})


def test_more_than_ten_blobs_of_hdf5_keep_their_order(tmp_path: Path) -> None:
    weights: Weights = {"a": [np.full(2, i, np.float32) for i in range(12)]}
    write_weights(weights, tmp_path / "w.h5")
    assert_equal(read_weights(tmp_path / "w.h5"), weights)


_SAVE = """
import _caffe, numpy
net = _caffe.Net(PATH, 1)
net.save("w.caffemodel"); net.save_hdf5("w.caffemodel.h5")
numpy.savez("w.npz", **{f"{name} {i}": blob.data for name, layer in
    zip(net._layer_names, net.layers) for i, blob in enumerate(layer.blobs)})
"""
_LOAD = """
import _caffe, numpy
net = _caffe.Net(PATH, 1)
net.load_hdf5(FILE) if FILE.endswith(".h5") else net.copy_from(FILE)
numpy.savez("w.npz", **{f"{name} {i}": blob.data for name, layer in
    zip(net._layer_names, net.layers) for i, blob in enumerate(layer.blobs)})
"""


def npz(path: Path) -> Weights:
    weights: Weights = {}
    with np.load(path) as arrays:
        for key in arrays.files:
            weights.setdefault(key.split()[0], []).append(arrays[key])
    return weights


@pytest.mark.caffe
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_reads_what_caffe_saves(suffix: str, tmp_path: Path) -> None:
    run_caffe(_SAVE.replace("PATH", repr(str(net_file(tmp_path)))), cwd=tmp_path)
    expected = npz(tmp_path / "w.npz")
    assert np.ptp(expected["conv"][0]) > 0
    assert_equal(read_weights(tmp_path / f"w{suffix}"), expected)


@pytest.mark.caffe
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_caffe_loads_what_is_written(suffix: str, tmp_path: Path) -> None:
    weights = weights_of_net()
    write_weights(weights, tmp_path / f"mine{suffix}", name="net")
    script = _LOAD.replace("PATH", repr(str(net_file(tmp_path))))
    run_caffe(script.replace("FILE", repr(f"mine{suffix}")), cwd=tmp_path)
    assert_equal(npz(tmp_path / "w.npz"), weights)


def legacy(array: np.ndarray) -> BlobProto:
    """Blob as before 2015: four sizes, the first ones 1."""
    num, channels, height, width = (1,) * (4 - array.ndim) + array.shape
    blob = BlobProto(num=num, channels=channels, height=height, width=width)
    blob.data.extend(array.ravel().tolist())
    return blob


def write_legacy(weights: Weights, path: Path) -> None:
    net = NetParameter()
    for name, arrays in weights.items():
        kind = V1LayerParameter.CONVOLUTION if name == "conv" else V1LayerParameter.INNER_PRODUCT
        net.layers.add(name=name, type=kind, blobs=[legacy(array) for array in arrays])
    write_binary(net, path)


def test_legacy_weights_fit(tmp_path: Path) -> None:
    weights = weights_of_net()
    write_legacy(weights, tmp_path / "w.caffemodel")
    found = read_weights(tmp_path / "w.caffemodel")
    assert [array.shape for array in found["ip"]] == [(1, 1, 5, 27), (1, 1, 1, 5)]
    np.testing.assert_array_equal(found["ip"][0].reshape(5, 27), weights["ip"][0])
    net = load_netdef(net_file(tmp_path), "TEST")
    assert fit(net, found) == Fit(taken=["conv", "ip"])


@pytest.mark.caffe
def test_caffe_loads_legacy_weights_that_fit(tmp_path: Path) -> None:
    weights = weights_of_net()
    write_legacy(weights, tmp_path / "old.caffemodel")
    script = _LOAD.replace("PATH", repr(str(net_file(tmp_path))))
    run_caffe(script.replace("FILE", "'old.caffemodel'"), cwd=tmp_path)
    assert_equal(npz(tmp_path / "w.npz"), weights)


def test_double_values_become_single(tmp_path: Path) -> None:
    net = NetParameter()
    blob = net.layer.add(name="a").blobs.add(double_data=[1.5, -2.5])
    blob.shape.dim.extend([2, 1])
    write_binary(net, tmp_path / "w.caffemodel")
    assert_equal(
        read_weights(tmp_path / "w.caffemodel"), {"a": [np.array([[1.5], [-2.5]], np.float32)]}
    )


CONFLICTS = {
    "transposed": {"ip": [(27, 5), (5,)]},
    "no bias": {"ip": [(5, 27)]},
    "one blob too many": {"conv": [(3, 2, 2, 2), (3,), (3,)]},
    "weights of a layer without": {"relu": [(3,)]},
    "other classes": {"ip": [(6, 27), (6,)]},
}


@pytest.mark.parametrize("problem", CONFLICTS)
def test_conflicting_weights_are_named(problem: str, tmp_path: Path) -> None:
    ((name, shapes),) = CONFLICTS[problem].items()
    weights = weights_of_net() | {name: [np.zeros(shape, np.float32) for shape in shapes]}
    found = fit(load_netdef(net_file(tmp_path), "TEST"), weights)
    assert len(found.conflicting) == 1 and found.conflicting[0].startswith(f"{name}: ")
    assert name not in found.taken + found.fresh + found.unused


@pytest.mark.caffe
@pytest.mark.parametrize("problem", CONFLICTS)
def test_caffe_refuses_conflicting_weights(problem: str, tmp_path: Path) -> None:
    ((name, shapes),) = CONFLICTS[problem].items()
    write_weights(
        {name: [np.zeros(shape, np.float32) for shape in shapes]}, tmp_path / "w.caffemodel"
    )
    script = _LOAD.replace("PATH", repr(str(net_file(tmp_path))))
    done = start_caffe(script.replace("FILE", "'w.caffemodel'"), cwd=tmp_path)
    assert done.returncode != 0


def test_fit_tells_what_starts_fresh_and_what_is_left_over(tmp_path: Path) -> None:
    weights = weights_of_net()
    weights["fc8"] = weights.pop("ip")
    found = fit(load_netdef(net_file(tmp_path), "TEST"), weights)
    assert found == Fit(taken=["conv"], fresh=["ip"], unused=["fc8"])


def test_conflict_names_both_shapes(tmp_path: Path) -> None:
    weights = weights_of_net() | {"ip": [np.zeros((6, 27), np.float32), np.zeros(6, np.float32)]}
    found = fit(load_netdef(net_file(tmp_path), "TEST"), weights)
    assert found.conflicting == ["ip: 6x27 + 6 in file, 5x27 + 5 in net"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_missing_and_empty_files(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"w{suffix}"
    with pytest.raises(NetError, match=f"w{suffix}: "):
        read_weights(path)
    path.write_bytes(b"")
    with pytest.raises(NetError, match=f"w{suffix}: "):
        read_weights(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_foreign_files(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"w{suffix}"
    write_mean(np.zeros((3, 2, 2), np.float32), path)
    with pytest.raises(NetError, match=f"w{suffix}: "):
        read_weights(path)
    path.write_text(NET)
    with pytest.raises(NetError, match=f"w{suffix}: "):
        read_weights(path)


@pytest.mark.parametrize("where", ["codes", "data", "data/conv", "data/conv/kernel"])
def test_foreign_hdf5(where: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file[where] = np.zeros(3)
    with pytest.raises(NetError, match=r"w.h5: is no whole HDF5 file of Caffe's weights"):
        read_weights(tmp_path / "w.h5")


def halved(weights: Weights) -> Weights:
    return {
        name: [array.astype(np.float16).astype(np.float32) for array in arrays]
        for name, arrays in weights.items()
    }


def test_half_precision_is_rounded_and_half_the_size(tmp_path: Path) -> None:
    weights = {"a": [np.float32(0.25).reshape(()), np.empty((0,), np.float32)]}
    rng = np.random.default_rng(0)
    weights["b"] = [rng.standard_normal((200, 300)).astype(np.float32)]
    path = tmp_path / "w.caffemodel.h5"
    write_weights(weights, path, half=True)
    assert_equal(read_weights(path), halved(weights))
    assert path.stat().st_size < 0.5 * weights["b"][0].nbytes
    again = tmp_path / "again.caffemodel.h5"
    write_weights(weights, again, half=True)
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.caffe
def test_caffe_loads_half_precision(tmp_path: Path) -> None:
    weights = weights_of_net()
    write_weights(weights, tmp_path / "half.h5", half=True)
    code = _LOAD.replace("PATH", repr(str(net_file(tmp_path)))).replace("FILE", repr("half.h5"))
    run_caffe(code, cwd=tmp_path)
    assert_equal(npz(tmp_path / "w.npz"), halved(weights))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("w.caffemodel", 1.0, "is float32 - name it"), ("w.h5", 1e6, "'a': holds values too large")],
)
def test_half_precision_that_cannot_be(
    name: str, value: float, message: str, tmp_path: Path
) -> None:
    with pytest.raises(NetError, match=message):
        write_weights({"a": [np.full(3, value, np.float32)]}, tmp_path / name, half=True)
    assert not (tmp_path / name).exists()


def test_truncated_caffemodel(tmp_path: Path) -> None:
    """Cut between two layers it is a whole file of fewer layers; anywhere else, an error."""
    path = tmp_path / "w.caffemodel"
    write_weights({"conv": weights_of_net()["conv"]}, path)
    first_layer = path.stat().st_size
    write_weights(weights_of_net(), path)
    whole = path.read_bytes()
    for end in {*range(1, len(whole), 7), 1, 2, 3, len(whole) - 1} - {first_layer}:
        path.write_bytes(whole[:end])
        with pytest.raises(NetError, match=r"w\.caffemodel: .* - ."):
            read_weights(path)
    path.write_bytes(whole[:first_layer])
    assert set(read_weights(path)) == {"conv"}


def test_truncated_hdf5(tmp_path: Path) -> None:
    path = tmp_path / "w.h5"
    write_weights(weights_of_net(), path)
    whole = path.read_bytes()
    for end in range(0, len(whole), 97):
        path.write_bytes(whole[:end])
        with pytest.raises(NetError, match=r"w\.h5"):
            read_weights(path)


def test_values_that_do_not_fill_the_shape(tmp_path: Path) -> None:
    net = NetParameter()
    net.layer.add(name="a").blobs.add(data=[1, 2, 3]).shape.dim.extend([2, 2])
    write_binary(net, tmp_path / "w.caffemodel")
    with pytest.raises(NetError, match=r"w.caffemodel: layer 'a': .*3.*\(2, ?2\)"):
        read_weights(tmp_path / "w.caffemodel")


def test_hdf5_holds_no_slash_and_keeps_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "w.h5"
    write_weights(weights_of_net(), path)
    with pytest.raises(NetError, match=r"'inception/1x1'.*\.caffemodel"):
        write_weights({"inception/1x1": [np.zeros(1, np.float32)]}, path)
    assert_equal(read_weights(path), weights_of_net())
    write_weights({"inception/1x1": [np.zeros(1, np.float32)]}, tmp_path / "w.caffemodel")
    assert list(read_weights(tmp_path / "w.caffemodel")) == ["inception/1x1"]
