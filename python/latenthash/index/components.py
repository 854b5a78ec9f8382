"""Connected components of a graph that arrives as batches of edges: union-find on arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


class Components:
    """N nodes; joined ones have the same root, the smallest node of their component."""

    def __init__(self, count: int) -> None:
        """Each node alone."""
        self._parent = np.arange(count, dtype=np.int64)

    def roots(self, nodes: Numbers) -> Numbers:
        """(n,) int64 root of each node."""
        # while parent[node] != node: node = parent[node] = parent[parent[node]]
        found = self._parent[nodes]
        while True:
            above = self._parent[found]
            if np.array_equal(above, found):
                self._parent[nodes] = found
                return found
            found = self._parent[above]

    def join(self, one: Numbers, other: Numbers) -> None:
        """Join one[i] with other[i], for all i."""
        while len(one):
            left, right = self.roots(one), self.roots(other)
            apart = left != right
            one, other, left, right = one[apart], other[apart], left[apart], right[apart]
            # several edges may want to hang one root: the lowest wins, the others come again
            np.minimum.at(self._parent, np.maximum(left, right), np.minimum(left, right))

    def groups(self) -> list[Numbers]:
        """Components of two nodes or more: ascending nodes, by their first node."""
        roots = self.roots(np.arange(len(self._parent)))
        sizes = np.bincount(roots, minlength=len(roots))
        members = np.flatnonzero(sizes[roots] > 1)
        ordered = members[np.argsort(roots[members], kind="stable")]
        ends = np.cumsum(sizes[sizes > 1])
        return np.split(ordered, ends[:-1]) if len(ends) else []
