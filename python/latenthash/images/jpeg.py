"""A short way for JPEGs that need no change: most of a set of small images is such.

For a small image Pillow spends as long on opening the file as on decoding it.
"""

from __future__ import annotations

import struct

from PIL import Image

_START_OF_SCAN = 0xDA
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive; all Huffman-coded
_UNUSUAL = (0xE1, 0xEE)  # EXIF or XMP, which may turn it; Adobe, which may recolour it


def exact_jpeg(data: bytes, channels: int, size: tuple[int, int]) -> Image.Image | None:
    """The image if it is a whole, plain JPEG of this (height, width) and these channels.

    None for all else, also for what is damaged: the general way tells what is wrong.
    """
    if _frame(data) != (8, *size, channels):
        return None
    mode = "L" if channels == 1 else "RGB"
    try:
        return Image.frombytes(mode, size[::-1], data, "jpeg", mode, "")
    except (ValueError, OSError):
        return None


def _frame(data: bytes) -> tuple[int, ...] | None:
    """(bits, height, width, channels) of a JPEG with nothing unusual in its header."""
    frame = None
    place = 2 if data[:2] == b"\xff\xd8" else len(data)
    while place + 10 <= len(data):
        lead, marker, length = struct.unpack_from(">BBH", data, place)
        if marker == _START_OF_SCAN:
            return frame
        if lead != 0xFF or marker in _UNUSUAL:
            return None
        if marker in _FRAMES:
            frame = struct.unpack_from(">BHHB", data, place + 4)
        place += 2 + length
    return None
