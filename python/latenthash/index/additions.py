"""What adding images asks of any index: the same network, names, no content twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..codes import CodeSet
from ..manifest import IDENTITY, Manifest, require_same
from .bucket.segment import as_keys


def require_fitting(codes: CodeSet, facts: Manifest, index: str) -> None:
    """Require that a code set and an index are of one network.

    Args:
        codes: to be added.
        facts: manifest of the index.
        index: its name, for the message.

    Raises:
        MismatchError: codes of another network, of other bits or feature size.
    """
    found = {**codes.manifest.get("model", {}), "bits": codes.bits, "dim": codes.dim}
    expected = {**facts["model"], "bits": facts["bits"], "dim": facts["dim"]}
    require_same(found, expected, (*IDENTITY, "bits", "dim"), f"{codes.path} for {index}")


def names_below(codes: CodeSet, root: str | None) -> list[str]:
    """Names in the index: relative to its root, full paths of images from elsewhere."""
    own = codes.manifest.get("root")
    if own is None or own == root:
        return codes.names
    return [str(Path(own) / name) for name in codes.names]


def first_of_equal(content: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(N,) row of the first image with the same content; itself where that is unknown."""
    _, first, group = np.unique(as_keys(content), return_index=True, return_inverse=True)
    return np.where(content.any(axis=1), first[group], np.arange(len(content)))
