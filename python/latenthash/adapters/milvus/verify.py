"""Checking an index in Milvus: every row is read, codes are compared with features."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...errors import StorageError
from ...hamming import unpack
from ...manifest import Manifest
from ...progress import Progress, silent
from . import facts
from .codes import CodeRows
from .fine import Features
from .layouts import buckets_of
from .server import Row, Server

_BLOCK = 1024


def verify(server: Server, on_progress: Progress = silent) -> None:
    """Read everything.

    Raises:
        StorageError: something is damaged or half written; the message names it.
    """
    manifest = facts.load(server)
    for name, known in manifest["model_files"].items():
        if hashlib.sha256(facts.read_file(server, name)).hexdigest() != known["sha256"]:
            raise StorageError(f"{server.address}: {name}: damaged", "build the index again")
    codes = CodeRows(server, manifest["codes"], manifest["bits"], manifest["next_id"])
    features = Features(server, manifest["features"], manifest["dim"])
    count = 0
    for rows in codes.blocks(["code", "bucket", "label"], _BLOCK):
        _check_codes(server, manifest, rows)
        _check_features(server, features, rows)
        count += len(rows)
        on_progress(count, manifest["images"])
    _check_counts(server, manifest, count)


def _check_codes(server: Server, manifest: Manifest, rows: Sequence[Row]) -> None:
    if not rows:
        return
    bits = int(manifest["bits"])
    codes = np.frombuffer(b"".join(row["code"] for row in rows), np.uint8).reshape(len(rows), -1)
    labels = np.array([row["label"] for row in rows])
    wrong = unpack(codes, 8 * codes.shape[1])[:, bits:].any(axis=1)
    wrong |= buckets_of(codes) != np.array([row["bucket"] for row in rows])
    wrong |= (labels < -1) | (labels >= len(manifest["classes"]))
    _require(server, ~wrong, rows, "its row of codes makes no sense")


def _check_features(server: Server, features: Features, rows: Sequence[Row]) -> None:
    if not rows:
        return
    found, there = features.get(np.array([row["id"] for row in rows], np.int64))
    _require(server, there, rows, "it has a code and no feature")
    _require(server, np.asarray(np.isfinite(found).all(axis=1)), rows, "its feature is not finite")


def _require(server: Server, good: NDArray[np.bool_], rows: Sequence[Row], problem: str) -> None:
    if not good.all():
        number = rows[int(good.argmin())]["id"]
        raise StorageError(
            f"{server.address}: image {number}: {problem}", "remove it, and add it again"
        )


def _check_counts(server: Server, manifest: Manifest, images: int) -> None:
    """Nothing is there twice, nothing without the other."""
    for name in (manifest["codes"], manifest["features"]):
        rows = server.count(name)
        if rows != images:
            raise StorageError(
                f"{server.address}: {name} has {rows} rows for {images} images",
                "a change was cut short: `compact` removes what it has left",
            )
