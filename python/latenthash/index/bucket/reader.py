"""`BucketIndex`: an index folder, open for searching."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...closing import Closing
from ...errors import DataError
from ...hamming import Codes, width, words
from ...manifest import Manifest
from ...progress import Progress, silent
from ..base import Hits, SearchOptions
from ..queries import require_fitting
from .contents import BucketContents
from .generation import Generation, open_generation
from .memory import lock
from .names import find_name
from .segment import Segment
from .snapshot import Snapshot
from .verify import verify

Ids = NDArray[np.int64]


class BucketIndex(Closing):
    """An index folder, open for reading; searches may run in many threads.

    It answers from the generation that it opened until `refresh` is called.
    """

    def __init__(self, folder: Path, ram: int | None = None, way: str | None = None) -> None:
        """Open `folder`; the lengths of its files are checked, not their content.

        Args:
            folder: of the index.
            ram: bytes to lock in memory: codes first, then offsets, then features;
                None leaves it to the system.
            way: of the coarse step, always: scan, table or mih; None: as is cheapest.

        Raises:
            DataError: no index there.
            StorageError: a file is missing or of another length.
        """
        self.folder, self._ram, self._way = folder, ram, way
        self._take(open_generation(folder), None)

    def _take(self, generation: Generation, before: Snapshot | None) -> None:
        self._now = Snapshot(generation, self._way, before)
        if self._ram is not None:
            segments = generation.segments
            arrays: list[NDArray[Any]] = [segment.buckets for segment in segments]
            arrays += [segment.offsets for segment in segments]
            lock([*arrays, *(segment.features for segment in segments)], self._ram)

    @property
    def manifest(self) -> Manifest:
        """Facts of the open generation; see docs/index_format.md."""
        return self._now.generation.manifest

    @property
    def generation(self) -> Generation:
        """What is open: the segments and the manifest."""
        return self._now.generation

    @property
    def address(self) -> str:
        """Where it lies: its folder."""
        return str(self.folder)

    @property
    def model_folder(self) -> Path:
        """Holds the deploy net, mean image and hash that made the codes."""
        return self.generation.model_folder

    @property
    def contents(self) -> BucketContents:
        """The images of the open generation, one by one."""
        return BucketContents(self.generation)

    @property
    def bits(self) -> int:
        """Of a code."""
        return int(self.manifest["bits"])

    @property
    def dim(self) -> int:
        """Values of a feature."""
        return int(self.manifest["dim"])

    def __len__(self) -> int:
        return self.generation.images

    def refresh(self) -> bool:
        """Take up the current generation; whether it is another than before."""
        generation = open_generation(self.folder)
        if generation.manifest == self.manifest:
            return False
        self._take(generation, self._now)
        return True

    def search(
        self, codes: Codes, features: NDArray[np.floating], options: SearchOptions
    ) -> list[Hits]:
        """Answer queries; see `Index.search`."""
        require_fitting(self, codes, features)
        return self._now.search(words(codes), features.astype(np.float32), options)

    def search_ids(self, ids: Ids, options: SearchOptions) -> list[Hits]:
        """Search with images of the index as queries; they find themselves too.

        Args:
            ids: (Q,) int64.
            options: as for `search`.

        Raises:
            DataError: no image with such an id, or it was removed.
        """
        codes, features = self.stored(ids)
        return self.search(codes, features, options)

    def stored(self, ids: Ids) -> tuple[Codes, NDArray[np.float32]]:
        """Codes (Q, W) uint8, packed, and features (Q, D) float32 as stored, of images by id.

        Raises:
            DataError: no image with such an id, or it was removed.
        """
        codes = np.empty((len(ids), width(self.bits)), np.uint8)
        features = np.empty((len(ids), self.dim), np.float32)
        missing = np.ones(len(ids), dtype=bool)
        for segment in self.generation.segments:
            here, positions = segment.find_ids(ids)
            codes[here] = segment.codes(positions)
            features[here] = segment.restored(segment.rows[positions])
            missing[here] = False
        if missing.any():
            number = ids[missing.argmax()]
            problem = f"{self.folder}: no image with id {number}"
            raise DataError(problem, "it may have been removed")
        return codes, features

    def find_name(self, name: str) -> int | None:
        """Id of the image with this name; of the newest if there are more."""
        return find_name(self.generation, name)

    def names(self, ids: Ids) -> list[str]:
        """Names of images by id.

        Raises:
            DataError: no image with such an id.
        """
        return self._now.gather(ids, lambda segment, positions: segment.names(positions))

    def labels(self, ids: Ids) -> list[str]:
        """Class names of images by id; "" where unknown."""
        classes: list[str] = self.manifest["classes"]

        def named(segment: Segment, positions: NDArray[np.intp]) -> list[str]:
            numbers = segment.labels[positions].tolist()
            return [classes[label] if 0 <= label < len(classes) else "" for label in numbers]

        return self._now.gather(ids, named)

    def paths(self, ids: Ids) -> Sequence[Path | None]:
        """Files of images by id; None if they came from no folder."""
        root = self.manifest["root"]
        return [Path(root) / name if root else None for name in self.names(ids)]

    def verify(self, on_progress: Progress = silent) -> None:
        """Check every file and what it holds; see `Index.verify`. Progress is in megabytes."""
        verify(self.folder, on_progress)

    def close(self) -> None:
        """Let go of the files; the maps end with their last user."""
        empty = replace(self.generation, segments=())
        self._now = Snapshot(empty, self._way, None)
