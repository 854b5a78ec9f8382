"""Which files of a folder are images."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import DataError

_BITMAPS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff")
_NETPBM = (".ppm", ".pgm", ".pbm", ".pnm")
EXTENSIONS = frozenset(_BITMAPS + _NETPBM)


def list_images(folder: Path) -> list[Path]:
    """All files below `folder` that are named like images, sorted by the names' bytes.

    Links are followed; broken ones are listed too, so that they get reported. Hidden
    files and folders are left out.

    Raises:
        DataError: a folder is missing or cannot be listed.
    """
    return sorted(_walk(folder, ()), key=os.fsencode)


def _walk(folder: Path, above: tuple[tuple[int, int], ...]) -> Iterator[Path]:
    try:
        status = folder.stat()
        entries = list(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}", "give a folder that can be read") from error
    this = (status.st_dev, status.st_ino)
    if this in above:  # a link to a folder that holds it
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(entry, (*above, this))
        elif entry.suffix.lower() in EXTENSIONS:
            yield entry
