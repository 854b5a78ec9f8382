"""Rows of codes and of features, written to their collections block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ...codes import CodeSet, Rows
from ...manifest import Manifest
from ...progress import Progress
from .layouts import buckets_of
from .server import Row, Server
from .text import to_stored

Ids = NDArray[np.int64]
_BLOCK = 16 << 20  # bytes of features written at once
_MOST = 4096  # rows written at once


def write_rows(
    server: Server,
    manifest: Manifest,
    codes: CodeSet,
    kept: Ids,
    ids: Ids,
    names: Sequence[str],
    labels: NDArray[np.int32],
    on_progress: Progress,
) -> None:
    """Write images of a code set: of each block features, then codes.

    Args:
        server: where.
        manifest: names the collections.
        codes: the set.
        kept: (n,) rows of it to take, ascending.
        ids: (n,) int64 for them.
        names: of all images of the set, as the index names them.
        labels: (N,) of all images, as the index numbers classes.
        on_progress: told of images of the set.
    """
    step = max(1, min(_MOST, _BLOCK // (4 * codes.dim)))
    for start in range(0, len(codes), step):
        at = np.flatnonzero((kept >= start) & (kept < start + step))
        if len(at):
            rows, own = codes.rows(start, min(start + step, len(codes))), kept[at] - start
            server.insert(manifest["features"], list(_feature_rows(rows, own, ids[at])))
            chosen = [names[row] for row in kept[at].tolist()]
            columns = (ids[at], chosen, labels[kept[at]])
            server.insert(manifest["codes"], list(_code_rows(rows, own, *columns)))
        on_progress(min(start + step, len(codes)), len(codes))


def _feature_rows(rows: Rows, own: Ids, ids: Ids) -> Iterator[Row]:
    features = rows.features[own].astype(np.float32)
    return ({"id": n, "feature": f} for n, f in zip(ids.tolist(), features, strict=True))


def _code_rows(
    rows: Rows, own: Ids, ids: Ids, names: Sequence[str], labels: NDArray[np.int32]
) -> Iterator[Row]:
    codes, content = rows.codes[own], rows.content[own]
    buckets, numbers = buckets_of(codes).tolist(), labels.tolist()
    columns = zip(ids.tolist(), codes, buckets, numbers, names, content, strict=True)
    for number, code, bucket, label, name, digest in columns:
        yield {
            "id": number,
            "code": code.tobytes(),
            "bucket": bucket,
            "label": label,
            "name": to_stored(name),
            "content": digest.tobytes().hex() if digest.any() else "",
        }
