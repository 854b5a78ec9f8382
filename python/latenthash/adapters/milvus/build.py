"""Building an index in Milvus; it is found when it is whole."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from ...codes import CodeSet
from ...errors import DataError, StorageError
from ...index.bucket.build import copy_model
from ...index.bucket.items import merged_classes
from ...manifest import Manifest, new_manifest
from ...progress import Progress, silent
from . import facts
from .address import parse
from .layouts import code_layout, data_names, feature_layout, is_data
from .rows import write_rows
from .server import Server

_LOSSLESS = {"recall_at_10": 1.0, "distance_error": 0.0}  # a code file has them as float16
_SEALED = 10_000  # images from which on Milvus' index is worth its building


def build_index(
    codes: CodeSet,
    address: str,
    on_progress: Progress = silent,
    shards: int = 1,
    replicas: int = 1,
) -> None:
    """Build the index of a code set in Milvus; ids are its row numbers.

    An index that is there already serves on until the new one is whole.

    Args:
        codes: at least one image.
        address: `milvus://host:port/collection`.
        on_progress: told of images.
        shards: channels that take writes; more nodes can then write at once.
        replicas: copies in memory, each on other nodes.

    Raises:
        DataError: no images, no address, or a file of the network is gone.
        StorageError: Milvus does not answer, or refuses.
    """
    if not len(codes):
        raise DataError(f"{codes.path}: holds no images", "extract some first")
    with Server(parse(address)) as server:
        facts.prepare(server)
        kept = _in_force(server)
        _drop_others(server, kept)
        try:
            manifest = _manifest(codes, server, 1 + (kept["generation"] if kept else 0))
            _fill(codes, server, manifest, on_progress, shards, replicas)
            manifest = facts.commit(server, manifest)
        except BaseException:
            _drop_others(server, _in_force(server))
            raise
        _drop_others(server, manifest)
        for name in set(kept["model_files"] if kept else ()) - set(manifest["model_files"]):
            facts.remove_file(server, name)


def _in_force(server: Server) -> Manifest | None:
    return facts.load(server) if facts.current(server, newest=True) is not None else None


def _drop_others(server: Server, kept: Manifest | None) -> None:
    """Drop the collections of other builds, among them those that a dead one has left."""
    wanted = {kept["codes"], kept["features"]} if kept else set()
    for name in server.collections():
        if is_data(name, server.address.collection) and name not in wanted:
            server.drop(name)


def _manifest(codes: CodeSet, server: Server, number: int) -> Manifest:
    """The manifest of a build; the network's files are kept."""
    names = data_names(server.address.collection, number)
    with tempfile.TemporaryDirectory(prefix="latenthash-") as scratch:
        model, files = copy_model(codes, Path(scratch), number)
        for name in files:
            facts.write_file(server, name, (Path(scratch) / name).read_bytes())
    classes, _ = merged_classes([], codes)
    return new_manifest(
        facts.STAGE,
        bits=codes.bits,
        dim=codes.dim,
        storage="float32",
        feature_loss=_LOSSLESS,
        classes=classes,
        root=codes.manifest.get("root"),
        model=model,
        model_files=files,
        generation=number,
        next_id=len(codes),
        images=len(codes),
        codes=names[0],
        features=names[1],
    )


def _fill(
    codes: CodeSet,
    server: Server,
    manifest: Manifest,
    on_progress: Progress,
    shards: int,
    replicas: int,
) -> None:
    layouts = {
        manifest["codes"]: code_layout(codes.bits),
        manifest["features"]: feature_layout(codes.dim),
    }
    for name, layout in layouts.items():
        server.create(name, layout, shards)
    ids = np.arange(len(codes), dtype=np.int64)
    _, labels = merged_classes([], codes)
    write_rows(server, manifest, codes, ids, ids, codes.names, labels, on_progress)
    for name, layout in layouts.items():
        server.load(name, layout, len(codes) >= _SEALED, replicas)
        if server.count(name) != len(codes):
            problem = f"{server.address}: {name} does not hold {len(codes)} rows"
            raise StorageError(problem, "see the log of Milvus, and build again")
