"""An open index: what is in it, and the orders of the gallery."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from latenthash.distances import METRICS
from latenthash.errors import DataError, StorageError
from latenthash.hamming import to_text
from latenthash.index import Address, open_index

from ..errors import not_found
from .terms import Entry

logger = logging.getLogger(__name__)

METRIC_NAMES = tuple(METRICS)
_SHUFFLES = 16  # orders of the gallery that are kept


class Contents:
    """An open index, followed from generation to generation."""

    def __init__(self, address: Address) -> None:
        """Open the index in a folder, or at an adapter's address.

        Raises:
            LatentHashError: no index there, or a damaged one, or nobody answers.
        """
        self.address = address
        self.index = open_index(address)
        self._stamp = self._manifest_stamp()
        self._refreshing = Lock()
        self._shuffled = lru_cache(_SHUFFLES)(self._shuffle)
        self._numbered = lru_cache(1)(self._number)

    def _manifest_stamp(self) -> tuple[int, int] | None:
        """Changes with the manifest's file; None: there is none, the index has to be asked."""
        if not isinstance(self.address, Path):
            return None
        status = (self.address / "manifest.json").stat()
        return status.st_mtime_ns, status.st_ino

    def refresh(self) -> bool:
        """Take up another generation if there is one; cheap where there is none."""
        try:
            stamp = self._manifest_stamp()
            if stamp is not None and stamp == self._stamp:
                return False
            with self._refreshing:
                changed = self.index.refresh()
                self._stamp = stamp
        except (OSError, DataError, StorageError):
            logger.exception("the index changed and cannot be read; the old one answers on")
            return False
        return changed

    @property
    def checksum(self) -> str:
        """Tells one generation from all others."""
        return str(self.index.manifest["checksum"])

    def facts(self) -> dict[str, Any]:
        """What the index is."""
        facts = self.index.manifest
        return {
            "images": len(self.index),
            "classes": len(facts["classes"]),
            "bits": self.index.bits,
            "feature_dim": self.index.dim,
            "feature_dtype": facts["storage"],
            "generation": facts["generation"],
            "network": facts["model"].get("net") or "",
            "metrics": list(METRIC_NAMES),
        }

    @property
    def classes(self) -> list[str]:
        """Names of the classes; a label is a place in it."""
        return list(self.index.manifest["classes"])

    @property
    def class_numbers(self) -> dict[str, int]:
        """Labels by class name."""
        return self._numbered(self.checksum)

    def _number(self, checksum: str) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.classes)}

    @property
    def root(self) -> Path | None:
        """Folder that names are relative to."""
        root = self.index.manifest["root"]
        return Path(root) if root else None

    def file_name(self, number: int) -> str:
        """Name of an image as the index has it: a path below the root, or a whole one."""
        if not self.has(number):
            raise not_found(f"no image {number} - it may have been removed")
        return self.index.names(np.array([number]))[0]

    def has(self, number: int) -> bool:
        """Whether the index holds the image."""
        return self.index.contents.has(number)

    def find_name(self, name: str) -> int | None:
        """Id of the image with this name."""
        return self.index.find_name(name)

    def find_content(self, sha256: bytes) -> int | None:
        """Id of the image whose file has this hash."""
        return self.index.contents.find_content(sha256)

    def order(self, label: int | None, seed: int | None) -> Sequence[int]:
        """Ids of the live images, of one class (-1: unknown) or all, ascending or shuffled."""
        return self._shuffled(self.checksum, label, seed)

    def _shuffle(self, checksum: str, label: int | None, seed: int | None) -> Any:
        ids = self.index.contents.ids(label)
        return ids if seed is None else np.random.default_rng(seed).permutation(ids)

    def label_counts(self) -> list[tuple[int, int]]:
        """(label, images) of the classes that have any, -1 for unknown."""
        return self.index.contents.label_counts()

    def entries(self, only: set[int] | None = None) -> Iterator[Entry]:
        """Live images, ascending by id; `only` some of them."""
        classes, bits = self.classes, self.index.bits
        for image in self.index.contents.images(only):
            yield Entry(
                number=image.number,
                name=image.name,
                label=image.label if image.label >= 0 else None,
                label_name=classes[image.label] if image.label >= 0 else "",
                code=to_text(image.code, bits),
                content=image.content.hex() if any(image.content) else "",
            )
