"""The library of this process: it answers, and it takes changes."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
from django.conf import settings

from latenthash.codes import CodeSet, CodeWriter, Rows
from latenthash.index import open_writer
from latenthash.manifest import new_manifest

from ..errors import Problem
from .refusals import refusing
from .searching import Searching
from .terms import Query

logger = logging.getLogger(__name__)

_SEGMENTS = 32  # an index in so many parts is compacted when an image is added


class Library(Searching):
    """An index, open; who changes it holds the catalogue's lock.

    Attributes:
        catalogued: checksum of the generation that the catalogue is known to show.
    """

    catalogued = ""

    def add(self, picture: bytes, name: str, label: str, root: Path) -> int:
        """Append a picture; its id.

        Args:
            picture: the file's bytes.
            name: of the file, below `root`.
            label: class name; "" for unknown.
            root: folder of files that were added.
        """
        code, feature, _ = self.network.encode(Query(picture=picture))
        classes = [label] if label else []
        rows = Rows(
            names=[name],
            labels=np.array([0 if label else -1], np.int32),
            features=feature[None].astype(np.float16),
            codes=code[None],
            content=np.frombuffer(hashlib.sha256(picture).digest(), np.uint8)[None],
        )
        manifest = new_manifest(
            "extract",
            model=self.index.manifest["model"],
            bits=self.index.bits,
            dim=self.index.dim,
            classes=classes,
            root=str(root),
        )
        with _scratch() as folder, refusing():
            path = folder / "added.h5"
            with CodeWriter(path, self.index.bits, self.index.dim, 1) as writer:
                writer.append(rows)
                writer.finish(manifest)
            with CodeSet(path) as codes, open_writer(self.address) as index:
                number = int(index.manifest["next_id"])
                index.add(codes)
                if len(index.manifest.get("segments", ())) > _SEGMENTS:
                    index.compact()
        self.refresh()
        return number

    def remove(self, number: int) -> bool:
        """Take an image out; whether it was there."""
        with refusing(), open_writer(self.address) as index:
            removed = index.remove([number])
        self.refresh()
        return bool(removed)


@lru_cache(1)
def open_library() -> Library:
    """The library of this process."""
    with refusing():
        return Library(settings.INDEX, settings.ENGINE)


def library() -> Library:
    """The library of this process, at its newest generation."""
    opened = open_library()
    opened.refresh()
    return opened


def warm() -> None:
    """Load the network now; what is wrong with it is in the log, and told to who needs it."""
    try:
        open_library().network.load()
    except Problem:
        logger.warning("pictures cannot be searched with; images of the library can")


@contextmanager
def _scratch() -> Iterator[Path]:
    """An empty folder; a process that was killed may have left it full."""
    folder: Path = settings.DATA / "adding"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
