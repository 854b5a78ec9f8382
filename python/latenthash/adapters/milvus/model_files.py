"""The network's small files, copied from Milvus into the user's cache folder."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from ...errors import StorageError
from ...files import storage_errors
from ...manifest import Manifest
from . import facts
from .server import Server


def model_folder(server: Server, manifest: Manifest) -> Path:
    """A folder with the files that a manifest names; it has the name of their content.

    It stays, below $XDG_CACHE_HOME or ~/.cache; several processes may ask at once.

    Raises:
        StorageError: a file is damaged in Milvus, or the disk is full.
    """
    known: dict[str, dict[str, str]] = manifest["model_files"]
    content = json.dumps({Path(name).name: file["sha256"] for name, file in known.items()})
    folder = _cache() / hashlib.sha256(content.encode()).hexdigest()[:32]
    for name, file in known.items():
        if not (folder / Path(name).name).is_file():
            _fetch(server, name, file["sha256"], folder / Path(name).name)
    return folder


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "latenthash/models"


def _fetch(server: Server, name: str, digest: str, path: Path) -> None:
    content = facts.read_file(server, name)
    if hashlib.sha256(content).hexdigest() != digest:
        raise StorageError(f"{server.address}: {name}: damaged", "build the index again")
    own = path.with_name(f"{os.getpid()}-{path.name}")
    with storage_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            own.write_bytes(content)
            own.replace(path)
        finally:
            own.unlink(missing_ok=True)
