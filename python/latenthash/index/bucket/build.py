"""Building a bucket index from a code file, streamed; the folder appears whole."""

from __future__ import annotations

import shutil
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from ...codes import CodeSet
from ...errors import DataError
from ...files import atomic_folder, reserve
from ...hamming import Codes
from ...manifest import new_manifest, write_manifest
from ...progress import Progress, silent
from . import layout

_ROWS = 8192


def build_index(codes: CodeSet, output: Path, on_progress: Progress = silent) -> Path:
    """Build the index of a code set in the folder `output`.

    Args:
        codes: at least one image.
        output: replaced if it is an index already.
        on_progress: told of rows written.

    Returns:
        `output`.

    Raises:
        DataError: no images, or `output` is a folder of something else.
        StorageError: the disk is full or cannot be written.
    """
    if not len(codes):
        raise DataError(f"{codes.path}: holds no images", "extract some first")
    _require_replaceable(output)
    with atomic_folder(output) as folder:
        buckets, offsets, order = group(codes.codes)
        np.save(folder / layout.BUCKETS, buckets)
        np.save(folder / layout.OFFSETS, offsets)
        np.save(folder / layout.IDS, order)
        _write_features(codes, order, folder / layout.FEATURES, on_progress)
        _write_items(codes, folder / layout.ITEMS)
        model = _copy_model(codes, folder / layout.MODEL)
        manifest = new_manifest(
            layout.STAGE,
            images=len(codes),
            buckets=len(buckets),
            bits=codes.bits,
            dim=codes.dim,
            model=model,
            root=codes.manifest.get("root"),
            files=layout.checksums(folder),
        )
        write_manifest(manifest, folder / layout.MANIFEST)
    return output


def _require_replaceable(output: Path) -> None:
    if output.is_file() or (output.is_dir() and any(output.iterdir())):
        if (output / layout.MANIFEST).is_file():
            return
        raise DataError(f"{output}: exists and is no index", "choose another place")


def group(codes: Codes) -> tuple[Codes, NDArray[np.int64], NDArray[np.int64]]:
    """Group equal codes.

    Args:
        codes: (N, W) uint8, packed.

    Returns:
        (K, W) distinct codes ascending, (K + 1,) offsets, (N,) row numbers in bucket order.
    """
    # for code in sorted(set(codes)): rows += [row for row in range(N) if codes[row] == code]
    order = np.lexsort(codes.T[::-1]).astype(np.int64)
    ordered = codes[order]
    changes = np.flatnonzero((ordered[1:] != ordered[:-1]).any(axis=1)) + 1
    offsets = np.concatenate(([0], changes, [len(codes)])).astype(np.int64)
    return ordered[offsets[:-1]], offsets, order


def _write_features(
    codes: CodeSet, order: NDArray[np.int64], path: Path, on_progress: Progress
) -> None:
    """Scatter the features, read in file order, to their rows in bucket order."""
    row_of_id = np.empty_like(order)
    row_of_id[order] = np.arange(len(order))
    features = open_memmap(path, "w+", np.float16, (len(codes), codes.dim))
    reserve(path, path.stat().st_size)
    for start in range(0, len(codes), _ROWS):
        block = codes.features(start, start + _ROWS)
        features[row_of_id[start : start + len(block)]] = block
        on_progress(start + len(block), len(codes))
    features.flush()


def _write_items(codes: CodeSet, path: Path) -> None:
    image = BytesIO()  # HDF5 does not survive a full disk; a plain write does
    with h5py.File(image, "w") as file:
        file.create_dataset("names", data=codes.names, dtype=h5py.string_dtype())
        file["labels"] = codes.labels
        file["content"] = codes.content
        file.attrs["classes"] = codes.manifest.get("classes", [])
    path.write_bytes(image.getbuffer())


def _copy_model(codes: CodeSet, folder: Path) -> dict[str, Any]:
    """Keep the network's small files with the index; the weights stay where they are."""
    folder.mkdir()
    model: dict[str, Any] = codes.manifest["model"]
    shutil.copyfile(model["deploy"], folder / "deploy.prototxt")
    mean = model["preprocess"]["mean"]
    if not isinstance(mean, dict):
        return model
    shutil.copyfile(mean["file"], folder / "mean.binaryproto")
    mean = {**mean, "file": "mean.binaryproto"}
    return {**model, "preprocess": {**model["preprocess"], "mean": mean}}
