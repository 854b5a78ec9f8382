"""Images of a generation by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...errors import DataError
from .generation import Generation


def find_name(generation: Generation, name: str) -> int | None:
    """Id of the image with this name; of the newest if there are more."""
    for segment in reversed(generation.segments):
        if (position := segment.find_name(name)) is not None:
            return int(segment.ids[position])
    return None


def ids_of(generation: Generation, names: Iterable[str]) -> list[int]:
    """Ids of images by name.

    Raises:
        DataError: a name is not in the index; the first ten are told.
    """
    found = [(name, find_name(generation, name)) for name in names]
    missing = [name for name, number in found if number is None]
    if missing:
        raise DataError(
            f"{generation.folder}: holds no {_listed(missing)}",
            "names are those that search.py shows",
        )
    return [number for _, number in found if number is not None]


def _listed(names: Sequence[str], most: int = 10) -> str:
    rest = f" and {len(names) - most} others" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
