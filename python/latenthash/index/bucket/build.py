"""Building a bucket index from a code file, streamed; it appears whole or not at all."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...codes import CodeSet
from ...errors import DataError, LatentHashError, MismatchError
from ...files import fsync, sha256, storage_errors
from ...hashing import read_hash
from ...manifest import Manifest, new_manifest, read_manifest
from ...progress import Progress, silent
from . import layout
from .generation import CHECKSUM, commit, load_manifest
from .items import items_of_codes, merged_classes, sample_of_codes
from .lock import writer_lock
from .segment import encode
from .segment_writer import Items, write_segment
from .storage_types import choose_scale, feature_loss, require_storage
from .tidy import newest_number, remove_all, remove_unnamed

_SAMPLE = 2048
_log = logging.getLogger(__name__)


def build_index(
    codes: CodeSet, output: Path, storage: str = "float16", on_progress: Progress = silent
) -> Path:
    """Build the index of a code set in the folder `output`; ids are its row numbers.

    An index that is there already is replaced at the end, by one atomic switch: until
    then it serves its readers, and it is left alone if anything fails.

    Args:
        codes: at least one image.
        output: a new or empty folder, or an index.
        storage: of the features: float32, float16 or int8.
        on_progress: told of images.

    Returns:
        `output`.

    Raises:
        DataError: no images, or `output` is something else.
        StorageError: the disk is full or cannot be written, or the index is being changed.
    """
    if not len(codes):
        raise DataError(f"{codes.path}: holds no images", "extract some first")
    require_storage(storage)
    _require_replaceable(output)
    with storage_errors(output):
        output.mkdir(parents=True, exist_ok=True)
        with writer_lock(output):
            previous = _previous(output)
            try:
                manifest = _write(codes, output, storage, previous, on_progress)
                commit(output, manifest)
                fsync(output.parent)
            except BaseException:
                _take_back(output)
                raise
            remove_unnamed(output, manifest)
    return output


def _require_replaceable(output: Path) -> None:
    if output.is_dir() and (not any(output.iterdir()) or (output / layout.LOCK).is_file()):
        return  # empty, an index, or a build that was cut short
    if (output / layout.MANIFEST).is_file():
        read_manifest(output / layout.MANIFEST, layout.STAGE)
    elif output.exists():
        raise DataError(f"{output}: exists and is no index", "choose another place")


def _previous(output: Path) -> Manifest | None:
    """Manifest of the index that is there; None if there is none, or none that is whole."""
    if not (output / layout.MANIFEST).exists():
        remove_unnamed(output, None)
        return None
    manifest = _readable(output)
    if manifest:
        remove_unnamed(output, manifest)
    return manifest


def _readable(output: Path) -> Manifest | None:
    try:
        return load_manifest(output)
    except LatentHashError as error:
        _log.warning("%s: is not whole: %s", output, error)
        return None


def _take_back(output: Path) -> None:
    """After a failure, remove what is not in use; the switch itself may have happened."""
    if not (output / layout.MANIFEST).exists():
        remove_all(output)
    elif (current := _readable(output)) is not None:
        remove_unnamed(output, current)


def _write(
    codes: CodeSet,
    output: Path,
    storage: str,
    previous: Manifest | None,
    on_progress: Progress,
) -> Manifest:
    """Everything of the new generation but its manifest."""
    number = 1 + max(newest_number(output), previous["generation"] if previous else 0)
    ids = np.arange(len(codes), dtype=np.int64)
    names = [encode(name) for name in codes.names]
    classes, labels = merged_classes([], codes)
    items = items_of_codes(codes, ids, ids, names, labels)
    model, model_files = copy_model(codes, output, number)
    facts = new_manifest(
        layout.STAGE,
        bits=codes.bits,
        dim=codes.dim,
        storage=storage,
        classes=classes,
        root=codes.manifest.get("root"),
        model=model,
        model_folder=f"{layout.MODEL}/{layout.number_name(number)}",
        model_files=model_files,
    )
    entry, loss = write_codes(codes, items, ids, output, number, facts, on_progress)
    return next_manifest(facts, number, [entry], feature_loss=loss, next_id=len(codes))


def write_codes(
    codes: CodeSet,
    items: Items,
    kept: NDArray[np.int64],
    folder: Path,
    number: int,
    facts: Manifest,
    on_progress: Progress,
) -> tuple[dict[str, Any], dict[str, float]]:
    """Write a segment of images `kept` of a code set.

    Returns:
        Its entry in the manifest, and what storing its features cost.
    """
    sample = sample_of_codes(codes, kept, _SAMPLE)
    storage = facts["storage"]
    scale = choose_scale(sample) if storage == "int8" else None
    loss = feature_loss(sample, storage, scale)
    if scale is not None:
        _log.info(
            "features as int8: %.1f %% of the exact ten nearest found, distances off by %.2f %%",
            100 * loss["recall_at_10"],
            100 * loss["distance_error"],
        )
    path = folder / layout.SEGMENTS / layout.number_name(number)
    entry = write_segment(
        path, items, facts["bits"], facts["dim"], storage, scale, on_progress=on_progress
    )
    return entry, loss


def next_manifest(
    facts: Manifest, number: int, segments: list[dict[str, Any]], **changes: Any
) -> Manifest:
    """Manifest of generation `number`: `facts` with these segments and changes."""
    manifest = {
        **facts,
        "tombstones": None,
        **changes,
        "generation": number,
        "segments": segments,
        "buckets": sum(entry["buckets"] for entry in segments),
    }
    manifest.pop(CHECKSUM, None)
    dead = manifest["tombstones"]["count"] if manifest["tombstones"] else 0
    manifest["images"] = sum(entry["images"] for entry in segments) - dead
    return manifest


def copy_model(
    codes: CodeSet, output: Path, number: int
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Keep the network's small files with the index; the weights stay where they are.

    Args:
        codes: whose network it is.
        output: folder of the index; they go below its `model/NUMBER`.
        number: of the generation.

    Returns:
        The network as the manifest tells of it, and {path in `output`: {bytes, sha256}}.

    Raises:
        DataError: a file is gone.
        MismatchError: another hash has taken its file's name.
    """
    folder = output / layout.MODEL / layout.number_name(number)
    folder.mkdir(parents=True)
    model: dict[str, Any] = codes.manifest["model"]
    _copy(model["deploy"], folder / "deploy.prototxt", codes)
    mean = model["preprocess"]["mean"]
    if isinstance(mean, dict):
        _copy(mean["file"], folder / "mean.binaryproto", codes)
        mean = {**mean, "file": "mean.binaryproto"}
    learned = model.get("hash")
    if learned is not None:
        _copy_hash(learned["file"], folder / "hash.h5", codes)
        learned = {**learned, "file": "hash.h5"}
    files = sorted(folder.iterdir())
    for path in (*files, folder, folder.parent):
        fsync(path)
    known = {
        path.relative_to(output).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": sha256(path),
        }
        for path in files
    }
    preprocess = {**model["preprocess"], "mean": mean}
    return {**model, "preprocess": preprocess, "hash": learned}, known


def _copy(source: str, target: Path, codes: CodeSet) -> None:
    if not Path(source).is_file():
        raise DataError(f"{source}: no such file, but it made {codes.path}", "put it back")
    shutil.copyfile(source, target)


def _copy_hash(source: str, target: Path, codes: CodeSet) -> None:
    """Copy a learned hash, unless another has taken its name since."""
    _copy(source, target, codes)
    if read_hash(target).identity != codes.manifest["model"]["hash_sha256"]:
        raise MismatchError(
            f"{source}: is not the hash that made {codes.path}", "put it back, or extract again"
        )
