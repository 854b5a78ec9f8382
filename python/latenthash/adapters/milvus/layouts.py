"""The collections of an index: codes, features, and what is known of both.

Milvus 2.3 allows one vector field a collection, so codes and features lie in two, with
the same ids. Codes are what is searched: an image is in the index if its code is.
"""

from __future__ import annotations

import hashlib
import re

import numpy as np
from numpy.typing import NDArray

from ...hamming import Codes, width, words
from .server import Column, Layout

_WORD = 8  # bytes of a code that fit an integer
_TEXT = 65_535  # bytes of a text, at most
_DATA = re.compile(r"_\d{6,}_(codes|features)")
KEY = Column("id", "INT64", {"is_primary": True})


def code_layout(bits: int) -> Layout:
    """Codes, packed as everywhere, and what filters and names need."""
    columns = (
        KEY,
        Column("code", "BINARY_VECTOR", {"dim": 8 * width(bits)}),
        Column("bucket", "INT64"),  # see `buckets_of`
        Column("label", "INT32"),
        Column("name", "VARCHAR", {"max_length": _TEXT}),
        Column("content", "VARCHAR", {"max_length": 64}),
    )
    return Layout(columns, "code", "BIN_FLAT", "HAMMING")


def feature_layout(dim: int) -> Layout:
    """Features as float32: Milvus 2.3 knows no float16."""
    columns = (KEY, Column("feature", "FLOAT_VECTOR", {"dim": dim}))
    return Layout(columns, "feature", "FLAT", "L2")


def fact_layout() -> Layout:
    """Texts by key; the vector is there because Milvus wants one."""
    columns = (
        Column("key", "VARCHAR", {"is_primary": True, "max_length": 512}),
        Column("value", "VARCHAR", {"max_length": _TEXT}),
        Column("nothing", "BINARY_VECTOR", {"dim": 8}),
    )
    return Layout(columns, "nothing", "BIN_FLAT", "HAMMING")


def data_names(collection: str, number: int) -> tuple[str, str]:
    """Names of the collections of codes and of features that build `number` makes."""
    return f"{collection}_{number:06}_codes", f"{collection}_{number:06}_features"


def is_data(name: str, collection: str) -> bool:
    """Whether this is the name of codes or features of some build of `collection`."""
    return name.startswith(collection) and _DATA.fullmatch(name[len(collection) :]) is not None


def buckets_of(codes: Codes) -> NDArray[np.int64]:
    """(N,) int64, equal for equal codes: codes up to 64 bits themselves, else a hash of them."""
    if codes.shape[1] <= _WORD:
        return words(codes)[:, 0].view(np.int64)
    hashed = (hashlib.blake2b(code.tobytes(), digest_size=_WORD).digest() for code in codes)
    return np.frombuffer(b"".join(hashed), np.int64)
