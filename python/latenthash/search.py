"""`Searcher`: an image file or a name in, the most similar images of an index out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .closing import Closing
from .engines import Engine, Net
from .errors import DataError, EngineError
from .hamming import Codes, to_text
from .images import load
from .index import Address, Hits, SearchOptions, StoredIndex, open_index
from .index.folding import search_folded
from .model import HashModel, stored_model

_CROWDED = 10  # times the candidates asked for: above that the codes tell too little apart


@dataclass(frozen=True)
class Hit:
    """One image found.

    Attributes:
        rank: from 1.
        name: as in the index.
        label: class name, "" where unknown.
        hamming: differing bits.
        distance: between the features, under the metric.
        near_copies: images left out for this one, if the hits were folded.
    """

    rank: int
    name: str
    label: str
    hamming: int
    distance: float
    near_copies: int = 0


@dataclass(frozen=True)
class Answer:
    """What a query found, and how.

    Attributes:
        query: the file, or the name in the index.
        code: its code as a string of 0 and 1.
        found: the hits as numbers, and how they were found.
        hits: best first.
        timings_ms: milliseconds of decode and encode, or of lookup for an image of the
            index; of coarse, fine, rank, fold if wanted, names.
        warnings: what the reader of the hits should know.
    """

    query: str
    code: str
    found: Hits
    hits: list[Hit]
    timings_ms: dict[str, float]
    warnings: list[str]

    @property
    def radius(self) -> int:
        """Hamming distance that the coarse step went to."""
        return self.found.radius

    @property
    def buckets(self) -> int:
        """Buckets in it."""
        return self.found.buckets

    @property
    def candidates(self) -> int:
        """Images in them that pass the filter."""
        return self.found.candidates

    @property
    def exact(self) -> bool:
        """Whether these are provably the nearest by feature of all that pass the filter."""
        return self.found.exact

    def to_json(self) -> dict[str, Any]:
        """As documented for `search.py --json`."""
        return {
            "query": self.query,
            "code": self.code,
            "coarse": {
                "radius": self.radius,
                "buckets": self.buckets,
                "candidates": self.candidates,
                "exact": self.exact,
                "left_out": self.found.left_out,
                "ways": list(self.found.ways),
            },
            "hits": [asdict(hit) for hit in self.hits],
            "timings_ms": {name: round(value, 3) for name, value in self.timings_ms.items()},
            "warnings": self.warnings,
        }


class Searcher(Closing):
    """An index with its network, ready for queries. Close it, or use it as a context."""

    def __init__(self, index: Address, engine: Engine | None, ram: int | None = None) -> None:
        """Open an index and load the network that built it.

        Args:
            index: its folder or address.
            engine: runs the network; None: search by name only.
            ram: bytes of the index to lock in memory; see `open_index`.

        Raises:
            DataError, StorageError: no index, or a damaged one, or nobody answers.
            MismatchError: the weights that built it are gone or changed.
            NetError, EngineError: the network cannot be loaded.
        """
        self.index = open_index(index, ram)
        self._loaded = self._load(engine) if engine else None

    def _load(self, engine: Engine) -> tuple[HashModel, Net]:
        model = _model(self.index)
        return model, engine.load(model.deploy, model.weights)

    def search(
        self, image: Path, options: SearchOptions | None = None, fold: bool = False
    ) -> Answer:
        """Find the images most similar to a file, which need not be in the index.

        Args:
            image: file.
            options: how; the defaults if None.
            fold: of near-copies keep the best only.

        Raises:
            ImageError: the file cannot be used.
            EngineError: no engine was given.
        """
        if self._loaded is None:
            raise EngineError(f"{image}: no network is loaded", "give an engine")
        model, net = self._loaded
        begin = perf_counter()
        values = load(image, model.preprocess)
        decoded = perf_counter()
        features, codes = model.encode(net, values[None])
        encoded = perf_counter()
        times = {"decode": 1e3 * (decoded - begin), "encode": 1e3 * (encoded - decoded)}
        return self._answer(str(image), codes, features, options or SearchOptions(), times, fold)

    def search_name(
        self, name: str, options: SearchOptions | None = None, fold: bool = False
    ) -> Answer:
        """Find the images most similar to one of the index, which finds itself too.

        Args:
            name: as in the index.
            options: how; the defaults if None.
            fold: of near-copies keep the best only.

        Raises:
            DataError: the index holds no image of that name.
        """
        begin = perf_counter()
        number = self.index.find_name(name)
        if number is None:
            raise DataError(
                f"{self.index.address}: no image named {name!r}",
                "names are those that a search shows",
            )
        codes, features = self.index.stored(np.array([number]))
        times = {"lookup": 1e3 * (perf_counter() - begin)}
        return self._answer(name, codes, features, options or SearchOptions(), times, fold)

    def _answer(
        self,
        query: str,
        codes: Codes,
        features: NDArray[np.floating],
        options: SearchOptions,
        times: dict[str, float],
        fold: bool,
    ) -> Answer:
        begin = perf_counter()
        if fold:
            found, copies = search_folded(self.index, codes[0], features[0], options)
            whole = 1e3 * (perf_counter() - begin)
            times = {**times, "fold": whole - sum(found.timings_ms.values())}
        else:
            [found] = self.index.search(codes, features, options)
            copies = np.zeros(len(found.ids), np.int64)
        begin = perf_counter()
        hits = self._named(found, copies)
        naming = {"names": 1e3 * (perf_counter() - begin)}
        return Answer(
            query=query,
            code=to_text(codes[0], self.index.bits),
            found=found,
            hits=hits,
            timings_ms={**times, **found.timings_ms, **naming},
            warnings=warnings_of(found, options, len(self.index)),
        )

    def _named(self, found: Hits, copies: NDArray[np.int64]) -> list[Hit]:
        names, labels = self.index.names(found.ids), self.index.labels(found.ids)
        columns = zip(
            names,
            labels,
            found.hamming.tolist(),
            found.distances.tolist(),
            copies.tolist(),
            strict=True,
        )
        return [Hit(rank, *column) for rank, column in enumerate(columns, start=1)]

    def image_path(self, name: str) -> Path | None:
        """File of an image of the index; None if it came from no folder."""
        root = self.index.manifest.get("root")
        return Path(root) / name if root else None

    def close(self) -> None:
        """Free the network and the index."""
        if self._loaded:
            self._loaded[1].close()
        self.index.close()


def index_model(address: Address) -> HashModel:
    """The network and hash that built an index, given its folder or address.

    Raises:
        DataError, StorageError: no index, or a damaged one, or nobody answers.
        MismatchError: the weights that built it are gone or changed.
    """
    with open_index(address) as index:
        return _model(index)


def _model(index: StoredIndex) -> HashModel:
    return stored_model(index.manifest["model"], index.model_folder)


def warnings_of(found: Hits, options: SearchOptions, images: int) -> list[str]:
    """What the reader of hits should know; `images` is how many the index holds."""
    if not found.candidates:
        return [_nothing(found, options)]
    wanted = max(options.candidates or 0, options.top)
    within = found.candidates + found.left_out
    told = []
    if options.candidates is not None and within > _CROWDED * wanted and not options.exact:
        share = within / images
        told.append(
            f"{found.buckets} buckets within radius {found.radius} hold {share:.0%} of all "
            "images: the codes tell little apart; more bits or longer training would help"
        )
    if found.left_out:
        told.append(
            f"{found.left_out:,} images within reach were not compared; raise max_candidates "
            "or search exactly"
        )
    return told


def _nothing(found: Hits, options: SearchOptions) -> str:
    if found.exact:
        return "no image of the index passes the filter"
    return f"no bucket within radius {options.radius}; give a larger --radius"
