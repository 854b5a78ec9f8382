from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from latenthash import proto
from latenthash.errors import DataError, NetError
from latenthash.proto import caffe_pb2


def test_text_round_trip(tmp_path: Path) -> None:
    net = caffe_pb2.NetParameter(name="n", layer=[caffe_pb2.LayerParameter(name="a", type="ReLU")])
    proto.write_text(net, tmp_path / "n.prototxt")
    assert proto.read_net(tmp_path / "n.prototxt") == net


def test_fields_of_forks_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "n.prototxt"
    path.write_text('layer { name: "a" type: "X" x_param { y: 1 z { w: "s" } } } future: 3')
    assert [layer.type for layer in proto.read_net(path).layer] == ["X"]


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "No such file"), ("layer {", "NetParameter"), ("", "no layers"),
     ('layer { name: 3 }', r":1:\d+"), ("\x00\x01", "NetParameter")],
)  # fmt: skip
def test_what_is_no_net_is_named(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "n.prototxt"
    if text is not None:
        path.write_text(text)
    with pytest.raises(NetError, match=rf"n\.prototxt.*{words}"):
        proto.read_net(path)


def test_what_is_no_solver_is_named(tmp_path: Path) -> None:
    (tmp_path / "s.prototxt").write_text("base_lr: fast")
    with pytest.raises(NetError, match=r"s\.prototxt:1:10.*SolverParameter"):
        proto.read_solver(tmp_path / "s.prototxt")


def test_mean_round_trip_and_its_errors(tmp_path: Path) -> None:
    path = tmp_path / "mean.binaryproto"
    mean = np.random.default_rng(0).random((3, 4, 5)).astype(np.float32)
    proto.write_mean(mean, path)
    assert (proto.read_mean(path) == mean).all()
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    with pytest.raises(DataError, match=r"mean\.binaryproto"):
        proto.read_mean(path)
    proto.write_binary(caffe_pb2.BlobProto(num=2, channels=1, height=1, width=1, data=[1, 2]), path)
    with pytest.raises(DataError, match=r"\(2, 1, 1, 1\)"):
        proto.read_mean(path)
    proto.write_binary(caffe_pb2.BlobProto(num=1, channels=3, height=1, width=1, data=[1]), path)
    with pytest.raises(DataError, match="reshape"):
        proto.read_mean(path)
    path.unlink()
    with pytest.raises(DataError, match="No such file"):
        proto.read_mean(path)


def test_blobs_with_and_without_shape() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert (proto.array_from_blob(proto.blob_from_array(array)) == array).all()
    legacy = caffe_pb2.BlobProto(num=1, channels=1, height=2, width=3, data=range(6))
    assert (proto.array_from_blob(legacy) == array[None, None]).all()
    doubles = caffe_pb2.BlobProto(double_data=[0.5, 1.5])
    doubles.shape.dim.append(2)
    assert proto.array_from_blob(doubles).tolist() == [0.5, 1.5]
