"""Real Caffe in a child process: a failed check of Caffe's ends its process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from latenthash.engines.caffe_home import pycaffe_folder
from latenthash.errors import EngineError

_SHAPES = """
import json, sys
import _caffe
phases = {"TRAIN": 0, "TEST": 1}
found = []
for path, phase in json.load(sys.stdin):
    net = _caffe.Net(path, phases[phase])
    blobs = dict(zip(net._blob_names, (list(blob.shape) for blob in net._blobs)))
    params = {}
    for name, layer in zip(net._layer_names, net.layers):
        if len(layer.blobs):
            params.setdefault(name, [list(blob.shape) for blob in layer.blobs])
    found.append({"blobs": blobs, "params": params})
    net = None  # two nets over one LMDB would wait for each other
print(json.dumps(found))
"""


@dataclass
class CaffeShapes:
    """Shapes of a net's blobs and of its layers' weights."""

    blobs: dict[str, tuple[int, ...]]
    params: dict[str, tuple[tuple[int, ...], ...]]


def run_caffe(script: str, stdin: str = "", cwd: Path | None = None) -> str:
    """Output of a script that may import _caffe; skips the test if Caffe is not built."""
    done = start_caffe(script, stdin, cwd)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def start_caffe(
    script: str, stdin: str = "", cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Like `run_caffe`, for scripts that may fail."""
    try:
        folder = str(pycaffe_folder())
    except EngineError as error:
        pytest.skip(str(error))
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "GLOG_minloglevel": "2"}
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {folder!r})\n{script}"],
        input=stdin,
        capture_output=True,
        text=True,
        env=environment,
        cwd=cwd,
        timeout=60,
    )


def caffe_shapes(files: list[tuple[Path, str]], cwd: Path | None = None) -> list[CaffeShapes]:
    """Shapes that Caffe gives the nets in `files`, (path, phase) each."""
    request = json.dumps([(str(path), phase) for path, phase in files])
    return [
        CaffeShapes(
            {name: tuple(shape) for name, shape in net["blobs"].items()},
            {name: tuple(map(tuple, shapes)) for name, shapes in net["params"].items()},
        )
        for net in json.loads(run_caffe(_SHAPES, request, cwd))
    ]
