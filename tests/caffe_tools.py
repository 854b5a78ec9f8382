"""Caffe's own command-line tools, as oracles."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from latenthash.engines.caffe_home import pycaffe_folder
from latenthash.errors import EngineError


def caffe_tool(name: str, *arguments: object) -> None:
    """Run convert_imageset or compute_image_mean; skips the test if Caffe is not built."""
    try:
        tool = pycaffe_folder().parent.parent / "bin" / name
    except EngineError as error:
        pytest.skip(str(error))
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    command = [str(tool), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


def list_file(path: Path, labelled: dict[str, int]) -> Path:
    """Write Caffe's list of "name label" lines."""
    path.write_text("".join(f"{name} {label}\n" for name, label in labelled.items()))
    return path
