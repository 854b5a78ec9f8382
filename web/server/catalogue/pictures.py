"""Files of the catalogue's images, and their thumbnails, made once.

A file is found by its image's id alone: through the index's own names, in its folder
or in object storage, or among those that were added here.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import storages

from . import services, uploads
from .errors import not_found
from .models import Image
from .sizes import sizes

SIZES = (128, 256, 512)
_LARGEST = 2048  # pixels of a side of a picture that browsers cannot show as it is
_SHOWN = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG": "image/png", b"GIF8": "image/gif"}


def added_root() -> Path:
    """What the index takes to be the folder of added files."""
    root: Path = settings.DATA / "added"
    return root


def _key(name: str) -> tuple[str, str]:
    """(storage, key) of a file by its name in the index."""
    path = Path(name)
    if path.is_relative_to(added_root()):
        return "added", str(path.relative_to(added_root()))
    return "images", name


def store(picture: services.Picture) -> str:
    """Keep a picture that joins the library; its name below `added_root`."""
    text = picture.sha256.hex()
    name = f"{text[:2]}/{text}{picture.suffix}"
    storage = storages["added"]
    if not storage.exists(name):
        storage.save(name, ContentFile(picture.data))
    return name


def forget(name: str) -> None:
    """Remove the file of an image that was added; others' files are not ours."""
    where, key = _key(name)
    if where == "added":
        storages[where].delete(key)


def read(library: services.Library, number: int) -> bytes:
    """Bytes of an image's file."""
    name = library.file_name(number)
    where, key = _key(name)
    missing = not_found(f"the file of image {number} is gone - put it back where it was")
    try:
        if where in settings.STORAGES:
            with storages[where].open(key) as file:
                data: bytes = file.read()
                return data
        if library.root is None and not Path(name).is_absolute():
            raise missing
        return ((library.root or Path()) / name).read_bytes()
    except OSError as error:
        raise missing from error


def presigned(library: services.Library, number: int) -> str | None:
    """Address in object storage that is good for an hour, if pictures are served there."""
    where, key = _key(library.file_name(number))
    if not settings.PRESIGN or where not in settings.STORAGES:
        return None
    if "s3" not in str(settings.STORAGES[where]["BACKEND"]):
        return None
    return str(storages[where].url(key))


def browser_type(data: bytes) -> str | None:
    """Media type of what every browser shows, by content."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for start, kind in _SHOWN.items() if data.startswith(start)), None)


def full(library: services.Library, number: int) -> tuple[bytes, str]:
    """An image for the browser, and its media type; rare formats become JPEG."""
    data = read(library, number)
    kind = browser_type(data)
    if kind:
        return data, kind
    return services.rewritten(data, _LARGEST, 90).data, "image/jpeg"


def thumbnail_tag(library: services.Library, row: Image, size: int) -> str:
    """Names a thumbnail: other content, other name."""
    content = row.content or hashlib.sha256(library.file_name(row.number).encode()).hexdigest()
    return f"{content[:40]}-{size}"


def thumbnail(library: services.Library, row: Image, size: int) -> bytes:
    """JPEG of at most `size` pixels a side; made now if it is wanted for the first time."""
    tag = thumbnail_tag(library, row, size)
    path: Path = settings.DATA / "thumbnails" / tag[:2] / f"{tag}.jpg"
    try:
        return path.read_bytes()
    except FileNotFoundError:
        data = read(library, row.number)
    picture = services.rewritten(data, size, 85)
    uploads.write(path, picture.data)
    Image.objects.filter(pk=row.pk, width=None).update(
        width=picture.width, height=picture.height, size=len(data)
    )
    sizes.note(row.number, picture.width, picture.height)
    return picture.data
