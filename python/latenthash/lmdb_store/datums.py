"""Images as Datum messages, and their keys."""

from __future__ import annotations

import os
from io import BytesIO
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..jpeg import compress
from ..proto.caffe_pb2 import Datum

Encoding = Literal["raw", "jpeg", "png"]
QUALITY = 95
LONGEST_KEY = 511  # LMDB's limit


def make_key(number: int, name: str) -> str:
    """Key as Caffe's convert_imageset makes it, "00000042_name", cut to LMDB's limit.

    The number keeps keys in order and unique even where names are cut.
    """
    key = os.fsencode(f"{number:08d}_{name}")[:LONGEST_KEY]
    return key.decode("utf-8", "ignore") if len(key) == LONGEST_KEY else f"{number:08d}_{name}"


def encode_datum(
    pixels: NDArray[np.uint8],
    label: int,
    encoding: Encoding = "raw",
    quality: int = QUALITY,
    stored: bytes | None = None,
) -> bytes:
    """Serialised Datum.

    Args:
        pixels: (H, W, C) uint8, BGR or gray.
        label: class number.
        encoding: "raw" (CHW bytes), or an image file's format.
        quality: of JPEG, 1 to 100.
        stored: an image file of just these pixels, taken as it is where `encoding` is
            not "raw".
    """
    height, width, channels = pixels.shape
    if encoding == "raw":
        data = pixels.transpose(2, 0, 1).tobytes()
    else:
        data = stored or _compress(pixels, encoding, quality)
    datum = Datum(
        channels=channels,
        height=height,
        width=width,
        data=data,
        label=label,
        encoded=encoding != "raw",
    )
    return datum.SerializeToString(deterministic=True)


def _compress(pixels: NDArray[np.uint8], encoding: Encoding, quality: int) -> bytes:
    if encoding == "jpeg":
        return compress(pixels, quality)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels[..., ::-1])
    file = BytesIO()
    image.save(file, encoding)
    return file.getvalue()
