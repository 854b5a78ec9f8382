"""Nearest-neighbour searches by name, with settings that suit tens of thousands of images."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import DataError
from ..index import DEFAULT_CANDIDATES
from .faiss_search import HnswSearch, LinearSearch
from .neighbours import HashThenRerank, NeighbourSearch
from .pq_search import IvfPqSearch, PqSearch

_KINDS: dict[str, Callable[[int], NeighbourSearch]] = {
    "linear": lambda seed: LinearSearch(),
    "hnsw": lambda seed: HnswSearch(seed=seed),
    "pq": lambda seed: PqSearch(seed=seed),
    "pq-rerank": lambda seed: PqSearch(candidates=DEFAULT_CANDIDATES, seed=seed),
    "ivf-pq": lambda seed: IvfPqSearch(seed=seed),
    "ivf-pq-rerank": lambda seed: IvfPqSearch(candidates=DEFAULT_CANDIDATES, seed=seed),
    "hash": lambda seed: HashThenRerank(),
}
SEARCHES = tuple(_KINDS)
"""Names of all searches; hash is the one by codes."""


def make_search(name: str, seed: int = 0) -> NeighbourSearch:
    """The search called `name`, to be built.

    Args:
        name: one of `SEARCHES`.
        seed: of everything random in it.

    Raises:
        DataError: no such search.
    """
    if name not in _KINDS:
        raise DataError(f"search {name!r}", f"choose one of {', '.join(SEARCHES)}")
    return _KINDS[name](seed)
