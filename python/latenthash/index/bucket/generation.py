"""A generation: the manifest of one moment and the segments it names."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, StorageError
from ...hamming import MAX_BITS
from ...manifest import Manifest, read_manifest, write_manifest
from . import layout
from .arrays import REMEDY, file_bytes, open_array
from .segment import Segment

CHECKSUM = "checksum"
_NUMBER = re.compile(r"\d{6,18}")
_TRIES = 20  # a reader that meets so many switches while it opens is not unlucky
_BUILD = "build the index again with build_index.py"


@dataclass(frozen=True)
class Generation:
    """An index as it was at one moment; later changes do not touch what is open.

    Attributes:
        folder: of the index.
        manifest: see docs/index_format.md.
        segments: mapped, oldest first; ids ascend from segment to segment.
        removed: (T,) int64 ids ascending, removed and not yet compacted away.
    """

    folder: Path
    manifest: Manifest
    segments: tuple[Segment, ...]
    removed: NDArray[np.int64]

    @property
    def number(self) -> int:
        """Grows with every change."""
        return int(self.manifest["generation"])

    @property
    def images(self) -> int:
        """Live images."""
        return int(self.manifest["images"])

    @property
    def model_folder(self) -> Path:
        """Holds the deploy net and mean image that made the codes."""
        return self.folder / str(self.manifest["model_folder"])

    @property
    def files(self) -> dict[str, dict[str, Any]]:
        """{path in the folder: {bytes, sha256}} of every file but the manifest."""
        return named_files(self.manifest)


def open_generation(folder: Path) -> Generation:
    """Open the current generation; lengths, types and shapes are checked, not content.

    Raises:
        DataError: no index there, or one of a newer format.
        StorageError: a file is missing or damaged.
    """
    manifest = load_manifest(folder)
    for _ in range(_TRIES):
        try:
            return _open(folder, manifest)
        except StorageError:
            current = load_manifest(folder)
            if current == manifest:
                raise
            manifest = current  # a writer switched, and removed what it had replaced
    raise StorageError(f"{folder}: changes faster than it can be opened", "try again")


def _open(folder: Path, manifest: Manifest) -> Generation:
    for name, known in manifest["model_files"].items():
        _require_length(folder / name, known["bytes"])
    removed = _tombstones(folder, manifest)
    segments = tuple(
        Segment(folder / layout.SEGMENTS / entry["name"], entry, manifest, removed)
        for entry in manifest["segments"]
    )
    return Generation(folder, manifest, segments, removed)


def _require_length(path: Path, size: int) -> None:
    found = path.stat().st_size if path.is_file() else None
    if found != size:
        problem = "missing" if found is None else f"{found} bytes instead of {size}"
        raise StorageError(f"{path}: {problem}", REMEDY)


def _tombstones(folder: Path, manifest: Manifest) -> NDArray[np.int64]:
    known = manifest["tombstones"]
    if known is None:
        return np.empty(0, dtype=np.int64)
    path = folder / layout.TOMBSTONES / known["file"]
    removed: NDArray[np.int64] = open_array(path, "<i8", (known["count"],))
    if (removed[1:] <= removed[:-1]).any():
        raise StorageError(f"{path}: damaged", REMEDY)
    return removed


def named_files(manifest: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """{path in the folder: {bytes, sha256}} of every file that a manifest names."""
    files: dict[str, dict[str, Any]] = dict(manifest["model_files"])
    for entry in manifest["segments"]:
        for name, known in entry["files"].items():
            files[f"{layout.SEGMENTS}/{entry['name']}/{name}"] = known
    if manifest["tombstones"]:
        files[f"{layout.TOMBSTONES}/{manifest['tombstones']['file']}"] = manifest["tombstones"]
    return files


def commit(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Make `manifest` the current generation: the one atomic switch."""
    content = {key: value for key, value in manifest.items() if key != CHECKSUM}
    write_manifest({**content, CHECKSUM: _checksum(content)}, folder / layout.MANIFEST)


