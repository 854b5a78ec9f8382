"""`Searcher`: an image file in, the most similar images of an index out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any

from .engines import Engine, Net
from .hamming import to_text
from .images import load
from .index import BucketIndex, Hits, SearchOptions
from .model import stored_model

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
    """

    rank: int
    name: str
    label: str
    hamming: int
    distance: float


@dataclass(frozen=True)
class Answer:
    """What a query found, and how.

    Attributes:
        query: the file.
        code: its code as a string of 0 and 1.
        radius: Hamming distance that the coarse step went to.
        buckets: buckets in it.
        candidates: images in them.
        hits: best first.
        timings_ms: milliseconds of decode, encode, coarse, fine, names.
        warnings: what the reader of the hits should know.
    """

    query: str
    code: str
    radius: int
    buckets: int
    candidates: int
    hits: list[Hit]
    timings_ms: dict[str, float]
    warnings: list[str]

    def to_json(self) -> dict[str, Any]:
        """As documented for `search.py --json`."""
        return {
            "query": self.query,
            "code": self.code,
            "coarse": {
                "radius": self.radius,
                "buckets": self.buckets,
                "candidates": self.candidates,
            },
            "hits": [asdict(hit) for hit in self.hits],
            "timings_ms": {name: round(value, 3) for name, value in self.timings_ms.items()},
            "warnings": self.warnings,
        }


class Searcher:
    """An index with its network, ready for queries. Close it, or use it as a context."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        """Open the index in `folder` and load the network that built it.

        Raises:
            DataError, StorageError: no index, or a damaged one.
            MismatchError: the weights that built it are gone or changed.
            NetError, EngineError: the network cannot be loaded.
        """
        self.index = BucketIndex(folder)
        facts = self.index.manifest
        self.model = stored_model(facts["model"], folder / facts["model_folder"])
        self._net: Net = engine.load(self.model.deploy, self.model.weights)

    def search(self, image: Path, options: SearchOptions | None = None) -> Answer:
        """Find the images most similar to a file, which need not be in the index.

        Raises:
            ImageError: the file cannot be used.
        """
        options = options or SearchOptions()
        begin = perf_counter()
        values = load(image, self.model.preprocess)
        decoded = perf_counter()
        features, codes = self.model.encode(self._net, values[None])
        encoded = perf_counter()
        [found] = self.index.search(codes, features, options)
        searched = perf_counter()
        hits = self._named(found)
        times = {
            "decode": 1e3 * (decoded - begin),
            "encode": 1e3 * (encoded - decoded),
            **found.timings_ms,
            "names": 1e3 * (perf_counter() - searched),
        }
        return Answer(
            query=str(image),
            code=to_text(codes[0], self.index.bits),
            radius=found.radius,
            buckets=found.buckets,
            candidates=found.candidates,
            hits=hits,
            timings_ms=times,
            warnings=self._warnings(found, options),
        )

    def _named(self, found: Hits) -> list[Hit]:
        names, labels = self.index.names(found.ids), self.index.labels(found.ids)
        return [
            Hit(rank, name, label, int(hamming), float(distance))
            for rank, (name, label, hamming, distance) in enumerate(
                zip(names, labels, found.hamming, found.distances, strict=True), start=1
            )
        ]

    def _warnings(self, found: Hits, options: SearchOptions) -> list[str]:
        if not found.candidates:
            return [f"no bucket within radius {options.radius}; give a larger --radius"]
        wanted = max(options.candidates or 0, options.top)
        if options.candidates is not None and found.candidates > _CROWDED * wanted:
            share = found.candidates / len(self.index)
            return [
                f"{found.buckets} buckets within radius {found.radius} hold {share:.0%} of all "
                "images: the codes tell little apart; more bits or longer training would help"
            ]
        return []

    def image_path(self, name: str) -> Path | None:
        """File of an image of the index; None if it came from no folder."""
        root = self.index.manifest.get("root")
        return Path(root) / name if root else None

    def close(self) -> None:
        """Free the network."""
        self._net.close()

    def __enter__(self) -> Searcher:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
