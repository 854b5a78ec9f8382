"""All codes in the order of their distance to a query, sorted by counting."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from . import library, numpy_kernels
from .codes import Words, checked, cut_rings, scan_input


def rank(
    codes: Words, queries: Words, bits: int, k: int | None = None
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Order the codes for each query by (Hamming distance, place among the codes).

    One thread; call it for blocks of queries from as many as there are.

    Args:
        codes: (N, W) uint64.
        queries: (Q, W) uint64.
        bits: of a code.
        k: how many of the order to give, at most N; None: all.

    Returns:
        Places of the first k codes (Q, k) int32; codes at distance 0..bits from each
        query (Q, bits + 1) int32, over all N.

    Raises:
        StorageError: a code has bits set beyond `bits`.
    """
    codes, queries = checked(codes, queries)
    k = len(codes) if k is None else k
    if not 0 <= k <= len(codes) <= np.iinfo(np.int32).max:
        raise ValueError(f"the first {k} of {len(codes)} codes")
    order = np.empty((len(queries), k), np.int32)
    rings = np.zeros((len(queries), 64 * codes.shape[1] + 1), np.int32)
    native = library.native()
    if native is None:
        numpy_kernels.rank(codes, queries, order, rings)
    else:
        given, room = scan_input(codes, queries), np.empty(len(codes), np.uint16)
        arrays = (array.ctypes.data for array in (room, order, rings))
        native.lh_rank(ctypes.byref(given), k, *arrays)
    return order, cut_rings(rings, bits)
