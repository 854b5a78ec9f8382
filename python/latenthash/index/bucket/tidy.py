"""Removing what no manifest names: left by a writer that died, or replaced by a newer one."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...files import PARTIAL, fsync
from . import layout
from .generation import named_files

_OURS = re.compile(r"(\d{6,})(\.npy)?")
_FOLDERS = (layout.SEGMENTS, layout.TOMBSTONES, layout.MODEL)


def _made(folder: Path) -> Iterator[Path]:
    """What generations have made; nothing with a name that is not ours."""
    for part in _FOLDERS:
        if (folder / part).is_dir():
            yield from (path for path in (folder / part).iterdir() if _OURS.fullmatch(path.name))


def newest_number(folder: Path) -> int:
    """Highest generation that has left something in an index folder; 0 if none has."""
    return max((int(path.name.split(".")[0]) for path in _made(folder)), default=0)


def remove_unnamed(folder: Path, manifest: Mapping[str, Any] | None) -> None:
    """Remove what `manifest` does not name; None names nothing."""
    named = named_files(manifest) if manifest else {}
    kept = {Path(*Path(name).parts[:2]) for name in named}
    if manifest:
        fsync(folder)  # the switch to it must not be lost once what it replaced is gone
    for path in list(_made(folder)):
        if path.relative_to(folder) in kept:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    (folder / (layout.MANIFEST + PARTIAL)).unlink(missing_ok=True)


def remove_all(folder: Path) -> None:
    """Take back a first build that failed; the folder stays if anything else is in it."""
    remove_unnamed(folder, None)
    (folder / layout.LOCK).unlink(missing_ok=True)
    for part in (*(folder / name for name in _FOLDERS), folder):
        if part.is_dir() and not any(part.iterdir()):
            part.rmdir()
