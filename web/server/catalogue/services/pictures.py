"""Pictures that people send, written anew."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO

from django.conf import settings
from PIL import Image

from latenthash.images import decode, probe
from latenthash.jpeg import compress

from ..errors import Problem
from .refusals import refusing

_SMALL = 1 << 20  # pixels of a picture that may become a PNG
_JPEG = b"\xff\xd8\xff"


@dataclass(frozen=True)
class Picture:
    """A picture written anew: upright, without metadata.

    Attributes:
        data: a JPEG or PNG file.
        suffix: which of the two, ".jpg" or ".png".
        width, height: of the picture that it was made of, upright.
    """

    data: bytes
    suffix: str
    width: int
    height: int

    @cached_property
    def sha256(self) -> bytes:
        """Of the data."""
        return hashlib.sha256(self.data).digest()


def rewritten(data: bytes, longest: int, quality: int, exact: bool = False) -> Picture:
    """Decode a file and write it anew, no side longer than `longest` pixels.

    Args:
        data: the file.
        longest: pixels.
        quality: of the JPEG.
        exact: a small picture that was no JPEG becomes a PNG, which loses nothing.

    Raises:
        Problem: no picture (415), or too many pixels (413).
    """
    with refusing():
        height, width, _ = probe(data)
    if width * height > settings.MAX_PIXELS:
        limit = f"{settings.MAX_PIXELS / 1e6:g} megapixels"
        raise Problem(413, "too_large", f"{width}x{height} pixels - send at most {limit}")
    shrink = min(1.0, longest / max(width, height))
    size = max(1, round(height * shrink)), max(1, round(width * shrink))
    with refusing():
        pixels = decode(data, 3, size)
    if exact and width * height <= _SMALL and not data.startswith(_JPEG):
        file = BytesIO()
        Image.fromarray(pixels[..., ::-1]).save(file, "PNG")
        return Picture(file.getvalue(), ".png", width, height)
    return Picture(compress(pixels, quality), ".jpg", width, height)