def load_manifest(folder: Path) -> Manifest:
    """The current manifest, checked to hold what the rest of the code takes for granted.

    Raises:
        DataError: no index there, or one of a newer format.
        StorageError: damaged.
    """
    path = folder / layout.MANIFEST
    if not folder.is_dir():
        raise DataError(f"{folder}: no index there", "run build_index.py or `make demo`")
    manifest = read_manifest(path, layout.STAGE)
    if CHECKSUM not in manifest:
        raise DataError(f"{path}: of an index of an earlier version", _BUILD)
    content = {key: value for key, value in manifest.items() if key != CHECKSUM}
    if manifest[CHECKSUM] != _checksum(content):
        raise StorageError(f"{path}: damaged", REMEDY)
    for key, fits in _CHECKS.items():
        if key not in manifest or not fits(manifest[key]):
            raise StorageError(f"{path}: {key} makes no sense", REMEDY)
    _require_sizes(manifest, path)
    return manifest


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _count(least: int, most: int = 2**62) -> Any:
    return lambda value: type(value) is int and least <= value <= most


def _file(known: Any) -> bool:
    return (
        isinstance(known, dict)
        and type(known.get("bytes")) is int
        and known["bytes"] >= 0
        and isinstance(known.get("sha256"), str)
    )


def _segment(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("name"), str)
        and _NUMBER.fullmatch(entry["name"]) is not None
        and _count(1, layout.MOST_IMAGES)(entry.get("images"))
        and _count(1, entry["images"])(entry.get("buckets"))
        and isinstance(entry.get("files"), dict)
        and all(map(_file, entry["files"].values()))
    )


def _removed(known: Any) -> bool:
    return known is None or (
        _file(known)
        and _count(1)(known.get("count"))
        and isinstance(known.get("file"), str)
        and _NUMBER.fullmatch(known["file"].removesuffix(".npy")) is not None
    )


def _loss(known: Any) -> bool:
    names = ("recall_at_10", "distance_error")
    return isinstance(known, dict) and all(isinstance(known.get(n), int | float) for n in names)


def _model_file(name: str) -> bool:
    parts = Path(name).parts
    return len(parts) == 3 and parts[0] == layout.MODEL and ".." not in parts


_CHECKS: dict[str, Any] = {
    "generation": _count(1),
    "next_id": _count(0),
    "images": _count(0),
    "buckets": _count(0),
    "bits": _count(1, MAX_BITS),
    "dim": _count(1, 2**31),
    "storage": lambda value: isinstance(value, str) and value in layout.STORAGE,
    "classes": lambda value: isinstance(value, list) and all(isinstance(c, str) for c in value),
    "root": lambda value: value is None or isinstance(value, str),
    "model": lambda value: isinstance(value, dict),
    "model_folder": lambda value: isinstance(value, str) and _model_file(f"{value}/file"),
    "model_files": lambda value: (
        isinstance(value, dict) and all(map(_model_file, value)) and all(map(_file, value.values()))
    ),
    "feature_loss": _loss,
    "segments": lambda value: isinstance(value, list) and all(map(_segment, value)),
    "tombstones": _removed,
}


def _require_sizes(manifest: Manifest, path: Path) -> None:
    """Lengths in the manifest must be those of the arrays: before anything is allocated."""
    facts = (manifest["bits"], manifest["dim"], manifest["storage"])
    for entry in manifest["segments"]:
        if set(entry["files"]) != layout.segment_files(manifest["storage"]):
            raise StorageError(f"{path}: files of segment {entry['name']} make no sense", REMEDY)
        arrays = layout.segment_arrays(entry["images"], entry["buckets"], *facts)
        for file, (dtype, shape) in arrays.items():
            if entry["files"][file]["bytes"] != file_bytes(dtype, shape):
                where = f"segment {entry['name']}, {file}"
                raise StorageError(f"{path}: the length of {where} makes no sense", REMEDY)
