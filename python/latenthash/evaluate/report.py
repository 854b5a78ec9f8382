"""An evaluation as JSON, with all that is needed to replay it."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import __version__
from ..codes import CodeSet
from ..files import sha256
from .evaluation import Evaluation

_MODEL = ("net", "deploy_sha256", "weights_sha256", "preprocess_sha256", "hash_sha256")


def report(
    result: Evaluation, database: CodeSet, queries: CodeSet, command: Sequence[str] = ()
) -> dict[str, Any]:
    """All measures, curves and intervals; hashes of data and model; versions.

    Only `seconds` differs when the same command runs again on the same files.

    Args:
        result: of the two sets.
        database: what was ranked.
        queries: what was asked.
        command: what the user ran, to be shown.
    """
    plain = {name: mean for name, mean in result.means.items() if "_at_" not in name}
    curves = {name: values.tolist() for name, values in result.measured.curves.items()}
    return {
        f"map_at_{result.k}": result.map_at_k,
        "map_at_k": result.map_at_k,
        "k": result.k,
        **plain,
        **{f"{name}_at": result.at(name) for name in ("precision", "recall", "f1")},
        "intervals": result.intervals,
        "queries": result.queries,
        "database": result.database,
        "bits": result.bits,
        "distinct_codes": result.distinct_codes,
        "excluded": result.excluded,
        "seconds": {
            "total": round(result.seconds, 4),
            "per_query": round(result.seconds / result.queries, 7),
        },
        "curves": {"ranks": result.measured.ranks.tolist(), **curves},
        "data": {"database": _data(database), "queries": _data(queries)},
        "model": {key: database.manifest["model"].get(key) for key in _MODEL},
        "versions": {
            "latenthash": __version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "seed": result.seed,
        "command": shlex.join(command),
    }


def _data(codes: CodeSet) -> dict[str, Any]:
    return {"file": codes.path.name, "sha256": sha256(codes.path), "images": len(codes)}
