"""What an index is: codes and features of many images, searched coarse to fine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..codes import CodeSet
from ..distances import METRICS
from ..errors import DataError
from ..hamming import Codes
from ..manifest import Manifest
from ..progress import Progress, silent
from .contents import Contents
from .filter import Filter

DEFAULT_CANDIDATES = 1000
MAX_CANDIDATES = 200_000
Self = TypeVar("Self", bound="StoredIndex")
Writer = TypeVar("Writer", bound="StoredWriter")


@dataclass(frozen=True)
class SearchOptions:
    """How a query is answered; the same defaults everywhere.

    Attributes:
        top: hits wanted.
        metric: distance of the fine step: l2, chi2, cosine, l1 or linf.
        radius: take only buckets within this Hamming distance; None sets no limit.
        candidates: nearest buckets are taken until they hold at least this many images
            that pass the filter, the last ring (all buckets of one distance) whole; None
            sets no limit.
        max_distance: leave out hits farther than this under the metric.
        exact: compare all images that pass the filter: the plain search, whatever
            `radius`, `candidates` and `max_candidates` say.
        filter: which images may be found.
        max_candidates: most images to compare, unless `candidates` asks for more. If
            collapsed codes reach more, those of the lowest ids in the last ring are
            taken and `Hits.left_out` counts the others.
    """

    top: int = 10
    metric: str = "l2"
    radius: int | None = None
    candidates: int | None = DEFAULT_CANDIDATES
    max_distance: float | None = None
    exact: bool = False
    filter: Filter | None = None
    max_candidates: int | None = MAX_CANDIDATES

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise DataError(f"metric {self.metric!r}", f"choose one of {', '.join(METRICS)}")
        for name in ("top", "candidates", "max_candidates"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise DataError(f"{name} {value}", "give 1 or more")
        for name in ("radius", "max_distance"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise DataError(f"{name} {value}", "give 0 or more")

    @property
    def cap(self) -> int | None:
        """Most images that are compared; None: no limit."""
        if self.exact or self.max_candidates is None:
            return None
        return max(self.max_candidates, self.candidates or 0)


@dataclass(frozen=True)
class Hits:
    """Answer to one query, ordered by (distance, id).

    Attributes:
        ids: (k,) int64.
        hamming: (k,) uint16, distances between the codes.
        distances: (k,) float32 under the metric.
        radius: the largest Hamming distance among the candidates; -1 if there are none.
        buckets: buckets that hold them, summed over the segments of the index.
        candidates: images compared by feature.
        exact: proof that no other image belongs among the hits: every image that passes
            the filter was compared.
        left_out: images within reach that `max_candidates` left out.
        ways: how the coarse step searched each segment: scan, table or mih.
        timings_ms: milliseconds of the phases "coarse", "fine" and "rank".
    """

    ids: NDArray[np.int64]
    hamming: NDArray[np.uint16]
    distances: NDArray[np.float32]
    radius: int
    buckets: int
    candidates: int
    exact: bool
    left_out: int = 0
    ways: tuple[str, ...] = field(default=(), compare=False)
    timings_ms: dict[str, float] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class AddReport:
    """What adding did.

    Attributes:
        added: images stored.
        duplicates: (name, name of the image with the same content) of those left out.
        generation: the current one now.
    """

    added: int
    duplicates: list[tuple[str, str]]
    generation: int


class Index(Protocol):
    """Searches images by code, then by feature."""

    bits: int

    def __len__(self) -> int: ...

    def search(
        self, codes: Codes, features: NDArray[np.floating], options: SearchOptions
    ) -> Sequence[Hits]:
        """Answer queries.

        Args:
            codes: (Q, W) uint8, packed.
            features: (Q, D) floating.
            options: what to take and how many.

        Returns:
            Q answers.

        Raises:
            MismatchError: codes or features of another width.
            DataError: the filter names a class that there is not.
        """
        ...

    def verify(self, on_progress: Progress = silent) -> None:
        """Check everything that is stored.

        Raises:
            StorageError: something is damaged; the message names the file.
        """
        ...


class StoredIndex(Protocol):
    """An index that lies somewhere, with names, classes and the network that made it."""

    @property
    def address(self) -> str:
        """Where it lies."""
        ...

    @property
    def manifest(self) -> Manifest:
        """Facts: bits, dim, storage, classes, root, model, generation."""
        ...

    @property
    def model_folder(self) -> Path:
        """Holds the deploy net, mean image and hash that made the codes."""
        ...

    @property
    def bits(self) -> int:
        """Of a code."""
        ...

    @property
    def dim(self) -> int:
        """Values of a feature."""
        ...

    @property
    def contents(self) -> Contents:
        """The images, one by one."""
        ...

    def __len__(self) -> int: ...

    def refresh(self) -> bool:
        """Take up what was changed since; whether anything was."""
        ...

    def search(
        self, codes: Codes, features: NDArray[np.floating], options: SearchOptions
    ) -> Sequence[Hits]:
        """Answer queries; see `Index.search`."""
        ...

    def stored(self, ids: NDArray[np.int64]) -> tuple[Codes, NDArray[np.float32]]:
        """Codes (Q, W) uint8, packed, and features (Q, D) as stored, of images by id.

        Raises:
            DataError: no image with such an id, or it was removed.
        """
        ...

    def find_name(self, name: str) -> int | None:
        """Id of the image with this name; of the newest if there are more."""
        ...

    def names(self, ids: NDArray[np.int64]) -> list[str]:
        """Names of images by id.

        Raises:
            DataError: no image with such an id.
        """
        ...

    def labels(self, ids: NDArray[np.int64]) -> list[str]:
        """Class names of images by id; "" where unknown."""
        ...

    def verify(self, on_progress: Progress = silent) -> None:
        """Check everything that is stored; see `Index.verify`."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...

    def __enter__(self: Self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class StoredWriter(Protocol):
    """The one writer of an index, as a context."""

    @property
    def manifest(self) -> Manifest:
        """Of the generation in force: bits, dim, next_id, generation, images."""
        ...

    def add(self, codes: CodeSet, on_progress: Progress = silent) -> AddReport:
        """Append the images of a code set that the index does not hold yet.

        Raises:
            MismatchError: codes of another network, of other bits or feature size.
            DataError: a name that is taken by an image with another content.
            StorageError: nothing can be written.
        """
        ...

    def ids_of(self, names: Iterable[str]) -> list[int]:
        """Ids of images by name.

        Raises:
            DataError: a name is not in the index.
        """
        ...

    def remove(self, ids: Iterable[int] | NDArray[np.int64]) -> int:
        """Remove images; how many there were.

        Raises:
            StorageError: nothing can be written.
        """
        ...

    def compact(self, on_progress: Progress = silent) -> object:
        """Give back the room of removed images.

        Raises:
            StorageError: nothing can be written.
        """
        ...

    def __enter__(self: Writer) -> Writer: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
