"""Descriptors by name, and as files: HDF5 with what was learned and a manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..errors import DataError
from ..files import atomic_file
from ..manifest import FORMAT, new_manifest
from .aggregated import AGGREGATED, Aggregated
from .base import SIZE, Arrays, Descriptor
from .histograms import HISTOGRAMS, Histogram

DESCRIPTORS = HISTOGRAMS + AGGREGATED
"""Names of all descriptors."""
_STAGE = "fit_descriptor"


def make_descriptor(name: str, size: int = SIZE, arrays: Arrays | None = None) -> Descriptor:
    """The descriptor called `name`.

    Args:
        name: one of `DESCRIPTORS`.
        size: pixels of a side that images are warped to; at least 32.
        arrays: what was learned before.

    Raises:
        DataError: no such name or size.
        EngineError: what it needs is not installed.
    """
    if name not in DESCRIPTORS:
        raise DataError(f"descriptor {name!r}", f"choose one of {', '.join(DESCRIPTORS)}")
    if size < 32 or size % 8:
        raise DataError(f"{size} pixels", "give a multiple of 8, 32 or more")
    kind = Histogram if name in HISTOGRAMS else Aggregated
    return kind(name, size, arrays)


def write_descriptor(descriptor: Descriptor, path: Path) -> None:
    """Write the file whole; equal descriptors give equal bytes.

    Raises:
        DataError: the descriptor is not fitted.
        StorageError: the disk is full or cannot be written.
    """
    manifest = new_manifest(
        _STAGE,
        name=descriptor.name,
        size=descriptor.size,
        dim=descriptor.dim,
        sha256=descriptor.identity,
    )
    with atomic_file(path) as partial, h5py.File(partial, "w") as file:
        for name, array in sorted(descriptor.arrays.items()):
            file[name] = array.astype("<f4")
        file.attrs["manifest"] = json.dumps(manifest, sort_keys=True)


def read_descriptor(path: Path) -> Descriptor:
    """Read what `write_descriptor` wrote.

    Raises:
        DataError: missing, damaged, of a newer format, or no descriptor.
        EngineError: what it needs is not installed.
    """
    remedy = "extract_baseline writes one"
    try:
        with h5py.File(path, "r") as file:
            manifest: dict[str, Any] = json.loads(file.attrs["manifest"])
            arrays = {name: np.asarray(file[name][:]) for name in file}
    except (OSError, KeyError, ValueError) as error:
        problem = "is no descriptor" if path.exists() else "no such file"
        raise DataError(f"{path}: {problem}", remedy) from error
    if manifest.get("stage") != _STAGE:
        raise DataError(f"{path}: is no descriptor", remedy)
    if manifest["format"] > FORMAT:
        raise DataError(f"{path}: written by a newer version", "update latenthash")
    descriptor = make_descriptor(manifest["name"], manifest["size"], arrays)
    if descriptor.identity != manifest["sha256"]:
        raise DataError(f"{path}: damaged, its checksum differs", "put a whole copy back")
    return descriptor
