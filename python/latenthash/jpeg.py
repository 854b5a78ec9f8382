"""A short way for plain JPEGs: most images of most sets are such.

simplejpeg goes straight to libjpeg-turbo, whose pixels are the same as through Pillow;
for a small image Pillow spends longer on opening the file than on decoding it.
"""

from __future__ import annotations

import struct

import numpy as np
import simplejpeg
from numpy.typing import NDArray

_START_OF_SCAN = 0xDA
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive; all Huffman-coded
_UNUSUAL = (0xE1, 0xEE)  # EXIF or XMP, which may turn it; Adobe, which may recolour it


def plain_jpeg(
    data: bytes, channels: int, least: tuple[int, int], most: int
) -> NDArray[np.uint8] | None:
    """Pixels of a whole JPEG of these channels that needs no turning or recolouring.

    None for all else, also for what is damaged: the general way tells what is wrong.

    Args:
        data: a file's content.
        channels: 3 for BGR, 1 for gray.
        least: (height, width) below which it is not scaled while decoding; (0, 0) keeps
            its size.
        most: pixels; None for a larger image.

    Returns:
        (H, W, channels) uint8, BGR or gray.
    """
    frame = _frame(data)
    if frame is None or (frame[0], frame[3]) != (8, channels) or frame[1] * frame[2] > most:
        return None
    keep = 0 in least or frame[1] <= least[0] or frame[2] <= least[1]
    height, width = (0, 0) if keep else least
    colours = "GRAY" if channels == 1 else "BGR"
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
            data, colours, min_height=height, min_width=width
        )
    except ValueError:
        return None
    return pixels


def compress(pixels: NDArray[np.uint8], quality: int) -> bytes:
    """(H, W, C) uint8 BGR or gray as JPEG, colours at half resolution as is usual."""
    data = np.ascontiguousarray(pixels)
    if pixels.shape[2] == 1:
        return bytes(simplejpeg.encode_jpeg(data, quality, "GRAY", "Gray"))
    return bytes(simplejpeg.encode_jpeg(data, quality, "BGR", "420"))


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
