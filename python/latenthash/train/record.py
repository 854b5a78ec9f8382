"""What a training run leaves behind: its log and the manifest of its caffemodel."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np

from ..engines import Step
from ..files import atomic_file, sha256, storage_errors
from ..manifest import Manifest, new_manifest, write_manifest
from ..proto import write_mean
from .data import Data
from .plan import Plan

STAGE = "train"


class StepLog:
    """Appends steps to a JSONL file, one object a line: those of `Step`, and `seconds`.

    Attributes:
        last: values of the latest step of each phase.

    Args:
        path: the file.
        start: iteration that the run starts at; lines from there on, of a run that
            was cut off, are dropped. 0 starts a new file.
    """

    def __init__(self, path: Path, start: int) -> None:
        self.path = path
        self.last: dict[str, dict[str, float]] = {}
        self._began = time.monotonic()
        kept = [line for line in _lines(path) if line["iteration"] < start]
        with atomic_file(path) as partial:
            partial.write_text("".join(json.dumps(line) + "\n" for line in kept))

    def add(self, step: Step) -> None:
        """Append a step.

        Raises:
            StorageError: the disk is full.
        """
        line = {
            "iteration": step.iteration,
            "max_iter": step.max_iter,
            "phase": step.phase,
            "values": {name: _number(value) for name, value in step.values.items()},
            "learning_rate": step.learning_rate,
            "seconds": round(time.monotonic() - self._began, 3),
        }
        self.last[step.phase] = step.values
        with storage_errors(self.path), self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def _lines(path: Path) -> list[dict[str, Any]]:
    """Whole lines of a log; the last one may have been cut off."""
    if not path.exists():
        return []
    whole = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [json.loads(line) for line in whole]


def _number(value: float) -> float | None:
    """JSON knows no NaN and no infinity."""
    return value if math.isfinite(value) else None


def write_record(
    plan: Plan,
    caffemodel: Path,
    deploy: Path | None,
    engine: str,
    seed: int,
    last: dict[str, dict[str, float]],
) -> Path:
    """Write the manifest beside the caffemodel, and a copy of the mean image.

    Args:
        plan: of the run.
        caffemodel: its outcome.
        deploy: the deploy net in the same folder, if there is one.
        engine: name of the engine.
        seed: the solver's.
        last: values of the latest step of each phase.

    Raises:
        StorageError: the disk is full.
    """
    manifest = new_manifest(
        STAGE,
        engine=engine,
        caffemodel_sha256=sha256(caffemodel),
        solver={"file": str(plan.solver.absolute()), "sha256": sha256(plan.solver)},
        nets={field: _hashed(net) for field, net in plan.nets.items()},
        deploy=None if deploy is None else deploy.name,
        weights=None if plan.weights is None else _hashed(plan.weights),
        resumed=None if plan.resume is None else str(plan.resume),
        data=[_describe(data) for data in plan.data],
        preprocess=_preprocess(plan, caffemodel),
        seed=seed,
        iterations=plan.settings.max_iter,
        final={phase: {k: _number(v) for k, v in step.items()} for phase, step in last.items()},
    )
    return _write_beside(manifest, caffemodel)


def _write_beside(manifest: Manifest, caffemodel: Path) -> Path:
    path = caffemodel.with_name(caffemodel.name + ".json")
    write_manifest(manifest, path)
    return path


def _hashed(file: Path) -> dict[str, str]:
    return {"file": str(file), "sha256": sha256(file)}


def _describe(data: Data) -> dict[str, Any]:
    return {
        "layer": data.name,
        "phase": data.phase,
        "source": str(data.source),
        "images": len(data.labels),
        "shape": list(data.shape),
        "content_sha256": data.content_hash,
    }


def _preprocess(plan: Plan, caffemodel: Path) -> dict[str, Any] | None:
    """What extraction must do to an image: as the TEST phase, else the TRAIN phase, did."""
    if not plan.data:
        return None
    preprocess = plan.data[-1].preprocess
    if not isinstance(preprocess.mean, np.ndarray):
        return preprocess.to_json()
    mean = caffemodel.with_name(caffemodel.name + ".mean.binaryproto")
    write_mean(preprocess.mean, mean)
    return preprocess.to_json(mean.name)
