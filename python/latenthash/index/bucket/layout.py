"""Files of an index folder and what they hold.

| file | holds |
|---|---|
| manifest.json | counts, bits, dim, the network, length and SHA-256 of every other file |
| buckets.npy | (K, W) uint8: the distinct codes, ascending |
| offsets.npy | (K + 1,) int64: bucket b holds rows offsets[b] to offsets[b + 1] |
| ids.npy | (N,) int64: id of each row; within a bucket ascending |
| features.npy | (N, D) float16, rows as in ids.npy, so that a bucket is one read |
| items.h5 | names, labels, content by id |
| model/ | the deploy net and mean image that made the codes |
"""

from __future__ import annotations

from pathlib import Path

from ...files import sha256
from ...manifest import Manifest

STAGE = "build_index"
MANIFEST = "manifest.json"
BUCKETS = "buckets.npy"
OFFSETS = "offsets.npy"
IDS = "ids.npy"
FEATURES = "features.npy"
ITEMS = "items.h5"
MODEL = "model"


def checksums(folder: Path) -> Manifest:
    """{relative name: {bytes, sha256}} of all files in `folder`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": sha256(path),
        }
        for path in files
    }
