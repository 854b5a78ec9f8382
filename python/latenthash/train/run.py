"""One training run: check, run the engine, keep log, curves and manifest."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path

from ..engines import Engine, OnStep, Step
from ..errors import NetError, StorageError
from ..plots import training_curves
from ..weights import Fit, fit, read_weights
from .effective import copy_deploy, seed_of, snapshot_prefix, write_effective
from .override import Override, write_overridden
from .plan import Plan, make_plan, require_disk
from .record import StepLog, write_record

logger = logging.getLogger(__name__)

LOG = "train_log.jsonl"
CURVES = "training.png"
KEPT = Override()


@dataclass(frozen=True)
class TrainResult:
    """What a training run has made.

    Attributes:
        caffemodel: the last weights.
        manifest: beside it; stage "train".
        log: JSONL, one object a step.
        curves: PNG of loss and accuracy.
        iterations: solver iterations done.
        final: values of the last test pass, e.g. {"accuracy": 0.98, "loss": 0.1}; empty
            without a test net.
    """

    caffemodel: Path
    manifest: Path
    log: Path
    curves: Path
    iterations: int
    final: dict[str, float]


def train(
    solver: Path,
    engine: Engine,
    weights: Path | None = None,
    resume: Path | None = None,
    output: Path | None = None,
    on_step: OnStep | None = None,
    seed: int = 0,
    override: Override = KEPT,
) -> TrainResult:
    """Train a net by Caffe's solver.

    A relative path in the solver or net counts from the working directory, else from
    the file's folder and those above it. What was checked and found is logged.

    Args:
        solver: solver prototxt.
        engine: runs it.
        weights: caffemodel to fine-tune; layers are matched by name.
        resume: solver state to go on from. Caffe then reads the data from its start.
        output: folder of the run; None takes that of the solver's snapshot_prefix.
        on_step: called at each report of the solver.
        seed: taken if the solver sets no random_seed.
        override: another mirror or crop than the nets'.

    Raises:
        NetError, DataError: what the solver needs is missing or does not fit.
        StorageError: no room for the snapshots, or they could not be written whole.
        EngineError: the engine died; the message names the snapshot to resume from.
        TrainingStopped: interrupted; log and curves so far are kept.
    """
    if override:
        solver = write_overridden(solver, override, output)
    plan = make_plan(solver, weights, resume)
    for line in [*plan.describe(), f"engine: {engine.name}"]:
        logger.info("%s", line)
    prefix = snapshot_prefix(plan, output)
    require_disk(plan, prefix)
    effective = write_effective(plan, prefix, seed)
    deploy = copy_deploy(plan, prefix.parent)
    log = StepLog(prefix.parent / LOG, plan.start)
    curves = prefix.parent / CURVES
    try:
        caffemodel = engine.train(effective, plan.weights, plan.resume, _Reporter(log, on_step))
    finally:
        training_curves(log.path, curves)
    _require_whole(plan, caffemodel)
    seed = seed_of(plan.settings, seed)
    manifest = write_record(plan, caffemodel, deploy, engine.name, seed, log.last)
    return TrainResult(
        caffemodel, manifest, log.path, curves, plan.settings.max_iter, log.last.get("test", {})
    )


def _require_whole(plan: Plan, caffemodel: Path) -> None:
    """Caffe does not notice when a full disk cuts off the end of its snapshot."""
    try:
        result = fit(plan.train, read_weights(caffemodel))
    except NetError as error:
        result = Fit(conflicting=[error.problem])
    if result.conflicting or result.fresh:
        raise StorageError(
            f"{caffemodel}: was not written whole", "is the disk full? resume from a snapshot"
        )


class _Reporter:
    """Passes steps on to the log and the caller; warns once if the training diverges."""

    def __init__(self, log: StepLog, on_step: OnStep | None) -> None:
        self._log = log
        self._on_step = on_step
        self._diverged = False

    def __call__(self, step: Step) -> None:
        self._log.add(step)
        if not self._diverged and not all(map(math.isfinite, step.values.values())):
            self._diverged = True
            logger.warning("iteration %d: the loss is not finite; lower base_lr", step.iteration)
        if self._on_step is not None:
            self._on_step(step)
