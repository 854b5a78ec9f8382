"""Comparisons as JSON and as tables that people read."""

from __future__ import annotations

import platform
import shlex
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import __version__
from ..cache import versions
from ..codes import CodeSet
from ..files import sha256
from ..manifest import IDENTITY
from ..plots import precision_by_rank, precision_recall
from .hashes import OWN, HashResult
from .search import SearchResult


def report(
    hashes: Sequence[HashResult],
    searches: Sequence[SearchResult],
    files: dict[str, CodeSet],
    seed: int,
    command: Sequence[str] = (),
) -> dict[str, Any]:
    """All results, with hashes of data and model, versions and command.

    Args:
        hashes: of `compare_hashes`.
        searches: of `compare_search`.
        files: what was compared on: "database", "queries" and the like.
        seed: of both.
        command: what the user ran, to be shown.
    """
    model = files["database"].manifest["model"]
    return {
        "hashes": [one.to_json() for one in hashes],
        "search": [one.to_json() for one in searches],
        "data": {
            name: {"file": codes.path.name, "sha256": sha256(codes.path), "images": len(codes)}
            for name, codes in files.items()
        },
        "model": {key: model.get(key) for key in ("net", *IDENTITY)},
        "versions": {
            "latenthash": __version__,
            "python": platform.python_version(),
            **versions("numpy", *(["faiss"] if searches else [])),
        },
        "seed": seed,
        "command": shlex.join(command),
    }


def hash_table(results: Sequence[HashResult], measure: str) -> str:
    """Methods by widths: the mean of one measure, "-" where there is no such function."""
    widths = sorted({one.bits for one in results})
    rows = []
    for method in dict.fromkeys(one.method for one in results):
        means = {one.bits: one.means.get(measure) for one in results if one.method == method}
        cells = [means.get(width) for width in widths]
        rows.append([method, *("-" if mean is None else f"{mean:.4f}" for mean in cells)])
    return _aligned([[measure, *(f"{width} bits" for width in widths)], *rows])


def search_table(results: Sequence[SearchResult]) -> str:
    """A row for each search."""
    k = results[0].k
    head = ["search", f"recall of {k}", f"mAP at {k}", "ms", "ms, 99 %", "MB", "build s"]
    rows = [
        [
            one.method,
            f"{one.recall:.4f}",
            f"{one.map_at_k:.4f}",
            f"{one.median_ms:.3f}",
            f"{one.p99_ms:.3f}",
            f"{one.memory_bytes / 1e6:.1f}",
            f"{one.build_seconds:.1f}",
        ]
        for one in results
    ]
    return _aligned([head, *rows])


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns of one width each; the first to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def draw(results: Sequence[HashResult], k: int, folder: Path) -> list[Path]:
    """Draw precision at every rank to k, and precision over recall, for each width.

    The images' own codes are in every picture.

    Args:
        results: of `compare_hashes`.
        k: last rank.
        folder: gets precision_at_rank_BITS.png and precision_recall_BITS.png.

    Returns:
        The pictures.
    """
    made = [one for one in results if not one.reason]
    pictures = []
    for width in sorted({one.bits for one in made}):
        chosen = [one for one in made if one.bits == width or one.method == OWN]
        chosen.sort(key=lambda one: one.method == OWN)  # drawn last, above all others
        shown = {_name(one): one for one in chosen}
        by_rank = folder / f"precision_at_rank_{width}.png"
        by_recall = folder / f"precision_recall_{width}.png"
        near = {name: _near(one, k) for name, one in shown.items()}
        precision_by_rank(near, by_rank, _near(chosen[0], k, "best_precision"))
        precision_recall(
            {name: (one.curves["recall"], one.curves["precision"]) for name, one in shown.items()},
            by_recall,
        )
        pictures += [by_rank, by_recall]
    return pictures


def _name(one: HashResult) -> str:
    return f"{one.method}, {one.bits} bits"


def _near(one: HashResult, k: int, curve: str = "precision") -> tuple[list[int], list[float]]:
    """Ranks up to k, and a curve's values at them."""
    count = bisect_right(one.ranks, k)
    return one.ranks[:count], one.curves[curve][:count]
