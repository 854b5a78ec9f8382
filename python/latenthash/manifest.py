"""The sidecar JSON of a stage's output: what it was made from, with which settings.

A stage that reads another's output calls `require_same`, so that codes of one network
never meet an index of another.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from . import __version__
from .errors import DataError, MismatchError
from .files import atomic_file

FORMAT = 1
Manifest = dict[str, Any]
IDENTITY = ("deploy_sha256", "weights_sha256", "preprocess_sha256", "hash_sha256")
"""Keys of a model's description that tell one model from another."""


def new_manifest(stage: str, **settings: Any) -> Manifest:
    """Manifest of one stage: its name, the software's version and the settings."""
    return {"format": FORMAT, "latenthash": __version__, "stage": stage, **settings}


def write_manifest(manifest: Mapping[str, Any], path: Path) -> None:
    """Write as JSON with sorted keys, so that equal manifests are equal files."""
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")


def read_manifest(path: Path, stage: str) -> Manifest:
    """Read the manifest of `stage`.

    Raises:
        DataError: missing, no JSON, of another stage, or of a newer format.
    """
    try:
        manifest: Any = json.loads(path.read_text())
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}", f"is this the output of {stage}?") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is no JSON ({error})", f"run {stage} again") from error
    known = isinstance(manifest, dict) and isinstance(manifest.get("format", 0), int)
    if not known or manifest.get("stage") != stage:
        raise DataError(f"{path}: is no manifest of {stage}", f"give the output of {stage}")
    if manifest.get("format", 0) > FORMAT:
        raise DataError(
            f"{path}: format {manifest['format']}, this version reads up to {FORMAT}",
            "update latenthash",
        )
    result: Manifest = manifest
    return result


def require_same(
    found: Mapping[str, Any], expected: Mapping[str, Any], keys: Iterable[str], what: str
) -> None:
    """Raise `MismatchError` naming every key in which two manifests differ."""
    differing = [
        f"{key} {found.get(key)!r} instead of {expected.get(key)!r}"
        for key in keys
        if found.get(key) != expected.get(key)
    ]
    if differing:
        raise MismatchError(f"{what}: {'; '.join(differing)}", "use outputs of the same network")
