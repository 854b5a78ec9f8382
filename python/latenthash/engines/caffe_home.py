"""Where the built Caffe lies."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ..errors import EngineError

POINTER = "caffe-prefix"
_EXTENSION = Path("python/caffe/_caffe.so")


def caffe_home() -> Path:
    """Folder of the built Caffe: LATENTHASH_CAFFE, else what set-up noted in `sys.prefix`.

    It holds `python/caffe/_caffe.so` (pycaffe) and `bin/` (Caffe's tools).

    Raises:
        EngineError: Caffe is not built, or the folder named does not hold it.
    """
    named, origin = _named()
    if named is None:
        raise EngineError("Caffe is not built", "run `make setup`, or set LATENTHASH_CAFFE")
    home = Path(named).expanduser().absolute()
    if not (home / _EXTENSION).is_file():
        raise EngineError(
            f"{home}: holds no {_EXTENSION} ({origin} names this folder)",
            "run `make setup` (or scripts/build_caffe.sh), or set LATENTHASH_CAFFE",
        )
    return home


def is_built() -> bool:
    """Whether a Caffe is named and there."""
    named, _ = _named()
    return named is not None and (Path(named).expanduser() / _EXTENSION).is_file()


def pycaffe_folder() -> Path:
    """Folder of the extension module `_caffe`.

    Raises:
        EngineError: Caffe is not built.
    """
    return (caffe_home() / _EXTENSION).parent


def _named() -> tuple[str | None, str]:
    """Folder that is named as Caffe's, and what names it."""
    if from_environment := os.environ.get("LATENTHASH_CAFFE"):
        return from_environment, "LATENTHASH_CAFFE"
    pointer = Path(sys.prefix) / POINTER
    try:
        return pointer.read_text().strip(), str(pointer)
    except FileNotFoundError:
        return None, ""
