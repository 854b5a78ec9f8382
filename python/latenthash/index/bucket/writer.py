"""Changing an index while it serves: add, remove, compact; one writer at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import reduce
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...codes import CodeSet
from ...errors import DataError
from ...files import fsync, sha256, storage_errors
from ...manifest import Manifest
from ...progress import Progress, silent
from ..additions import first_of_equal, names_below, require_fitting
from ..base import AddReport
from . import layout
from .arrays import write_array
from .build import next_manifest, write_codes
from .generation import Generation, commit, open_generation
from .items import items_of_codes, items_of_segments, merged_classes
from .lock import writer_lock
from .names import ids_of
from .segment import encode
from .segment_writer import write_segment
from .tidy import remove_unnamed

_SHOWN = 5


class IndexWriter:
    """The one writer of an index, as a context. Each change is a generation of its own,
    which readers see at once and whole, or not at all.

    Attributes:
        folder: of the index.
        generation: the current one.
    """

    def __init__(self, folder: Path) -> None:
        """Name the index to change; `with` takes its lock."""
        self.folder = folder

    def __enter__(self) -> IndexWriter:
        """Take the lock; what a writer that died has left is removed.

        Raises:
            DataError: no index there.
            StorageError: damaged, not writable, or another process changes it.
        """
        open_generation(self.folder)
        with ExitStack() as stack:
            stack.enter_context(writer_lock(self.folder))
            self.generation: Generation = open_generation(self.folder)
            self._tidy()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def manifest(self) -> Manifest:
        """Facts of the current generation."""
        return self.generation.manifest

    @property
    def _number(self) -> int:
        """Of the next generation."""
        return self.generation.number + 1

    def _tidy(self) -> None:
        with storage_errors(self.folder):
            remove_unnamed(self.folder, self.generation.manifest)

    def _take_back(self) -> None:
        """After a failure, remove what is not in use; the switch itself may have happened."""
        self.generation = open_generation(self.folder)
        self._tidy()

    def _switch(self, manifest: Manifest) -> None:
        with storage_errors(self.folder):
            commit(self.folder, manifest)
        self.generation = open_generation(self.folder)
        self._tidy()

    def add(self, codes: CodeSet, on_progress: Progress = silent) -> AddReport:
        """Append the images of a code set that the index does not hold yet.

        Images are the same if their content is (SHA-256), whatever their name; zeros
        instead of a hash say that it is unknown. Names are relative to the index's root;
        images from another folder get their full path as name. New classes are appended.

        Raises:
            MismatchError: codes of another network, of other bits or feature size.
            DataError: a name that is taken by an image with another content.
            StorageError: the disk is full or cannot be written.
        """
        facts = self.generation.manifest
        require_fitting(codes, facts, str(self.folder))
        names = names_below(codes, facts["root"])
        kept, duplicates = self._new_images(codes.content, names)
        if not len(kept):
            return AddReport(0, duplicates, self.generation.number)
        new_names = [names[row] for row in kept.tolist()]
        self._require_free(new_names)
        classes, labels = merged_classes(facts["classes"], codes)
        ids = facts["next_id"] + np.arange(len(kept), dtype=np.int64)
        items = items_of_codes(codes, kept, ids, [encode(n) for n in new_names], labels[kept])
        try:
            with storage_errors(self.folder):
                entry, loss = write_codes(
                    codes, items, kept, self.folder, self._number, facts, on_progress
                )
            self._switch(
                next_manifest(
                    facts,
                    self._number,
                    [*facts["segments"], entry],
                    tombstones=facts["tombstones"],
                    classes=classes,
                    next_id=facts["next_id"] + len(kept),
                    feature_loss=_worse(facts["feature_loss"], loss),
                )
            )
        except BaseException:
            self._take_back()
            raise
        return AddReport(len(kept), duplicates, self.generation.number)

    def _new_images(
        self, content: NDArray[np.uint8], names: Sequence[str]
    ) -> tuple[NDArray[np.int64], list[tuple[str, str]]]:
        """Rows whose content is new, and (name, name it equals) of the others."""
        equals: dict[int, str] = {}
        first = first_of_equal(content)
        for row in np.flatnonzero(first != np.arange(len(first))).tolist():
            equals[row] = names[first[row]]
        for segment in self.generation.segments:
            found = segment.find_contents(content)
            known = np.flatnonzero(found >= 0)
            equals.update(zip(known.tolist(), segment.names(found[known]), strict=True))
        kept = np.setdiff1d(np.arange(len(content)), np.fromiter(equals, np.int64, len(equals)))
        return kept, [(names[row], equals[row]) for row in sorted(equals)]

    def _require_free(self, names: Sequence[str]) -> None:
        wanted = [encode(name) for name in names]
        taken = {
            name for segment in self.generation.segments for name in segment.taken_names(wanted)
        }
        if taken or len(set(wanted)) < len(wanted):
            shown = [name for name in names if encode(name) in taken][:_SHOWN] or ["within the set"]
            raise DataError(
                f"{len(taken) or 'some'} names are taken by other images: {', '.join(shown)}",
                "remove those from the index first, or rename the new ones",
            )

    def ids_of(self, names: Iterable[str]) -> list[int]:
        """Ids of images by name.

        Raises:
            DataError: a name is not in the index.
        """
        return ids_of(self.generation, names)

    def remove(self, ids: Iterable[int] | NDArray[np.int64]) -> int:
        """Remove images; their room is given back by `compact`.

        Args:
            ids: those that the index does not hold are left out of account.

        Returns:
            How many were removed.

        Raises:
            StorageError: the disk is full or cannot be written.
        """
        wanted = np.unique(np.fromiter(map(int, ids), np.int64))
        live = [segment.ids[segment.live_positions] for segment in self.generation.segments]
        gone = np.intersect1d(wanted, np.concatenate([*live, wanted[:0]]))
        if not len(gone):
            return 0
        facts = self.generation.manifest
        try:
            with storage_errors(self.folder):
                tombstones = self._write_tombstones(np.union1d(self.generation.removed, gone))
            self._switch(
                next_manifest(facts, self._number, facts["segments"], tombstones=tombstones)
            )
        except BaseException:
            self._take_back()
            raise
        return len(gone)

    def _write_tombstones(self, removed: NDArray[np.int64]) -> dict[str, Any]:
        folder = self.folder / layout.TOMBSTONES
        folder.mkdir(exist_ok=True)
        path = folder / f"{layout.number_name(self._number)}.npy"
        write_array(path, removed)
        fsync(folder)
        fsync(self.folder)
        size = path.stat().st_size
        return {"file": path.name, "count": len(removed), "bytes": size, "sha256": sha256(path)}

    def compact(self, on_progress: Progress = silent) -> Generation:
        """Merge all segments into one and give back the room of removed images; ids stay.

        int8 features of segments with other scales get the larger scale of each dimension.

        Raises:
            StorageError: the disk is full or cannot be written.
        """
        facts, old = self.generation.manifest, self.generation.segments
        if len(old) <= 1 and not len(self.generation.removed):
            return self.generation
        try:
            with storage_errors(self.folder):
                entries = [self._merge(on_progress)] if self.generation.images else []
            self._switch(next_manifest(facts, self._number, entries))
        except BaseException:
            self._take_back()
            raise
        return self.generation

    def _merge(self, on_progress: Progress) -> dict[str, Any]:
        facts, old = self.generation.manifest, self.generation.segments
        scales = [segment.scale for segment in old if segment.scale is not None]
        return write_segment(
            self.folder / layout.SEGMENTS / layout.number_name(self._number),
            items_of_segments(old),
            facts["bits"],
            facts["dim"],
            facts["storage"],
            reduce(np.maximum, scales) if scales else None,
            on_progress=on_progress,
        )


def _worse(known: dict[str, float], new: dict[str, float]) -> dict[str, float]:
    return {
        "recall_at_10": min(known["recall_at_10"], new["recall_at_10"]),
        "distance_error": max(known["distance_error"], new["distance_error"]),
    }
