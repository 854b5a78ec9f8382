"""Nets run by real Caffe in its child process."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import tiny
from caffe_oracle import run_caffe
from latenthash.engines import get_engine
from latenthash.engines.caffe_child import Child
from latenthash.errors import EngineError, NetError
from latenthash.weights import write_weights

pytestmark = pytest.mark.caffe

_ORACLE = """
import numpy as np, _caffe
net = _caffe.Net("deploy.prototxt", 1, weights="tiny.caffemodel")
batch = np.load("batch.npy")
blobs = dict(zip(net._blob_names, net._blobs))
blobs["data"].reshape(*batch.shape)
net.reshape()
blobs["data"].data[...] = batch
net._forward(0, len(net.layers) - 1)
np.savez("oracle.npz", **{name: blob.data for name, blob in blobs.items()})
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("net")
    tiny.write_deploy(folder / "deploy.prototxt")
    random = np.random.default_rng(0)
    shapes = {"ip1": (6, 64), "latent": (8, 6), "classifier": (2, 8)}
    weights = {
        layer: [random.normal(0, 0.1, shape), random.normal(0, 0.1, shape[0])]
        for layer, shape in shapes.items()
    }
    write_weights(weights, folder / "tiny.caffemodel")
    return folder


@pytest.fixture(scope="module")
def net(files):
    with get_engine("caffe", 1).load(files / "deploy.prototxt", files / "tiny.caffemodel") as net:
        yield net


def images(count, seed=0):
    return np.random.default_rng(seed).normal(0, 30, (count, 1, 8, 8)).astype(np.float32)


def test_same_as_pycaffe(files, net):
    np.save(files / "batch.npy", images(5))
    run_caffe(_ORACLE, cwd=files)
    with np.load(files / "oracle.npz") as oracle:
        outputs = net.forward(images(5), list(oracle))
        for name in oracle:
            np.testing.assert_array_equal(outputs[name], oracle[name])
            assert outputs[name].dtype == np.float32


def test_batches_of_any_size(net):
    batch = images(9)
    whole = net.forward(batch, ["codes"])["codes"]
    for size in (1, 4, 9, 2, 2):
        [part] = net.forward(batch[:size], ["codes"]).values()
        np.testing.assert_allclose(part, whole[:size], rtol=0, atol=1e-6)  # of 0 to 1


def test_strided_batch(net):
    batch = images(6)
    [strided] = net.forward(batch[::2], ["codes"]).values()
    np.testing.assert_array_equal(strided, net.forward(batch[::2].copy(), ["codes"])["codes"])


@pytest.mark.parametrize(
    "batch",
    [images(1).astype(np.float64), images(1)[0], images(0), np.zeros((1, 1, 8, 9), np.float32)],
)
def test_wrong_batch(net, batch):
    with pytest.raises(NetError, match=r"takes float32 \(N, 1, 8, 8\)"):
        net.forward(batch, ["codes"])
    assert net.forward(images(1), ["codes"])["codes"].shape == (1, 8)


def test_missing_blob(net):
    with pytest.raises(NetError, match=r"no blob 'fc7' - there are data, ip1"):
        net.forward(images(1), ["codes", "fc7"])


def test_from_several_threads(net):
    batches = [images(1 + index % 3, seed=index) for index in range(12)]
    expected = [net.forward(batch, ["codes"])["codes"] for batch in batches]
    found = [None] * len(batches)

    def work(index):
        found[index] = net.forward(batches[index], ["codes"])["codes"]

    workers = [threading.Thread(target=work, args=(index,)) for index in range(len(batches))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_threads_and_sigint(files, net):
    """The child has the thread count asked for, and leaves Ctrl-C to its parent."""
    pid = net._child.pid
    environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    assert {b"OPENBLAS_NUM_THREADS=1", b"OMP_NUM_THREADS=1"} <= set(environment)
    os.kill(pid, signal.SIGINT)
    assert net.forward(images(1), ["codes"])["codes"].shape == (1, 8)


def test_missing_files(files, tmp_path):
    engine = get_engine("caffe", 1)
    for pair in [("none.prototxt", "tiny.caffemodel"), ("deploy.prototxt", "none.caffemodel")]:
        with pytest.raises(NetError, match=r"none\.\w+: no such file"):
            engine.load(*(files / name for name in pair))
    broken = tmp_path / "broken.caffemodel"
    broken.write_bytes((files / "tiny.caffemodel").read_bytes()[:-100])
    with pytest.raises(NetError, match="broken"):
        engine.load(files / "deploy.prototxt", broken)


def test_weights_of_another_net(files, tmp_path):
    engine = get_engine("caffe", 1)
    wider = tiny.write_deploy(tmp_path / "wider.prototxt", tiny.body(bits=12))
    with pytest.raises(NetError, match=r"latent: 8x6 \+ 8 in file, 12x6 \+ 12 in net"):
        engine.load(wider, files / "tiny.caffemodel")
    deeper = tiny.write_deploy(
        tmp_path / "deeper.prototxt", tiny.body() + tiny.inner_product("extra", "classifier", 2)
    )
    with pytest.raises(NetError, match="has no layer extra"):
        engine.load(deeper, files / "tiny.caffemodel")


def test_abort_at_load_is_one_line(files, tmp_path):
    """A net that passes our checks and not Caffe's."""
    odd = tiny.body() + (
        'layer { name: "s" type: "Silence" bottom: "classifier" propagate_down: [true, false] }'
    )
    with pytest.raises(EngineError, match=r"odd.prototxt: .*propagate_down") as caught:
        get_engine("caffe", 1).load(
            tiny.write_deploy(tmp_path / "odd.prototxt", odd), files / "tiny.caffemodel"
        )
    assert "\n" not in str(caught.value)


def test_killed_at_work(files):
    net = get_engine("caffe", 1).load(files / "deploy.prototxt", files / "tiny.caffemodel")
    os.kill(net._child.pid, signal.SIGKILL)
    with pytest.raises(EngineError, match=r"deploy.prototxt: a batch of 3: Caffe was killed"):
        net.forward(images(3), ["codes"])
    net.close()


def test_close(files):
    net = get_engine("caffe", 1).load(files / "deploy.prototxt", files / "tiny.caffemodel")
    pid = net._child.pid
    net.close()
    net.close()
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(EngineError, match="closed"):
        net.forward(images(1), ["codes"])


def test_forgotten_net_leaves_no_process(files):
    net = get_engine("caffe", 1).load(files / "deploy.prototxt", files / "tiny.caffemodel")
    pid = net._child.pid
    del net
    assert not Path(f"/proc/{pid}").exists()


def test_child_ends_with_its_parent():
    script = (
        "from latenthash.engines.caffe_child import Child; import os, signal\n"
        "print(Child(1).pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    child = Path(f"/proc/{int(done.stdout)}")
    for _ in range(100):
        if not child.exists() or "State:\tZ" in (child / "status").read_text():
            return  # gone, or waiting for init to note it
        time.sleep(0.05)
    raise AssertionError("the child lives on")


def test_not_built(monkeypatch, files, tmp_path):
    monkeypatch.setenv("LATENTHASH_CAFFE", str(tmp_path))
    with pytest.raises(EngineError, match="make setup"):
        Child(1)
