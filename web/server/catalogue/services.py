"""The library's index and network, for the rest of the service.

The one module that imports the library. It speaks in ids, bytes and plain numbers, so
that views and models know nothing of arrays. One `Library` a process, shared by threads;
its arrays are mapped, so that all workers share one copy in memory.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import Any

import numpy as np
from django.conf import settings

from latenthash.codes import CodeSet, CodeWriter, Rows
from latenthash.distances import METRICS
from latenthash.engines import get_engine
from latenthash.errors import DataError, ImageError, LatentHashError, StorageError
from latenthash.feedback import Votes, move_feature, vote
from latenthash.hamming import distances as hamming_distances
from latenthash.hamming import to_text
from latenthash.images import decode, prepare, probe
from latenthash.index import BucketIndex, Filter, Hits, SearchOptions
from latenthash.index.bucket import IndexWriter
from latenthash.index.bucket.eligible import eligible
from latenthash.index.folding import search_folded
from latenthash.jpeg import compress
from latenthash.manifest import new_manifest
from latenthash.model import HashModel
from latenthash.search import index_model, warnings_of

from .errors import Problem, invalid, not_found

logger = logging.getLogger(__name__)

METRIC_NAMES = tuple(METRICS)
_AHEAD = 4  # times the hits wanted that a refined search looks at
_SEGMENTS = 32  # an index in so many parts is compacted when an image is added
_SHUFFLES = 16  # orders of the gallery that are kept


@dataclass(frozen=True)
class Query:
    """What is searched with: an image of the index, or a picture.

    Attributes:
        number: its id, or None.
        picture: a file's bytes, if there is no id.
        crop: (x, y, width, height) as shares of the picture; None: the whole.
    """

    number: int | None = None
    picture: bytes = b""
    crop: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class Wish:
    """How it is searched; see `SearchOptions`."""

    top: int = 100
    metric: str = "l2"
    radius: int | None = None
    candidates: int | None = 1000
    max_distance: float | None = None
    labels: tuple[int, ...] = ()
    exact: bool = False
    compare: bool = False
    fold: bool = True
    liked: tuple[int, ...] = ()
    disliked: tuple[int, ...] = ()


@dataclass(frozen=True)
class Seen:
    """A query as the index sees it: code (W,), feature (D,), and the bits' weights if moved."""

    code: Any
    feature: Any
    votes: Votes | None
    times: dict[str, float]


@dataclass(frozen=True)
class Found:
    """An answer in numbers; lists have one entry a hit, best first.

    Attributes:
        codes: of the hits, as 0 and 1.
        coarse_ranks: 1 + the images whose code is nearer.
        copies: near-copies folded into each.
    """

    code: str
    ids: list[int]
    hamming: list[int]
    distances: list[float]
    coarse_ranks: list[int]
    copies: list[int]
    codes: list[str]
    certificate: dict[str, Any]
    timings_ms: dict[str, float]
    warnings: list[str]
    refined: bool
    exact_ms: float | None = None
    overlap: float | None = None


@dataclass(frozen=True)
class Entry:
    """One image of the index, as the catalogue wants to know it."""

    number: int
    name: str
    label: int | None
    label_name: str
    code: str
    content: str


@contextmanager
def refusing() -> Iterator[None]:
    """Turn the library's errors into refusals; what the operator must mend is a 503."""
    try:
        yield
    except ImageError as error:
        raise Problem(415, "not_an_image", f"{error.problem} - {_FORMATS}") from error
    except DataError as error:
        raise invalid(str(error)) from error
    except LatentHashError as error:
        logger.exception("the index or the network cannot be used")
        raise Problem(503, "unavailable", f"{type(error).__name__} - see the log") from error


_FORMATS = "send a JPEG, PNG, GIF, WebP, BMP, TIFF or PNM picture"


