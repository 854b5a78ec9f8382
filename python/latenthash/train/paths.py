"""Where a path in a solver or net file points to."""

from __future__ import annotations

from pathlib import Path

from ..errors import DataError, LatentHashError


def find(path: str, file: Path, what: str, error: type[LatentHashError] = DataError) -> Path:
    """Absolute path of `path`, which `file` names.

    A relative path counts from the working directory, as in Caffe; if nothing is there,
    from the folder of `file`, then from the folders above that.

    Raises:
        error: it is nowhere; the message lists where was looked.
    """
    beside = file.absolute().parent
    places = [Path.cwd(), beside, *beside.parents]
    for folder in places:
        if path and (folder / path).exists():
            return folder / path
    looked = (
        "" if Path(path).is_absolute() else f", looked in {Path.cwd()} and from {beside} upward"
    )
    raise error(
        f"{path}: no such {what} (named in {file}{looked})", f"make it, or mend {file.name}"
    )
