"""Results kept under the hash of all that they were made from: never stale, only unknown.

A changed input, setting, library or stage number is another key; what nobody asks for any
more stays until the folder is removed.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from . import __version__
from .errors import DataError, EngineError
from .files import atomic_file, storage_errors

T = TypeVar("T")
Inputs = Mapping[str, Any]
_log = logging.getLogger(__name__)


class Stage(NamedTuple):
    """A kind of result.

    Attributes:
        name: also the folder that its results lie in.
        version: grows whenever the same inputs give another result.
    """

    name: str
    version: int


class Cache:
    """A folder of results; `Cache(None)` keeps nothing and makes everything anew.

    Results are written whole; several processes may share the folder.
    """

    def __init__(self, folder: Path | None) -> None:
        """Keep results in `folder`, which is made when there is one to keep."""
        self.folder = folder

    def recall(
        self,
        stage: Stage,
        inputs: Inputs,
        suffix: str,
        make: Callable[[], T],
        write: Callable[[T, Path], object],
        read: Callable[[Path], T],
    ) -> T:
        """The result made from these inputs before, else made now and kept.

        Args:
            stage: what kind of result.
            inputs: all that it depends on, as JSON has it: hashes of data, settings.
            suffix: of its file, such as ".h5".
            make: makes it.
            write: writes it to a path.
            read: reads it from a path; raises `DataError` where it is damaged, and it is
                then made anew.

        Raises:
            StorageError: the disk is full or cannot be written.
        """
        if self.folder is None:
            return make()
        path = self.folder / stage.name / f"{key_of(stage, inputs)}{suffix}"
        if path.exists():
            try:
                return read(path)
            except DataError as error:
                _log.warning("%s; it is made anew", error.problem)
        made = make()
        own = path.with_name(f"{os.getpid()}-{path.name}")  # another process may write the same
        with storage_errors(path):
            try:
                own.parent.mkdir(parents=True, exist_ok=True)
                write(made, own)
                own.replace(path)
            finally:
                own.unlink(missing_ok=True)
        return made

    def recall_json(self, stage: Stage, inputs: Inputs, make: Callable[[], Any]) -> Any:
        """As `recall`, of what JSON can hold; fresh or kept, it has been through JSON."""

        def write(value: Any, path: Path) -> None:
            text = json.dumps({"inputs": inputs, "value": value, "sha256": _digest(value)})
            with atomic_file(path) as partial:
                partial.write_text(text)

        return self.recall(
            stage, inputs, ".json", lambda: json.loads(json.dumps(make())), write, _read_json
        )


NOTHING_KEPT = Cache(None)
"""The cache of those who want none."""


def key_of(stage: Stage, inputs: Inputs) -> str:
    """SHA-256 of stage, inputs and this package's version.

    Raises:
        TypeError, ValueError: inputs that JSON cannot hold.
    """
    return _digest([stage.name, stage.version, __version__, inputs])


def array_hash(*arrays: NDArray[Any] | None) -> str:
    """SHA-256 of types, shapes and values; None is told from any array."""
    digest = hashlib.sha256()
    for array in arrays:
        if array is None:
            digest.update(b"None ")
            continue
        digest.update(f"{array.dtype.str} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def versions(*modules: str) -> dict[str, str]:
    """Versions of imported packages that a result depends on.

    Raises:
        EngineError: one is not installed.
    """
    found = {}
    for module in modules:
        try:
            found[module] = str(importlib.import_module(module).__version__)
        except ImportError as error:
            raise EngineError(f"{module} is not installed", "pip install '.[baselines]'") from error
    return found


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _read_json(path: Path) -> Any:
    try:
        kept = json.loads(path.read_text())
        value, digest = kept["value"], kept["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: is no result", "remove it") from error
    if _digest(value) != digest:
        raise DataError(f"{path}: damaged, its checksum differs", "remove it")
    return value
