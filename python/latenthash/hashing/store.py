"""A hash function as a file: HDF5 with `mean`, `projection`, what else it has, a manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..errors import DataError
from ..files import atomic_file
from ..manifest import FORMAT, new_manifest
from .function import HashFunction, Kernel

_STAGE = "learn_hash"


def write_hash(function: HashFunction, path: Path) -> None:
    """Write the file whole; equal functions give equal bytes.

    Raises:
        StorageError: the disk is full or cannot be written.
    """
    kernel = function.kernel
    manifest = new_manifest(
        _STAGE,
        method=function.method,
        seed=function.seed,
        bits=function.bits,
        dim=function.dim,
        learned_from=function.learned_from,
        sha256=function.identity,
        **({"gamma": kernel.gamma} if kernel else {}),
    )
    with atomic_file(path) as partial, h5py.File(partial, "w") as file:
        file["mean"] = function.mean.astype("<f4")
        file["projection"] = function.projection.astype("<f4")
        if function.phase is not None:
            file["phase"] = function.phase.astype("<f4")
        if function.offset is not None:
            file["offset"] = function.offset.astype("<f4")
        if kernel is not None:
            file["anchors"] = kernel.anchors.astype("<f4")
        file.attrs["manifest"] = json.dumps(manifest, sort_keys=True)


def read_hash(path: Path) -> HashFunction:
    """Read what `write_hash` wrote.

    Raises:
        DataError: missing, damaged, of a newer format, or no hash function.
    """
    try:
        with h5py.File(path, "r") as file:
            manifest: dict[str, Any] = json.loads(file.attrs["manifest"])
            arrays = {name: np.asarray(file[name][:]) for name in file}
        mean, projection = arrays["mean"], arrays["projection"]
        anchors = arrays.get("anchors")
        kernel = None if anchors is None else Kernel(anchors, manifest["gamma"])
    except (OSError, KeyError, ValueError) as error:
        problem = "is no hash function" if path.exists() else "no such file"
        raise DataError(f"{path}: {problem}", "extract with --hash writes one") from error
    if manifest.get("stage") != _STAGE:
        raise DataError(f"{path}: is no hash function", "extract with --hash writes one")
    if manifest["format"] > FORMAT:
        raise DataError(f"{path}: written by a newer version", "update latenthash")
    method, seed, learned_from = (manifest[key] for key in ("method", "seed", "learned_from"))
    function = HashFunction(
        method, seed, learned_from, mean, projection, arrays.get("phase"), kernel,
        arrays.get("offset"),
    )  # fmt: skip
    if function.identity != manifest["sha256"]:
        raise DataError(f"{path}: damaged, its checksum differs", "put a whole copy back")
    return function
