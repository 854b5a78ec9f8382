"""Names of an index's files, and the arrays of a segment; see docs/index_format.md."""

from __future__ import annotations

from ...hamming import MAX_BITS
from .arrays import Shape

STAGE = "build_index"
MANIFEST = "manifest.json"
LOCK = "lock"
MODEL = "model"
SEGMENTS = "segments"
TOMBSTONES = "tombstones"
STORAGE = {"float32": "<f4", "float16": "<f2", "int8": "|i1"}

BUCKETS = "buckets.npy"
OFFSETS = "offsets.npy"
FEATURES = "features.npy"
SCALE = "scale.npy"
POSITIONS = "positions.npy"
ROWS = "rows.npy"
IDS = "ids.npy"
LABELS = "labels.npy"
CONTENT = "content.npy"
NAME_OFFSETS = "name_offsets.npy"
NAMES = "names.bin"
NAME_ORDER = "name_order.npy"
CONTENT_ORDER = "content_order.npy"
HASH_BYTES = 32
MOST_IMAGES = 2**31 - 1  # of one segment: positions are int32


def words(bits: int) -> int:
    """64-bit words of a code."""
    return (bits + 63) // 64


def number_name(number: int) -> str:
    """Name of what generation `number` made: 7 -> 000007."""
    return f"{number:06d}"


def segment_arrays(
    images: int, buckets: int, bits: int, dim: int, storage: str
) -> dict[str, tuple[str, Shape]]:
    """{file: (dtype, shape)} of a segment's arrays."""
    arrays: dict[str, tuple[str, Shape]] = {
        BUCKETS: ("<u8", (buckets, words(bits))),
        OFFSETS: ("<i8", (buckets + 1,)),
        FEATURES: (STORAGE[storage], (images, dim)),
        POSITIONS: ("<i4", (images,)),
        ROWS: ("<i4", (images,)),
        IDS: ("<i8", (images,)),
        LABELS: ("<i4", (images,)),
        CONTENT: ("|u1", (images, HASH_BYTES)),
        NAME_OFFSETS: ("<i8", (images + 1,)),
        NAME_ORDER: ("<i4", (images,)),
        CONTENT_ORDER: ("<i4", (images,)),
    }
    return {**arrays, SCALE: ("<f4", (dim,))} if storage == "int8" else arrays


def segment_files(storage: str) -> set[str]:
    """Names of all files of a segment."""
    return {*segment_arrays(1, 1, MAX_BITS, 1, storage), NAMES}
