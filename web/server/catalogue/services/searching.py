"""Queries answered: by code, by feature, moved by what was liked; and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from threading import Lock
from time import perf_counter
from typing import Any

import numpy as np

from latenthash.distances import METRICS
from latenthash.feedback import Votes, move_feature, vote
from latenthash.hamming import distances as hamming_distances
from latenthash.hamming import to_text, unpack
from latenthash.index import Address, Filter, Hits, SearchOptions
from latenthash.index.folding import folded_into, search_folded
from latenthash.search import warnings_of

from ..errors import invalid, not_found
from .contents import Contents
from .network import Network
from .refusals import refusing
from .terms import Found, HitList, Query, Seen, Wish

_AHEAD = 4  # times the hits wanted that a refined search looks at


class Searching(Contents):
    """An open index that answers."""

    def __init__(self, address: Address, engine: str = "auto") -> None:
        """Open the index; its network is loaded when a picture asks for it."""
        super().__init__(address)
        self._engine, self._exchange = engine, Lock()
        self._network = Network(address, engine, self.index.manifest["model"])

    @property
    def network(self) -> Network:
        """That of the index as it is now: a new build may have another one."""
        facts = self.index.manifest["model"]
        with self._exchange:
            if self._network.facts != facts:
                self._network.close()
                self._network = Network(self.address, self._engine, facts)
            return self._network

    def see(self, query: Query, wish: Wish) -> Seen:
        """The query's code and feature, moved by what was liked."""
        begin = perf_counter()
        if query.number is not None:
            [code], [feature] = self._stored([query.number])
            times = {"lookup": 1e3 * (perf_counter() - begin)}
        else:
            code, feature, times = self.network.encode(query)
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
        return SearchOptions(
            top=wish.top,
            metric=wish.metric,
            radius=wish.radius,
            candidates=wish.candidates,
            max_distance=wish.max_distance,
            exact=wish.exact,
            filter=self._filter(wish.labels) if wish.labels else None,
        )

    def _filter(self, labels: Sequence[int]) -> Filter:
        names = [*self.classes, ""]  # -1, the last, is unknown
        if any(not -1 <= label < len(names) - 1 for label in labels):
            raise invalid(f"no label {max(labels)} - /api/v1/labels lists them")
        return Filter(labels={names[label] for label in labels})

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
            listed = self._listed(hits, copies, seen, options)
        return Found(
            code=to_text(seen.code, self.index.bits),
            hits=listed,
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

    def copies(self, query: Query, wish: Wish, number: int) -> HitList:
        """Near-copies that a search folds into one of its hits, nearest first."""
        if not self.has(number):
            raise not_found(f"no image {number} - it may have been removed")
        seen, options = self.see(query, wish), self.options(wish)
        ahead = _ahead(seen, options, wish)
        with refusing():
            hits = folded_into(self.index, seen.code, seen.feature, ahead, number)
            return self._listed(hits, np.zeros(len(hits.ids), np.int64), seen, options)

    def _listed(self, hits: Hits, copies: Any, seen: Seen, options: SearchOptions) -> HitList:
        ranks = self._coarse_ranks(seen.code, hits.hamming, options.filter)
        classes, numbers = self.index.labels(hits.ids), self.class_numbers
        return HitList(
            ids=hits.ids.tolist(),
            hamming=hits.hamming.tolist(),
            distances=hits.distances.tolist(),
            coarse_ranks=ranks.tolist(),
            copies=copies.tolist(),
            codes=self._codes(hits.ids),
            names=self.index.names(hits.ids),
            labels=[numbers.get(name) for name in classes],
            label_names=classes,
        )

    def _hits(
        self, seen: Seen, options: SearchOptions, wish: Wish
    ) -> tuple[Hits, Any, dict[str, float]]:
        """Hits, near-copies of each, and what folding took."""
        begin = perf_counter()
        ahead = _ahead(seen, options, wish)
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
        codes = self.index.contents.packed(hits.ids[kept])
        scores = hits.distances[kept] * (1 + votes.disagreement(codes))
        return kept[np.lexsort((hits.ids[kept], scores))]

    def _codes(self, ids: Any) -> list[str]:
        """Codes of images by id as 0 and 1, all at once: a hundred of them are usual."""
        rows = unpack(self.index.contents.packed(ids), self.index.bits).astype(np.uint8) + ord("0")
        return [row.tobytes().decode() for row in rows]

    def _coarse_ranks(self, code: Any, hamming: Any, wanted: Filter | None) -> Any:
        """1 + the images that pass the filter with a code nearer than each distance."""
        return 1 + self.index.contents.nearer(code, np.asarray(hamming, np.uint16), wanted)

    def explain(self, query: Query, wish: Wish, number: int) -> dict[str, Any]:
        """Why an image is a hit: both codes, all distances, both ranks."""
        seen, options = self.see(query, wish), self.options(wish)
        [code], [feature] = self._stored([number])
        with refusing():
            hits, _, _ = self._hits(seen, options, wish)
            differs = int(hamming_distances(seen.code[None], code[None])[0, 0])
            [rank] = self._coarse_ranks(seen.code, [differs], options.filter)
            place = np.flatnonzero(hits.ids == number)
            return {
                "query_code": to_text(seen.code, self.index.bits),
                "hit_code": to_text(code, self.index.bits),
                "hamming": differs,
                "distances": {
                    name: float(distance(seen.feature, feature[None])[0])
                    for name, distance in METRICS.items()
                },
                "coarse_rank": int(rank),
                "rank": int(place[0]) + 1 if len(place) else None,
                "bits_weight": seen.votes.weights.tolist() if seen.votes else None,
            }


def _ahead(seen: Seen, options: SearchOptions, wish: Wish) -> SearchOptions:
    """Looks at more hits where some may be moved or left out."""
    more = options.top * (_AHEAD if seen.votes else 1) + len(wish.disliked)
    return replace(options, top=more)
