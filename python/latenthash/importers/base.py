"""What an importer gives, and how it takes arrays from a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import NetError
from ..netdef import NetDef
from ..weights import Weights, fit

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Imported:
    """Weights for a net, and the preprocessing that they want.

    Attributes:
        weights: by the net's layer names.
        mean: one value a channel (BGR), subtracted from pixels of 0 to 255.
        scale: factor on what is left.
        unused: names in the file that the net has no place for.
    """

    weights: Weights
    mean: tuple[float, float, float]
    scale: float
    unused: list[str]


class Taker:
    """Arrays of a file by name, and a record of those that were taken."""

    def __init__(self, path: Path, arrays: Mapping[str, Array]) -> None:
        self.path = path
        self._arrays = arrays
        self._taken: set[str] = set()

    def __call__(self, name: str) -> Array:
        """The array of that name.

        Raises:
            NetError: there is none.
        """
        if name not in self._arrays:
            raise NetError(f"{self.path}: has no {name!r}", "give the weights of the same network")
        self._taken.add(name)
        return self._arrays[name]

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def unused(self, but: Iterable[str] = ()) -> list[str]:
        """Names that nothing took; `but` leaves out those that end so."""
        left = set(self._arrays) - self._taken
        return sorted(name for name in left if not name.endswith(tuple(but)))


def require_fit(net: NetDef, weights: Weights, path: Path) -> None:
    """Raise `NetError` if a layer's weights have other shapes than the net's."""
    if wrong := fit(net, weights).conflicting:
        raise NetError(f"{path}: {'; '.join(wrong)}", f"give the weights that {net.path} is for")
