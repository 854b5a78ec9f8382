"""Changing an index in Milvus; one writer at a time.

Milvus writes to one collection at once, not to two. So features are written before codes
and removed after them: whatever stops a writer, every image that can be found has both.
New images have ids that no manifest counts yet: nobody sees them before the manifest is
replaced, and the next writer removes what another has left.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...closing import Closing
from ...codes import CodeSet
from ...errors import DataError, StorageError
from ...index import AddReport
from ...index.additions import first_of_equal, names_below, require_fitting
from ...index.bucket.items import merged_classes
from ...manifest import Manifest
from ...progress import Progress, silent
from . import facts
from .address import parse
from .codes import CodeRows
from .rows import write_rows
from .server import Server
from .text import span

Ids = NDArray[np.int64]
_MOST = 4096  # rows removed at once
_SHOWN = 5
_log = logging.getLogger(__name__)


class MilvusWriter(Closing):
    """The one writer of an index in Milvus, as a context.

    Attributes:
        manifest: of the generation in force.
    """

    def __init__(self, address: str) -> None:
        """Connect; what a writer that died has left is removed.

        Raises:
            DataError: no address, or no index there.
            StorageError: nobody answers, or what is there is damaged.
        """
        self._server = Server(parse(address))
        try:
            self.manifest = facts.load(self._server)
            self._tidy()
        except BaseException:
            self._server.close()
            raise

    @property
    def _codes(self) -> CodeRows:
        now = self.manifest
        return CodeRows(self._server, now["codes"], now["bits"], now["next_id"])

    def _tidy(self) -> None:
        """Remove rows that belong to no image: of images half added, of codes removed."""
        stop = int(self.manifest["next_id"])
        for name in (self.manifest["codes"], self.manifest["features"]):
            rows = self._server.query(name, f"id >= {stop}", ["id"], newest=True)
            self._delete(name, [row["id"] for row in rows])

    def _delete(self, name: str, ids: list[int]) -> None:
        for start in range(0, len(ids), _MOST):
            self._server.delete(name, ids[start : start + _MOST])

    def _commit(self, **changes: Any) -> None:
        """Replace the manifest, unless another writer did."""
        number = int(self.manifest["generation"])
        if facts.current(self._server, newest=True) != number:
            raise StorageError(
                f"{self._server.address}: another writer changed it", "let one write at a time"
            )
        self.manifest = facts.commit(
            self._server, {**self.manifest, **changes, "generation": number + 1}
        )

    def add(self, codes: CodeSet, on_progress: Progress = silent) -> AddReport:
        """Append the images of a code set that the index does not hold yet.

        As `IndexWriter.add`: images with known content are left out, names must be free,
        new classes are appended. After a failure nothing was added.

        Raises:
            MismatchError: codes of another network, of other bits or feature size.
            DataError: a name that is taken by an image with another content.
            StorageError: Milvus does not answer, or refuses.
        """
        now = self.manifest
        require_fitting(codes, now, str(self._server.address))
        names = names_below(codes, now["root"])
        kept, duplicates = self._new_images(codes, names)
        if len(kept):
            self._require_free([names[row] for row in kept.tolist()])
            classes, labels = merged_classes(now["classes"], codes)
            ids = now["next_id"] + np.arange(len(kept), dtype=np.int64)
            try:
                write_rows(self._server, now, codes, kept, ids, names, labels, on_progress)
                images = len(self._codes) + len(kept)
                stop = int(now["next_id"]) + len(kept)
                self._commit(classes=classes, next_id=stop, images=images)
            except BaseException:
                self._take_back()
                raise
            self._wait()
        return AddReport(len(kept), duplicates, int(self.manifest["generation"]))

    def _take_back(self) -> None:
        """After a failure, remove what is not in use; the change itself may have happened."""
        try:
            self.manifest = facts.load(self._server)
            self._tidy()
        except StorageError as error:
            _log.warning("%s; the next writer removes what was half added", error)

    def _wait(self) -> None:
        """Until all that was written is seen by all who read after this."""
        for name in (self.manifest["codes"], self.manifest["features"]):
            self._server.count(name)

    def _new_images(self, codes: CodeSet, names: list[str]) -> tuple[Ids, list[tuple[str, str]]]:
        """Rows whose content is new, and (name, name it equals) of the others."""
        content = codes.content
        first = first_of_equal(content)
        again = np.flatnonzero(first != np.arange(len(first))).tolist()
        equals = {row: names[first[row]] for row in again}
        digests = [own.tobytes().hex() if own.any() else "" for own in content]
        known = {
            row["content"]: row["id"]
            for row in self._codes.find("content", sorted({one for one in digests if one}))
        }
        held = self._codes.get(np.array(sorted(known.values()), np.int64), ["name"])
        for row, digest in enumerate(digests):
            if digest in known:
                equals[row] = held[known[digest]]["name"]
        kept = np.setdiff1d(np.arange(len(content)), np.fromiter(equals, np.int64, len(equals)))
        return kept, [(names[row], equals[row]) for row in sorted(equals)]

    def _require_free(self, names: list[str]) -> None:
        taken = {row["name"] for row in self._codes.find("name", names)}
        if taken or len(set(names)) < len(names):
            shown = [name for name in names if name in taken][:_SHOWN] or ["within the set"]
            raise DataError(
                f"{len(taken) or 'some'} names are taken by other images: {', '.join(shown)}",
                "remove those from the index first, or rename the new ones",
            )

    def ids_of(self, names: Iterable[str]) -> list[int]:
        """Ids of images by name.

        Raises:
            DataError: a name is not in the index.
        """
        wanted = list(names)
        found = {row["name"]: row["id"] for row in self._codes.find("name", wanted)}
        if missing := [name for name in wanted if name not in found]:
            raise DataError(
                f"{self._server.address}: holds no {', '.join(missing[:_SHOWN])}",
                "names are those that search.py shows",
            )
        return [found[name] for name in wanted]

    def remove(self, ids: Iterable[int] | Ids) -> int:
        """Remove images: codes, then features. After a failure, call it again.

        Args:
            ids: those that the index does not hold are left out of account.

        Returns:
            How many were removed.

        Raises:
            StorageError: Milvus does not answer, or refuses.
        """
        wanted = np.unique(np.fromiter(map(int, ids), np.int64))
        gone = sorted(self._codes.get(wanted, []))
        self._delete(self.manifest["codes"], gone)
        self._delete(self.manifest["features"], wanted.tolist())
        if gone:
            self._wait()
            self._commit(images=len(self._codes))
        return len(gone)

    def compact(self, on_progress: Progress = silent) -> Manifest:
        """Remove features that belong to no image, and let Milvus give back the room."""
        stop, step = int(self.manifest["next_id"]), _MOST
        for start in range(0, stop, step):
            ids: list[set[int]] = []
            for name in (self.manifest["codes"], self.manifest["features"]):
                part = span(start, min(start + step, stop))
                ids.append({r["id"] for r in self._server.query(name, part, ["id"], newest=True)})
            self._delete(self.manifest["features"], sorted(ids[1] - ids[0]))
            on_progress(min(start + step, stop), stop)
        for name in (self.manifest["codes"], self.manifest["features"]):
            self._server.compact(name)
        return self.manifest

    def close(self) -> None:
        """Close the connection; calling again does nothing."""
        self._server.close()
