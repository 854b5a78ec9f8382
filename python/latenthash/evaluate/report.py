"""An evaluation as JSON, with all that is needed to replay it."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import __version__
from ..codes import CodeSet
from ..files import sha256
from .coarse_to_fine import Fine
from .evaluation import Evaluation

_MODEL = ("net", "deploy_sha256", "weights_sha256", "preprocess_sha256", "hash_sha256")


def report(
    result: Evaluation,
    database: CodeSet,
    queries: CodeSet | None,
    command: Sequence[str] = (),
) -> dict[str, Any]:
    """All measures, curves and intervals; hashes of data and model; versions.

    Only `seconds` differs when the same command runs again on the same files.

    Args:
        result: of the two sets.
        database: what was ranked.
        queries: what was asked; None if both are of one file.
        command: what the user ran, to be shown.
    """
    files = (
        {"database": database} if queries is None else {"database": database, "queries": queries}
    )
    return {
        **measures_json(result),
        "bits": result.bits,
        "data": {name: _data(codes) for name, codes in files.items()},
        "model": {key: database.manifest["model"].get(key) for key in _MODEL},
        "versions": {
            "latenthash": __version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "seed": result.seed,
        "command": shlex.join(command),
    }


def measures_json(result: Evaluation) -> dict[str, Any]:
    """Measures, curves and intervals of a Hamming ranking, and what was ranked."""
    plain = {name: mean for name, mean in result.means.items() if "_at_" not in name}
    curves = {name: values.tolist() for name, values in result.measured.curves.items()}
    return {
        f"map_at_{result.k}": result.map_at_k,
        "map_at_k": result.map_at_k,
        "k": result.k,
        **plain,
        **_by_rank(result.means),
        "intervals": result.intervals,
        "queries": result.queries,
        "database": result.database,
        "distinct_codes": result.distinct_codes,
        "excluded": result.excluded,
        "seconds": {
            "total": round(result.seconds, 4),
            "per_query": round(result.seconds / result.queries, 7),
        },
        "curves": {"ranks": result.measured.ranks.tolist(), **curves},
    }


def fine_json(fine: Fine) -> dict[str, Any]:
    """How was searched, and the measures of the fine ranking beside the Hamming one."""
    options, found = fine.options, fine.found
    [average] = (name for name in fine.means if name.startswith("map_at_"))
    return {
        "metric": options.metric,
        "radius": options.radius,
        "candidates": options.candidates,
        "exact": options.exact,
        average: fine.means[average],
        **_by_rank(fine.means),
        "intervals": fine.intervals,
        "gains": fine.gains,
        "images_compared": float(found.candidates.mean()),
        "largest_radius": int(found.radius.max()),
        "curves": {"ranks": fine.ranks.tolist(), "precision": fine.precision.tolist()},
        "seconds": {
            "total": float(found.seconds.sum()),
            "per_query": float(found.seconds.mean()),
            **found.phases,
        },
    }


def _by_rank(means: Mapping[str, float]) -> dict[str, dict[int, float]]:
    """{"precision_at": {rank: mean}, ..}."""
    return {
        f"{name}_at": {
            int(key.removeprefix(f"{name}_at_")): mean
            for key, mean in means.items()
            if key.startswith(f"{name}_at_")
        }
        for name in ("precision", "tie_aware_precision", "recall", "f1")
        if any(key.startswith(f"{name}_at_") for key in means)
    }


def _data(codes: CodeSet) -> dict[str, Any]:
    return {"file": codes.path.name, "sha256": sha256(codes.path), "images": len(codes)}
