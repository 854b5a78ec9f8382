"""Decode, orient, resize, crop, subtract the mean: the only preprocessing there is.

Training data, database and queries all pass through here, so that the same file gives
the same numbers everywhere. Pixels are BGR, as Caffe has them. Safe to call from
several threads at once; Pillow frees the interpreter while it decodes and resizes.
"""

from .decoding import MAX_PIXELS, Decoded, decode, fit, probe, read, read_bytes
from .listing import EXTENSIONS, list_images
from .preprocess import Preprocess, load, prepare

__all__ = [
    "EXTENSIONS",
    "MAX_PIXELS",
    "Decoded",
    "Preprocess",
    "decode",
    "fit",
    "list_images",
    "load",
    "prepare",
    "probe",
    "read",
    "read_bytes",
]
