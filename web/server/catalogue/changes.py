"""Adding to the library and removing from it: file, index and catalogue together."""

from __future__ import annotations

from hashlib import sha256

from . import pictures, services
from .answers import row_of
from .errors import invalid
from .models import Image
from .sync import catalogue_lock, insert, mark, synchronise

_LONGEST = 4096  # pixels of a side of a picture that is kept
_QUALITY = 95


def add(data: bytes, label: str) -> tuple[Image, bool]:
    """Add a picture; its row, and whether it is new.

    What is kept, and described by the network, is the picture written anew: upright,
    without metadata. The same picture again is found by either file's hash.
    """
    if not label.isprintable():
        raise invalid("label: not printable - give the name of a class")
    picture = services.rewritten(data, _LONGEST, _QUALITY, exact=True)
    synchronise()
    with catalogue_lock():
        library = services.library()
        for digest in (sha256(data).digest(), picture.sha256):
            if (known := library.find_content(digest)) is not None:
                return row_of(known), False
        name = pictures.store(picture)
        number = library.add(picture.data, name, label, pictures.added_root())
        insert(library, {number})
        Image.objects.filter(pk=number).update(
            width=picture.width, height=picture.height, size=len(picture.data)
        )
        mark(library)
    return row_of(number), True


def remove(number: int) -> None:
    """Take an image out; a file that was added goes too, others are not ours.

    Raises:
        Problem: no such image (404).
    """
    synchronise()
    with catalogue_lock():
        library = services.library()
        row = row_of(number)
        name = library.file_name(number)
        library.remove(number)
        Image.objects.filter(pk=row.pk).update(in_library=False)
        mark(library)
        pictures.forget(name)
