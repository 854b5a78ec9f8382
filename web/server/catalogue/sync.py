"""The catalogue follows the index: rows for what came, flags for what went."""

from __future__ import annotations

import fcntl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import PurePath

from django.conf import settings
from django.db import transaction

from . import services
from .models import Feedback, Image, State

_ROWS = 2000  # written at a time
_KEY = "index"


@contextmanager
def catalogue_lock() -> Iterator[None]:
    """One process at a time changes index and catalogue; the kernel frees a dead one's lock."""
    with (settings.DATA / "catalogue.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def shown_name(number: int, name: str) -> str:
    """Name to show: without the server's folders, and valid text whatever the bytes are."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\0", "")
    return f"added/{number}/{PurePath(text).name}" if PurePath(text).is_absolute() else text


def find_shown(library: services.Library, name: str) -> int | None:
    """Id of the image that is shown under this name."""
    parts = name.split("/")
    if len(parts) == 3 and parts[0] == "added" and parts[1].isdecimal():
        row = Image.objects.filter(pk=int(parts[1]), name=name, in_library=True).first()
        return row.number if row else None
    return library.find_name(name)


def synchronise() -> services.Library:
    """The library, and a catalogue that shows its generation."""
    library = services.library()
    if library.catalogued != library.checksum:  # else no question to the database is needed
        if _known() != library.checksum:
            with catalogue_lock():
                library.refresh()
                if _known() != library.checksum:
                    _follow(library)
        library.catalogued = library.checksum
    return library


def _known() -> str | None:
    return State.objects.filter(pk=_KEY).values_list("checksum", flat=True).first()


def mark(library: services.Library) -> None:
    """The catalogue shows this generation now."""
    State.objects.update_or_create(key=_KEY, defaults={"checksum": library.checksum})
    library.catalogued = library.checksum


def _follow(library: services.Library) -> None:
    """Rows of images that are other images now are replaced, and what was said of them."""
    columns = ("number", "name", "label_name", "content")
    known = {number: rest for number, *rest in Image.objects.values_list(*columns)}
    current, changed, new = set(), [], []
    for entry in library.entries():
        current.add(entry.number)
        row = [shown_name(entry.number, entry.name), entry.label_name, entry.content]
        if entry.number not in known:
            new.append(entry.number)
        elif known[entry.number] != row:
            changed.append(entry.number)
    with transaction.atomic():
        for numbers in _blocks(changed):
            Feedback.objects.filter(hit__in=numbers).delete()
            Feedback.objects.filter(query__in=[f"id:{n}" for n in numbers]).delete()
            Image.objects.filter(pk__in=numbers).delete()
        for numbers in _blocks(known.keys() - current):
            Image.objects.filter(pk__in=numbers).update(in_library=False)
        for numbers in _blocks(known.keys() & current):
            Image.objects.filter(pk__in=numbers, in_library=False).update(in_library=True)
        insert(library, {*new, *changed})
        mark(library)


def insert(library: services.Library, numbers: set[int]) -> None:
    """Rows for images of the index."""
    if not numbers:
        return
    rows = [
        Image(
            number=entry.number,
            name=shown_name(entry.number, entry.name),
            label=entry.label,
            label_name=entry.label_name,
            hashcode=entry.code,
            content=entry.content,
        )
        for entry in library.entries(numbers)
    ]
    Image.objects.bulk_create(rows, batch_size=_ROWS)


def _blocks(numbers: Iterable[int]) -> Iterator[list[int]]:
    ordered = sorted(numbers)
    for start in range(0, len(ordered), _ROWS):
        yield ordered[start : start + _ROWS]
