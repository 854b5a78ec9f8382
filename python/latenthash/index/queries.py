"""What an index checks of a query before it answers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, MismatchError
from ..hamming import Codes, unpack, width
from .base import StoredIndex

_REMEDY = "query with the network that built the index"


def require_fitting(index: StoredIndex, codes: Codes, features: NDArray[np.floating]) -> None:
    """Refuse queries that are not of this index's network.

    Args:
        index: what is asked.
        codes: (Q, W) uint8, packed.
        features: (Q, D) floating.

    Raises:
        MismatchError: codes or features of another size, or not as many of both.
        DataError: a feature is not finite.
    """
    bytes_, dim = width(index.bits), index.dim
    if (codes.shape[1], features.shape[1]) != (bytes_, dim) or len(codes) != len(features):
        raise MismatchError(
            f"{index.address}: codes of {bytes_} bytes and {dim}-d features, "
            f"the query has {codes.shape[1]} and {features.shape[1]}",
            _REMEDY,
        )
    if unpack(codes, 8 * codes.shape[1])[:, index.bits :].any():
        raise MismatchError(f"the query's code has more than {index.bits} bits", _REMEDY)
    if not np.isfinite(features).all():
        raise DataError("the query's feature is not finite", "check the network's output")
