"""Which files of a folder are images."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import DataError

_BITMAPS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff")
_NETPBM = (".ppm", ".pgm", ".pbm", ".pnm")
EXTENSIONS = frozenset(_BITMAPS + _NETPBM)


def list_images(folder: Path, deep: bool = True) -> list[str]:
    """Paths of all files below `folder` named like images, sorted by the names' bytes.

    Links are followed; broken ones are listed too, so that they get reported. Hidden
    files and folders are left out.

    Args:
        folder: where to look.
        deep: False looks into no folder below it.

    Raises:
        DataError: a folder is missing or cannot be listed.
    """
    return sorted(_walk(os.fspath(folder), (), deep), key=os.fsencode)


def _walk(folder: str, above: tuple[tuple[int, int], ...], deep: bool) -> Iterator[str]:
    try:
        status = os.stat(folder)  # noqa: PTH116
        entries = list(os.scandir(folder))
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}", "give a folder that can be read") from error
    this = (status.st_dev, status.st_ino)
    if this in above:  # a link to a folder that holds it
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if deep:
                yield from _walk(entry.path, (*above, this), deep)
        elif os.path.splitext(entry.name)[1].lower() in EXTENSIONS:  # noqa: PTH122
            yield entry.path
