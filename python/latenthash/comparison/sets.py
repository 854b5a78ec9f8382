"""Images as the comparisons need them: features, classes, and codes where there are some."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cache import array_hash
from ..codes import CodeSet
from ..errors import DataError
from ..evaluate.pool import Numbers, Pool
from ..hamming import Codes


@dataclass(frozen=True, eq=False)
class ImageSet:
    """N images.

    Attributes:
        features: (N, D) floating.
        labels: (N,) int32.
        codes: (N, W) uint8, packed; None where there are none.
        bits: of a code; 0 where there is none.
    """

    features: NDArray[np.floating]
    labels: NDArray[np.int32]
    codes: Codes | None = None
    bits: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of features and labels."""
        return array_hash(self.features, self.labels)

    @cached_property
    def code_hash(self) -> str:
        """SHA-256 of codes and labels."""
        return array_hash(self.codes, self.labels)

    def taken(self, rows: NDArray[Any]) -> ImageSet:
        """Some of the images.

        Args:
            rows: (n,) indices, or (N,) bool.
        """
        codes = None if self.codes is None else self.codes[rows]
        return replace(self, features=self.features[rows], labels=self.labels[rows], codes=codes)


def images_of(pool: Pool, rows: Numbers) -> ImageSet:
    """Images of a pool, in memory: (n,) rows."""
    return ImageSet(pool.features(rows), pool.labels[rows], pool.codes[rows], pool.bits)


def choose(
    database: CodeSet, queries: CodeSet, keep_known: bool = False
) -> tuple[Pool, Numbers, Numbers]:
    """What is ranked and who asks.

    Args:
        database: all of its images are ranked.
        queries: those ask whose file is not, byte for byte, in the database.
        keep_known: these too.

    Returns:
        Pool; rows of the database; rows of the queries.

    Raises:
        MismatchError: the two files come from different networks.
        DataError: no labels, or no query left.
    """
    pool = Pool(database, queries)
    ranked, asked = pool.rows_of(0), pool.rows_of(1)
    if not keep_known:
        asked = asked[~pool.known(asked, ranked)]
    if not len(asked):
        raise DataError(
            f"{queries.path}: all images are in {database.path} too",
            "give others, or keep them (--keep-known)",
        )
    return pool, ranked, asked


def read_sets(
    database: CodeSet, queries: CodeSet, keep_known: bool = False
) -> tuple[ImageSet, ImageSet]:
    """Database and queries in memory; see `choose`.

    Classes are matched as `evaluate` does, by name where the files share names.
    """
    pool, ranked, asked = choose(database, queries, keep_known)
    return images_of(pool, ranked), images_of(pool, asked)


def read_training(codes: CodeSet, database: CodeSet) -> ImageSet:
    """A set to learn from, in memory.

    Args:
        codes: all of its images are taken.
        database: what the functions are for.

    Raises:
        MismatchError: features of another network than the database's.
        DataError: no images, or some without a label.
    """
    pool = Pool(database, codes)
    return images_of(pool, pool.rows_of(1))