class Library:
    """An open index, and its network once a picture asks for it."""

    def __init__(self, folder: Path, engine: str = "auto") -> None:
        """Open the index in `folder`.

        Raises:
            LatentHashError: no index there, or a damaged one.
        """
        self.folder, self._engine_name = folder, engine
        self.index = BucketIndex(folder)
        self._stamp = self._manifest_stamp()
        self._refreshing, self._computing = Lock(), Lock()
        self._shuffled = lru_cache(_SHUFFLES)(self._shuffle)

    def _manifest_stamp(self) -> tuple[int, int]:
        status = (self.folder / "manifest.json").stat()
        return status.st_mtime_ns, status.st_ino

    def refresh(self) -> bool:
        """Take up another generation if there is one; cheap where there is none."""
        try:
            stamp = self._manifest_stamp()
            if stamp == self._stamp:
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
        segments = self.index.generation.segments
        return any(segment.find_id(number) is not None for segment in segments)

    def find_name(self, name: str) -> int | None:
        """Id of the image with this name."""
        return self.index.find_name(name)

    def find_content(self, sha256: bytes) -> int | None:
        """Id of the image whose file has this hash."""
        for segment in self.index.generation.segments:
            if (position := segment.find_content(sha256)) is not None:
                return int(segment.ids[position])
        return None

    # The gallery

    def order(self, label: int | None, seed: int | None) -> Sequence[int]:
        """Ids of the live images, of one class (-1: unknown) or all, ascending or shuffled."""
        return self._shuffled(self.checksum, label, seed)

    def _shuffle(self, checksum: str, label: int | None, seed: int | None) -> Any:
        parts = [np.empty(0, np.int64)]
        for segment in self.index.generation.segments:
            at = segment.live_positions
            if label is not None:
                at = at[segment.labels[at] == label]
            parts.append(segment.ids[at])
        ids = np.concatenate(parts)
        return ids if seed is None else np.random.default_rng(seed).permutation(ids)

    def label_counts(self) -> list[tuple[int, int]]:
        """(label, images) of the classes that have any, -1 for unknown."""
        labels = [s.labels[s.live_positions] for s in self.index.generation.segments]
        found, counts = np.unique(np.concatenate([*labels, []]).astype(int), return_counts=True)
        return list(zip(found.tolist(), counts.tolist(), strict=True))

    def entries(self, only: set[int] | None = None) -> Iterator[Entry]:
        """Live images, ascending by id; `only` some of them."""
        classes, bits = self.classes, self.index.bits
        for segment in self.index.generation.segments:
            positions = segment.live_positions
            if only is not None:
                positions = positions[np.isin(segment.ids[positions], list(only))]
            columns = zip(
                segment.ids[positions].tolist(),
                segment.names(positions),
                segment.labels[positions].tolist(),
                segment.codes(positions),
                segment.content[positions],
                strict=True,
            )
            for number, name, label, code, content in columns:
                yield Entry(
                    number=number,
                    name=name,
                    label=label if label >= 0 else None,
                    label_name=classes[label] if label >= 0 else "",
                    code=to_text(code, bits),
                    content=content.tobytes().hex() if content.any() else "",
                )

    # The network

    @cached_property
    def _model(self) -> HashModel:
        return index_model(self.folder)

    @cached_property
    def _net(self) -> Any:
        engine = get_engine(self._engine_name, few=True)
        return engine.load(self._model.deploy, self._model.weights)

    def warm(self) -> None:
        """Load the network now."""
        with self._computing, refusing():
            _ = self._net

    def encode(self, query: Query) -> tuple[Any, Any, dict[str, float]]:
        """Code (W,), feature (D,) and the milliseconds it took, of a picture."""
        begin = perf_counter()
        with refusing():
            with self._computing:  # a second request waits for the network of the first
                preprocess, net = self._model.preprocess, self._net
            size = preprocess.resize if query.crop is None else None
            pixels = decode(query.picture, preprocess.channels, size)
            if query.crop is not None:
                pixels = _cropped(pixels, query.crop)
            values = prepare(pixels, preprocess)
            decoded = perf_counter()
            with self._computing:
                features, codes = self._model.encode(net, values[None])
        times = {"decode": 1e3 * (decoded - begin), "encode": 1e3 * (perf_counter() - decoded)}
        return codes[0], features[0].astype(np.float32), times

    # Search

    def see(self, query: Query, wish: Wish) -> Seen:
        """The query's code and feature, moved by what was liked."""
        begin = perf_counter()
        if query.number is not None:
            [code], [feature] = self._stored([query.number])
            times = {"lookup": 1e3 * (perf_counter() - begin)}
        else:
            code, feature, times = self.encode(query)
        if not (wish.liked or wish.disliked):
            return Seen(code, feature, None, times)
        (liked_codes, liked), (codes, disliked) = map(self._stored, (wish.liked, wish.disliked))
        votes = vote(code, liked_codes, codes, self.index.bits)
        return Seen(votes.code, move_feature(feature, liked, disliked), votes, times)

    def _stored(self, numbers: Sequence[int]) -> tuple[Any, Any]:
        for number in numbers:
            if not self.has(number):
                raise not_found(f"no image {number} - it may have been removed")
        return self.index.stored(np.array(numbers, np.int64))

    def options(self, wish: Wish) -> SearchOptions:
        """The wish as the index takes it."""
        names = [*self.classes, ""]  # -1, the last, is unknown
        if any(not -1 <= label < len(names) - 1 for label in wish.labels):
            raise invalid(f"no label {max(wish.labels)} - /api/v1/labels lists them")
        chosen = Filter(labels={names[label] for label in wish.labels}) if wish.labels else None
        return SearchOptions(
            top=wish.top,
            metric=wish.metric,
            radius=wish.radius,
            candidates=wish.candidates,
            max_distance=wish.max_distance,
            exact=wish.exact,
            filter=chosen,
        )

    def search(self, query: Query, wish: Wish) -> Found:
        """Answer a query."""
        begin = perf_counter()
        seen, options = self.see(query, wish), self.options(wish)
        with refusing():
            hits, copies, folding = self._hits(seen, options, wish)
            exact_ms = overlap = None
            if wish.compare:
                started = perf_counter()
                best, _, _ = self._hits(seen, replace(options, exact=True), wish)
                exact_ms = 1e3 * (perf_counter() - started)
                overlap = len(np.intersect1d(hits.ids, best.ids)) / max(1, len(best.ids))
            nearer = self._nearer(seen.code, options.filter)
            codes = self._codes(hits.ids)
        return Found(
            code=to_text(seen.code, self.index.bits),
            ids=hits.ids.tolist(),
            hamming=hits.hamming.tolist(),
            distances=hits.distances.tolist(),
            coarse_ranks=nearer[hits.hamming].tolist(),
            copies=copies.tolist(),
            codes=codes,
            certificate={
                "radius": hits.radius,
                "buckets": hits.buckets,
                "candidates": hits.candidates,
                "left_out": hits.left_out,
                "exact": hits.exact and seen.votes is None,
                "ways": list(hits.ways),
            },
            timings_ms={
                **seen.times,
                **hits.timings_ms,
                **folding,
                "total": 1e3 * (perf_counter() - begin) - (exact_ms or 0),
            },
            warnings=warnings_of(hits, options, len(self.index)),
            refined=seen.votes is not None,
            exact_ms=exact_ms,
            overlap=overlap,
        )

    def _hits(
        self, seen: Seen, options: SearchOptions, wish: Wish
    ) -> tuple[Hits, Any, dict[str, float]]:
        """Hits, near-copies of each, and what folding took."""
        more = options.top * (_AHEAD if seen.votes else 1) + len(wish.disliked)
        begin = perf_counter()
        ahead = replace(options, top=more)
        if wish.fold:
            hits, copies = search_folded(self.index, seen.code, seen.feature, ahead)
            spent = 1e3 * (perf_counter() - begin) - sum(hits.timings_ms.values())
            times = {"fold": max(0.0, spent)}
        else:
            [hits] = self.index.search(seen.code[None], seen.feature[None], ahead)
            copies, times = np.zeros(len(hits.ids), np.int64), {}
        if seen.votes is None:
            return hits, copies, times
        best = self._reranked(hits, seen.votes, wish)[: options.top]
        chosen = replace(
            hits, ids=hits.ids[best], hamming=hits.hamming[best], distances=hits.distances[best]
        )
        return chosen, copies[best], times

    def _reranked(self, hits: Hits, votes: Votes, wish: Wish) -> Any:
        """Places of hits by distance x (1 + share of weighted bits that differ), ties by id."""
        kept = np.flatnonzero(~np.isin(hits.ids, wish.disliked))
        codes = self._packed(hits.ids[kept])
        scores = hits.distances[kept] * (1 + votes.disagreement(codes))
        return kept[np.lexsort((hits.ids[kept], scores))]

    def _packed(self, ids: Any) -> Any:
        """(k, W) packed codes of images by id."""
        result = np.zeros((len(ids), -(-self.index.bits // 8)), np.uint8)
        for segment in self.index.generation.segments:
            at = np.minimum(np.searchsorted(segment.ids, ids), segment.images - 1)
            here = np.flatnonzero(segment.ids[at] == ids)
            result[here] = segment.codes(at[here])
        return result

    def _codes(self, ids: Any) -> list[str]:
        return [to_text(code, self.index.bits) for code in self._packed(ids)]

    def _nearer(self, code: Any, wanted: Filter | None) -> Any:
        """(bits + 1,) at d: 1 + the images that pass the filter with a distance below d."""
        counts = np.zeros(self.index.bits + 2, np.int64)
        for segment in self.index.generation.segments:
            own = segment.buckets.view(np.uint8)[:, : len(code)]
            away = hamming_distances(code[None], np.ascontiguousarray(own))[0]
            sizes = eligible(segment, self.classes, wanted).sizes
            counts[1:] += np.bincount(away, sizes, self.index.bits + 1).astype(np.int64)
        return 1 + np.cumsum(counts)[:-1]

    def explain(self, query: Query, wish: Wish, number: int) -> dict[str, Any]:
        """Why an image is a hit: both codes, all distances, both ranks."""
        seen, options = self.see(query, wish), self.options(wish)
        [code], [feature] = self._stored([number])
        with refusing():
            hits, _, _ = self._hits(seen, options, wish)
            differs = int(hamming_distances(seen.code[None], code[None])[0, 0])
            place = np.flatnonzero(hits.ids == number)
            return {
                "query_code": to_text(seen.code, self.index.bits),
                "hit_code": to_text(code, self.index.bits),
                "hamming": differs,
                "distances": {
                    name: float(distance(seen.feature, feature[None])[0])
                    for name, distance in METRICS.items()
                },
                "coarse_rank": int(self._nearer(seen.code, options.filter)[differs]),
                "rank": int(place[0]) + 1 if len(place) else None,
                "bits_weight": seen.votes.weights.tolist() if seen.votes else None,
            }

    # Changes; the caller holds the catalogue's lock

    def add(self, picture: bytes, name: str, label: str, root: Path) -> int:
        """Append a picture; its id.

        Args:
            picture: the file's bytes.
            name: of the file, below `root`.
            label: class name; "" for unknown.
            root: folder of files that were added.
        """
        code, feature, _ = self.encode(Query(picture=picture))
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
        with tempfile.TemporaryDirectory(dir=settings.DATA) as folder, refusing():
            path = Path(folder) / "added.h5"
            with CodeWriter(path, self.index.bits, self.index.dim, 1) as writer:
                writer.append(rows)
                writer.finish(manifest)
            with CodeSet(path) as codes, IndexWriter(self.folder) as index:
                number = int(index.generation.manifest["next_id"])
                index.add(codes)
                if len(index.generation.segments) > _SEGMENTS:
                    index.compact()
        self.refresh()
        return number

    def remove(self, number: int) -> bool:
        """Take an image out; whether it was there."""
        with refusing(), IndexWriter(self.folder) as index:
            removed = index.remove([number])
        self.refresh()
        return bool(removed)


def _cropped(pixels: Any, crop: tuple[float, float, float, float]) -> Any:
    """Part of (H, W, C) pixels; at least one of them."""
    height, width = pixels.shape[:2]
    x, y, across, down = crop
    left, top = min(int(x * width), width - 1), min(int(y * height), height - 1)
    right = max(left + 1, min(width, round((x + across) * width)))
    bottom = max(top + 1, min(height, round((y + down) * height)))
    return pixels[top:bottom, left:right]


@dataclass(frozen=True)
class Picture:
    """A picture as a JPEG without metadata, upright.

    Attributes:
        width, height: of the picture that it was made of, upright.
    """

    jpeg: bytes
    width: int
    height: int
    hash: str = field(default="")


def jpeg_of(data: bytes, longest: int, quality: int = 90) -> Picture:
    """Decode a file and write it anew, no side longer than `longest` pixels.

    Raises:
        Problem: no picture (415), or too many pixels (413).
    """
    with refusing():
        height, width, _ = probe(data)
    if width * height > settings.MAX_PIXELS:
        limit = f"{settings.MAX_PIXELS / 1e6:g} megapixels"
        raise Problem(413, "too_large", f"{width}x{height} pixels - send at most {limit}")
    shrink = min(1.0, longest / max(width, height))
    size = max(1, round(height * shrink)), max(1, round(width * shrink))
    with refusing():
        pixels = decode(data, 3, size)
    jpeg = compress(pixels, quality)
    return Picture(jpeg, width, height, hashlib.sha256(jpeg).hexdigest())


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
