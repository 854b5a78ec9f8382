"""`MilvusIndex`: an index in Milvus, open for searching."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import kernels
from ...closing import Closing
from ...errors import DataError, StorageError
from ...hamming import Codes
from ...index import Hits, SearchOptions
from ...index.queries import require_fitting
from ...manifest import Manifest
from ...progress import Progress, silent
from . import facts
from .address import parse
from .coarse import Near, nearest
from .codes import CodeRows
from .contents import MilvusContents
from .fine import RERANKS, Features, Floats
from .model_files import model_folder
from .server import Server
from .text import clause
from .verify import verify

Ids = NDArray[np.int64]
DEFAULT_RERANK = "milvus"
"""The faster one where it can be had, as docs/scaling.md has it from benchmarks/milvus_bench.py."""
_IN_MILVUS = frozenset({"l2"})  # metrics that Milvus ranks by
_NONE = np.empty(0, np.int64)


@dataclass(frozen=True)
class _Now:
    """A generation as it was taken up."""

    manifest: Manifest
    codes: CodeRows
    features: Features
    images: int


class MilvusIndex(Closing):
    """An index in Milvus; searches may run in many threads.

    Images that are added are seen after `refresh`, whole; those that are removed are gone
    at once.
    """

    def __init__(self, address: str, rerank: str = DEFAULT_RERANK) -> None:
        """Open an index.

        Args:
            address: `milvus://host:port/collection`.
            rerank: who compares the candidates' features, "here" or "milvus"; the answer
                is the same. Milvus can by l2 only, all else is compared here.

        Raises:
            DataError: no address, or no index there.
            EngineError: pymilvus is not installed.
            StorageError: nobody answers, or what is there is damaged.
        """
        if rerank not in RERANKS:
            raise DataError(f"rerank {rerank!r}", f"choose one of {', '.join(RERANKS)}")
        self.address, self._rerank = str(parse(address)), rerank
        self._server = Server(parse(address))
        try:
            self._now = self._taken(facts.load(self._server))
        except BaseException:
            self._server.close()
            raise

    def _taken(self, manifest: Manifest) -> _Now:
        bits, dim, stop = (int(manifest[key]) for key in ("bits", "dim", "next_id"))
        codes = CodeRows(self._server, manifest["codes"], bits, stop)
        return _Now(manifest, codes, Features(self._server, manifest["features"], dim), len(codes))

    @property
    def manifest(self) -> Manifest:
        """Facts of the generation that was taken up; see docs/scaling.md."""
        return self._now.manifest

    @property
    def bits(self) -> int:
        """Of a code."""
        return self._now.codes.bits

    @property
    def dim(self) -> int:
        """Values of a feature."""
        return self._now.features.dim

    @property
    def contents(self) -> MilvusContents:
        """The images, one by one."""
        return MilvusContents(self._now.codes, self.manifest["classes"])

    def __len__(self) -> int:
        return self._now.images

    def refresh(self) -> bool:
        """Take up the current generation; whether it is another than before."""
        known = facts.current(self._server, newest=False)
        if known is not None and known <= self.manifest["generation"]:
            return False
        self._now = self._taken(facts.load(self._server))
        return True

    @property
    def model_folder(self) -> Path:
        """A folder of this machine with the network's small files.

        Raises:
            StorageError: they are damaged, or the disk is full.
        """
        return model_folder(self._server, self.manifest)

    def search(
        self, codes: Codes, features: NDArray[np.floating], options: SearchOptions
    ) -> list[Hits]:
        """Answer queries; see `Index.search`."""
        now = self._now
        require_fitting(self, codes, features)
        begin = perf_counter()
        found = self._near(now, codes, options)
        shared = (perf_counter() - begin) / max(1, len(codes))
        queries = zip(found, features.astype(np.float32), strict=True)
        return [self._answer(now, near, feature, options, shared) for near, feature in queries]

    def _near(self, now: _Now, codes: Codes, options: SearchOptions) -> list[Near]:
        """The coarse step, of all queries together."""
        wanted = clause(options.filter, now.manifest["classes"])
        if wanted.nothing or not now.images:
            empty = np.empty(0, np.uint16)
            return [Near(_NONE, _NONE, empty, 0, True)] * len(codes)
        radius = self.bits if options.radius is None else min(options.radius, self.bits)
        return nearest(
            partial(now.codes.nearest, wanted),
            [code.tobytes() for code in codes],
            now.codes.stop,
            self.bits if options.exact else radius,
            None if options.exact else options.candidates,
            options.cap,
        )

    def _answer(
        self, now: _Now, near: Near, feature: Floats, options: SearchOptions, seconds: float
    ) -> Hits:
        begin = perf_counter()
        ids, distances = self._compared(now, near.ids, feature, options)
        compared = perf_counter()
        best = kernels.top(distances, ids, options.top, options.max_distance)
        places = np.argsort(near.ids)
        at = places[np.searchsorted(near.ids, ids[best], sorter=places)]
        times = {"coarse": seconds, "fine": compared - begin, "rank": perf_counter() - compared}
        return Hits(
            ids=ids[best],
            hamming=near.hamming[at],
            distances=distances[best],
            radius=int(near.hamming[-1]) if len(near.ids) else -1,
            buckets=len(np.unique(near.buckets)),
            candidates=len(near.ids),
            exact=near.all,
            left_out=near.within - len(near.ids),
            ways=("milvus",),
            timings_ms={phase: 1e3 * spent for phase, spent in times.items()},
        )

    def _compared(
        self, now: _Now, ids: Ids, feature: Floats, options: SearchOptions
    ) -> tuple[Ids, Floats]:
        """Ids and distances of the candidates, or of those that can be among the hits."""
        if self._rerank == "milvus" and options.metric in _IN_MILVUS and len(ids) > options.top:
            ids = np.sort(now.features.nearest(ids, feature, options.top))
        distances, there = now.features.distances(ids, feature, options.metric)
        if not there.all():
            self._require_gone(now, ids[~there])
        return ids[there], distances[there]

    def _require_gone(self, now: _Now, ids: Ids) -> None:
        """Images without a feature were removed while they were searched; others are damaged."""
        if still := now.codes.get(ids, [], newest=True):
            problem = f"{self.address}: image {min(still)} has a code and no feature"
            raise StorageError(problem, "remove it, and add it again; verify tells of all")

    def search_ids(self, ids: Ids, options: SearchOptions) -> list[Hits]:
        """Search with images of the index as queries; they find themselves too.

        Raises:
            DataError: no image with such an id, or it was removed.
        """
        codes, features = self.stored(ids)
        return self.search(codes, features, options)

    def stored(self, ids: Ids) -> tuple[Codes, Floats]:
        """Codes (Q, W) uint8, packed, and features (Q, D) float32, of images by id.

        Raises:
            DataError: no image with such an id, or it was removed.
        """
        now = self._now
        codes, there = now.codes.packed(ids)
        self._require_there(ids, there)
        features, there = now.features.get(ids)
        self._require_there(ids, there)
        return codes, features

    def _require_there(self, ids: Ids, there: NDArray[np.bool_]) -> None:
        if not there.all():
            problem = f"{self.address}: no image with id {ids[there.argmin()]}"
            raise DataError(problem, "it may have been removed")

    def find_name(self, name: str) -> int | None:
        """Id of the image with this name; of the newest if there are more."""
        return self._now.codes.find_name(name)

    def names(self, ids: Ids) -> list[str]:
        """Names of images by id.

        Raises:
            DataError: no image with such an id, or it was removed.
        """
        return [str(name) for name in self._column(ids, "name")]

    def labels(self, ids: Ids) -> list[str]:
        """Class names of images by id; "" where unknown."""
        classes: list[str] = self.manifest["classes"]
        numbers = self._column(ids, "label")
        return [classes[label] if 0 <= label < len(classes) else "" for label in numbers]

    def _column(self, ids: Ids, column: str) -> list[Any]:
        found = self._now.codes.get(ids, [column])
        self._require_there(ids, np.array([n in found for n in ids.tolist()], bool))
        return [found[number][column] for number in ids.tolist()]

    def paths(self, ids: Ids) -> Sequence[Path | None]:
        """Files of images by id; None if they came from no folder."""
        root = self.manifest["root"]
        return [Path(root) / name if root else None for name in self.names(ids)]

    def verify(self, on_progress: Progress = silent) -> None:
        """Read everything, compare codes with features; see `Index.verify`. In images."""
        verify(self._server, on_progress)

    def close(self) -> None:
        """Close the connection; calling again does nothing."""
        self._server.close()
