"""A GPU for Caffe, named by LATENTHASH_GPU: what a Caffe or a machine without one says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tiny
from latenthash.engines import get_engine
from latenthash.engines.caffe_home import caffe_home, is_built
from latenthash.engines.caffe_log import death_error
from latenthash.errors import EngineError
from latenthash.weights import write_weights

for_cpus = pytest.mark.skipif(
    is_built() and any((caffe_home() / "lib").glob("libcudart*")),
    reason="this Caffe is built for GPUs",
)
REFUSAL = r"CPU-only Caffe.* - unset LATENTHASH_GPU, or build Caffe with .*--cuda"


@pytest.mark.caffe
@for_cpus
def test_net_on_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LATENTHASH_GPU", "0")
    deploy = tiny.write_deploy(tmp_path / "deploy.prototxt", tiny.inner_product("ip", "data", 2))
    weights = tmp_path / "net.caffemodel"
    write_weights({"ip": [np.zeros((2, 64), np.float32), np.zeros(2, np.float32)]}, weights)
    with pytest.raises(EngineError, match=REFUSAL):
        get_engine("caffe", 1).load(deploy, weights)


@pytest.mark.caffe
@for_cpus
def test_training_on_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LATENTHASH_GPU", "0")
    tiny.write_all(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EngineError, match=REFUSAL):
        get_engine("caffe", 1).train(tiny.write_solver(tmp_path))


@pytest.mark.parametrize(
    ("file", "check"),
    [
        ("common.cpp:157", "error == cudaSuccess (100 vs. 0)  no CUDA-capable device is detected"),
        ("syncedmem.cpp:71", "error == cudaSuccess (2 vs. 0)  out of memory"),
        ("math_functions.cu:27", "status == CUBLAS_STATUS_SUCCESS (13 vs. 0)  CUBLAS_STATUS_X"),
    ],
)
def test_error_of_a_gpu_says_where_to_look(file: str, check: str) -> None:
    log = [f"F20261121 20:12:13.230746 19214 {file}] Check failed: {check}"]
    error = death_error(log, -6, "net.prototxt")
    assert isinstance(error, EngineError)
    assert "net.prototxt: " in str(error)
    assert "nvidia-smi" in str(error)
