"""A short way for JPEGs that need no change: most of a set of small images is such.

For a small image Pillow spends longer on opening the file than on decoding it;
simplejpeg goes straight to libjpeg-turbo, whose pixels are the same.
"""

from __future__ import annotations

import struct

import numpy as np
import simplejpeg
from numpy.typing import NDArray

_START_OF_SCAN = 0xDA
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive; all Huffman-coded
_UNUSUAL = (0xE1, 0xEE)  # EXIF or XMP, which may turn it; Adobe, which may recolour it


def exact_jpeg(data: bytes, channels: int, size: tuple[int, int]) -> NDArray[np.uint8] | None:
    """The pixels if it is a whole, plain JPEG of this (height, width) and these channels.

    None for all else, also for what is damaged: the general way tells what is wrong.

    Returns:
        (height, width, channels) uint8, BGR or gray.
    """
    if _frame(data) != (8, *size, channels):
        return None
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "GRAY" if channels == 1 else "BGR")
    except ValueError:
        return None
    return pixels


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
