"""Binary codes: thresholding, packing, Hamming distances. Any width from 1 to 1024 bits.

Bit j lies in byte j // 8, the first bit of a byte being its most significant one
(`numpy.packbits` order); padding bits are 0, so they never add to a distance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAX_BITS = 1024
THRESHOLD = 0.5
Codes = NDArray[np.uint8]


def width(bits: int) -> int:
    """Bytes of a packed code of `bits` bits.

    Raises:
        ValueError: bits outside 1..1024.
    """
    if not 1 <= bits <= MAX_BITS:
        raise ValueError(f"{bits} bits; codes have 1 to {MAX_BITS}")
    return (bits + 7) // 8


def binarise(activations: ArrayLike) -> NDArray[np.bool_]:
    """Bit j is 1 where activation j >= 0.5 (Lin et al. 2015, section 3.3, eq. 4).

    Args:
        activations: (N, B) outputs of the latent sigmoids, in 0..1.

    Returns:
        (N, B) bool.
    """
    return np.asarray(activations) >= THRESHOLD


def pack(bits: ArrayLike) -> Codes:
    """Pack (N, B) booleans into (N, ceil(B / 8)) uint8."""
    array = np.asarray(bits, dtype=bool)
    width(array.shape[-1])
    return np.packbits(array, axis=-1)


def unpack(codes: Codes, bits: int) -> NDArray[np.bool_]:
    """Unpack (N, W) uint8 into (N, bits) booleans."""
    return np.unpackbits(codes, axis=-1, count=bits).astype(bool)


def to_text(code: Codes, bits: int) -> str:
    """A packed code (W,) as a string of 0 and 1, bit 0 first."""
    return "".join("1" if bit else "0" for bit in unpack(code, bits))


def distances(queries: Codes, codes: Codes) -> NDArray[np.uint16]:
    """Hamming distances between packed codes.

    Args:
        queries: (Q, W) uint8.
        codes: (N, W) uint8.

    Returns:
        (Q, N) uint16.
    """
    query_words, code_words = words(queries), words(codes)
    result = np.zeros((len(queries), len(codes)), dtype=np.uint16)
    # for q: for n: result[q, n] = popcount(queries[q] ^ codes[n])
    for column in range(code_words.shape[1]):
        differing = query_words[:, column, None] ^ code_words[None, :, column]
        result += np.bitwise_count(differing)
    return result


def words(codes: Codes) -> NDArray[np.uint64]:
    """Codes (N, W) padded with zeros to whole 64-bit words: (N, ceil(W / 8)) uint64."""
    padding = -codes.shape[1] % 8
    padded = np.pad(codes, ((0, 0), (0, padding))) if padding else codes
    return np.ascontiguousarray(padded).view(np.uint64)
