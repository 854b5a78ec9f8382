"""All that training needs, looked up and checked before Caffe starts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import h5py

from ..errors import DataError, NetError
from ..files import require_room
from ..netdef import NetDef, load_netdef
from ..proto import read_binary, read_solver
from ..proto.caffe_pb2 import SolverParameter, SolverState
from ..weights import Fit, fit, read_weights
from .data import Data, read_data, require_labels
from .paths import find

_FLOAT_BYTES = 4
_HISTORIES = {"AdaDelta": 2, "Adam": 2}  # of SGD and the rest: one value a parameter
_INLINE = ("net_param", "train_net_param", "test_net_param")


@dataclass(frozen=True)
class Plan:
    """A training run that can start.

    Attributes:
        solver: its file.
        settings: its content.
        nets: the file that each net field of the solver names, absolute.
        train: the net in the TRAIN phase.
        test: nets in the TEST phase.
        data: the Data layers of all phases, TRAIN first.
        weights: caffemodel to start from, absolute; None starts from the fillers.
        fit: how the weights fit; None without weights.
        resume: solver state to go on from, absolute; None starts at iteration 0.
        start: first iteration.
    """

    solver: Path
    settings: SolverParameter
    nets: dict[str, Path]
    train: NetDef
    test: tuple[NetDef, ...]
    data: tuple[Data, ...]
    weights: Path | None
    fit: Fit | None
    resume: Path | None
    start: int

    @property
    def parameters(self) -> int:
        """Number of weights of the net."""
        shapes = self.train.param_shapes.values()
        return sum(math.prod(shape) for layer in shapes for shape in layer)

    def describe(self) -> list[str]:
        """Lines for a person: the data, the net, what takes its weights from where."""
        lines = [
            f"{data.phase.lower()}: {len(data.labels):,} images {data.shape} from {data.source}"
            for data in self.data
        ]
        lines.append(f"net: {self.train.name}, {self.parameters:,} parameters")
        if self.resume is not None:
            lines.append(f"goes on at iteration {self.start} from {self.resume}")
        if self.fit is not None:
            lines.append(f"from {self.weights}: {', '.join(self.fit.taken)}")
        fresh = self.fit.fresh if self.fit is not None else list(self.train.param_shapes)
        if fresh and self.resume is None:
            lines.append(f"fresh: {', '.join(fresh)}")
        if self.fit is not None and self.fit.unused:
            lines.append(f"unused: {', '.join(self.fit.unused)}")
        return lines


def make_plan(solver: Path, weights: Path | None = None, resume: Path | None = None) -> Plan:
    """Look up and check everything that a solver needs.

    Raises:
        NetError: solver, net, weights or solver state are missing, malformed or do not fit.
        DataError: an LMDB or mean file is missing, empty or does not fit.
    """
    if weights is not None and resume is not None:
        raise NetError("weights and a solver state at once", "give one of them")
    settings = read_solver(solver)
    _require_settings(solver, settings)
    nets = net_files(solver, settings)
    train_file = nets.get("net") or nets["train_net"]
    test_file = nets.get("net") or nets.get("test_net")
    train, data = _load(train_file, "TRAIN")
    tests = []
    if test_file is not None and settings.test_iter:
        test, test_data = _load(test_file, "TEST")
        _require_same_weights(train, test)
        tests, data = [test], data + test_data
    result = None if weights is None else _fit(train, weights)
    start = 0 if resume is None else _resume(train, settings, resume)
    return Plan(
        solver=solver,
        settings=settings,
        nets=nets,
        train=train,
        test=tuple(tests),
        data=tuple(data),
        weights=None if weights is None else weights.absolute(),
        fit=result,
        resume=None if resume is None else resume.absolute(),
        start=start,
    )


def _require_settings(solver: Path, settings: SolverParameter) -> None:
    for field in _INLINE:
        if field in {descriptor.name for descriptor, _ in settings.ListFields()}:
            raise NetError(f"{solver}: has {field}", "put the net in a file and name it as net")
    if settings.max_iter <= 0:
        raise NetError(f"{solver}: max_iter is {settings.max_iter}", "set it to 1 or more")
    if settings.test_iter and settings.test_interval <= 0:
        raise NetError(f"{solver}: has test_iter but no test_interval", "set test_interval")
    if settings.lr_policy == "step" and settings.stepsize <= 0:
        raise NetError(f"{solver}: lr_policy step without stepsize", "set stepsize")


def net_files(solver: Path, settings: SolverParameter) -> dict[str, Path]:
    """Files that the solver's net fields name: net, train_net, test_net; absolute.

    Raises:
        NetError: one is missing, or they do not go together.
    """
    if len(settings.test_net) > 1:
        raise NetError(f"{solver}: has {len(settings.test_net)} test nets", "keep one")
    named = {
        "net": settings.net,
        "train_net": settings.train_net,
        "test_net": next(iter(settings.test_net), ""),
    }
    if bool(named["net"]) == bool(named["train_net"]):
        raise NetError(f"{solver}: must name its net, once", "set either net or train_net")
    return {field: find(name, solver, "net", NetError) for field, name in named.items() if name}


def _load(net: Path, phase: str) -> tuple[NetDef, list[Data]]:
    data = read_data(net, phase)
    shapes = {each.tops[0]: each.shape for each in data}
    netdef = load_netdef(net, phase, shapes)
    if not netdef.data_layers:
        raise NetError(f"{net}: has no data layer in phase {phase}", "add one, or see make_net.py")
    for each in data:
        require_labels(netdef, each)
    return netdef, data


def _require_same_weights(train: NetDef, test: NetDef) -> None:
    for layer, shapes in test.param_shapes.items():
        expected = train.param_shapes.get(layer, shapes)
        if expected != shapes:
            raise NetError(
                f"{test.path}: layer {layer!r} has weights {shapes} in TEST, {expected} in TRAIN",
                "use images and crops of one size in both phases",
            )


def _fit(net: NetDef, weights: Path) -> Fit:
    result = fit(net, read_weights(weights))
    if result.conflicting:
        raise NetError(
            f"{weights}: {'; '.join(result.conflicting)}",
            "rename the layers of the net to train them from scratch",
        )
    if not result.taken:
        raise NetError(
            f"{weights}: shares no layer with {net.path} (it has {', '.join(result.unused)})",
            "give weights of a net with the same layer names",
        )
    return result


def _resume(net: NetDef, settings: SolverParameter, resume: Path) -> int:
    """Iteration of a solver state whose weights are there and fit."""
    iteration, learned = _read_state(resume)
    if iteration >= settings.max_iter:
        raise NetError(
            f"{resume}: is at iteration {iteration} of {settings.max_iter}",
            "it is trained; raise max_iter to go on",
        )
    if not Path(learned).is_file():
        raise DataError(f"{learned}: no such file (the weights of {resume})", "put it back there")
    result = fit(net, read_weights(Path(learned)))
    if result.conflicting or result.fresh:
        what = "; ".join([*result.conflicting, *(f"{layer}: not in it" for layer in result.fresh)])
        raise NetError(f"{learned}: {what}", "resume with the net that made this snapshot")
    return iteration


def _read_state(resume: Path) -> tuple[int, str]:
    """Iteration and caffemodel of a solver state, binary or HDF5."""
    if resume.suffix != ".h5":
        state = read_binary(resume, SolverState())
        return state.iter, state.learned_net
    if not resume.is_file():
        raise NetError(f"{resume}: no such file", "check the path")
    try:
        with h5py.File(resume, "r") as file:
            learned = file["learned_net"][()]
            return int(file["iter"][()].item()), learned.decode()
    except (OSError, KeyError, AttributeError, ValueError) as error:
        raise NetError(
            f"{resume}: is no solver state ({error})", "give another snapshot"
        ) from error


def require_disk(plan: Plan, prefix: Path) -> None:
    """Raise `StorageError` unless the disk has room for the snapshots to come."""
    settings = plan.settings
    left = settings.max_iter - plan.start
    snapshots = left // settings.snapshot + 1 if settings.snapshot > 0 else 1
    copies = 1 + _HISTORIES.get(settings.type, 1)
    require_room(prefix, snapshots * copies * plan.parameters * _FLOAT_BYTES)
