"""The solver and nets that Caffe is given: the user's, with nothing left to chance.

Paths are absolute, the seed is set, reports come often enough for a progress bar.
"""

from __future__ import annotations

import logging
from pathlib import Path

from ..files import atomic_file
from ..proto.caffe_pb2 import SolverParameter
from .paths import find
from .plan import Plan
from .text import quote, replace_strings, set_fields

logger = logging.getLogger(__name__)

SOLVER = "effective_solver.prototxt"
DEPLOY = "deploy.prototxt"
_PATHS = ("source", "mean_file")
_REPORTS = 200  # at least half as many reports come in a run


def snapshot_prefix(plan: Plan, output: Path | None) -> Path:
    """Absolute prefix of the snapshots; see `prefix_of`."""
    return prefix_of(plan.solver, plan.settings, output)


def prefix_of(solver: Path, settings: SolverParameter, output: Path | None) -> Path:
    """Absolute prefix of a solver's snapshots: in `output`, else where the solver says.

    A solver that says nothing gets a folder `snapshots` beside it.
    """
    stated = settings.snapshot_prefix
    name = "" if stated.endswith("/") else Path(stated).name
    if output is not None:
        folder = output
    elif stated:
        folder = Path(stated).parent if name else Path(stated)
    else:
        folder = solver.parent / "snapshots"
    return folder.absolute() / (name or "net")


def seed_of(settings: SolverParameter, seed: int) -> int:
    """The solver's own seed, or `seed` if it sets none."""
    return settings.random_seed if settings.random_seed >= 0 else seed


def write_effective(plan: Plan, prefix: Path, seed: int) -> Path:
    """Write solver and nets into the folder of `prefix`; return the solver.

    Raises:
        StorageError: the folder cannot be written.
    """
    literals = {"snapshot_prefix": quote(str(prefix)), "snapshot_after_train": "true"}
    for field, net in plan.nets.items():
        literals[field] = quote(str(_write_net(field, net, prefix.parent)))
    literals["random_seed"] = str(seed_of(plan.settings, seed))
    literals["display"] = str(_display(plan.settings))
    if plan.settings.HasField("solver_mode") and plan.settings.solver_mode == SolverParameter.GPU:
        logger.warning(
            "%s asks for a GPU: Caffe takes the one that LATENTHASH_GPU names, PyTorch any",
            plan.solver,
        )
    literals["solver_mode"] = "CPU"
    effective = prefix.parent / SOLVER
    _write(set_fields(plan.solver.read_text(), literals), effective)
    return effective


def _write_net(field: str, net: Path, folder: Path) -> Path:
    effective = folder / f"effective_{field}.prototxt"
    _write(absolute_paths(net.read_text(), net), effective)
    return effective


def absolute_paths(text: str, net: Path) -> str:
    """Text of a net whose LMDBs and means are named absolutely, as found from the file `net`.

    Raises:
        DataError: one is nowhere.
    """
    return replace_strings(text, _PATHS, lambda path: str(find(path, net, "file")))


def copy_deploy(plan: Plan, folder: Path) -> Path | None:
    """Copy the deploy net that lies beside the train net, if one does, to the snapshots."""
    net = plan.nets.get("net") or plan.nets["train_net"]
    deploy, copy = net.with_name(DEPLOY), folder / DEPLOY
    if not deploy.is_file():
        return None
    if deploy.resolve() != copy.resolve():
        _write(deploy.read_text(), copy)
    return copy


def _write(text: str, path: Path) -> None:
    with atomic_file(path) as partial:
        partial.write_text(text)


def _display(settings: SolverParameter) -> int:
    """The user's interval of reports, or a shorter one if that makes too few."""
    often = max(1, settings.max_iter // _REPORTS)
    if settings.display == 0 or settings.max_iter < settings.display * _REPORTS // 2:
        return often
    return settings.display
