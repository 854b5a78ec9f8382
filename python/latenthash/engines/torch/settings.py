"""The solver's settings, refused where they cannot be honoured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from google.protobuf import text_format

from ...errors import NetError
from ...proto import read_solver
from ...proto.caffe_pb2 import SolverParameter
from .rates import POLICIES
from .updates import SOLVERS

_OLD_TYPES = {name.upper(): name for name in SOLVERS}
_INLINE = ("net_param", "train_net_param", "test_net_param")
_UNKNOWN = ("train_state", "test_state", "snapshot_diff", "debug_info")


def read_settings(path: Path) -> SolverParameter:
    """Read and check a solver; its type is told by `type`, never by `solver_type`.

    `solver_mode` and `device_id` are not looked at: the engine chooses its device.

    Raises:
        NetError: it is malformed, or asks for what this engine cannot do.
    """
    settings = read_solver(path)
    try:
        text_format.Parse(path.read_text(), SolverParameter())
    except text_format.ParseError as error:
        raise NetError(f"{path}:{error}", "the torch engine knows no such setting") from error
    if settings.HasField("solver_type"):
        if settings.HasField("type"):
            raise NetError(f"{path}: has solver_type and type", "keep type")
        settings.type = _OLD_TYPES[SolverParameter.SolverType.Name(settings.solver_type)]
        settings.ClearField("solver_type")
    for problem, remedy in _problems(settings):
        raise NetError(f"{path}: {problem}", remedy)
    return settings


def _problems(settings: SolverParameter) -> Iterator[tuple[str, str]]:
    """What is wrong and what to do, most basic first."""
    stated = {descriptor.name: value for descriptor, value in settings.ListFields()}
    for field in _INLINE:
        if field in stated:
            yield f"has {field}", "put the net in a file and name it as net"
    for field in _UNKNOWN:
        if stated.get(field):
            yield f"has {field}", "take it out, or train with --engine caffe"
    if bool(settings.net) == bool(settings.train_net):
        yield "must name its net, once", "set either net or train_net"
    yield from _bad_counts(settings)
    yield from _bad_update(settings)
    yield from _bad_policy(settings)


def _bad_counts(settings: SolverParameter) -> Iterator[tuple[str, str]]:
    for field in ("max_iter", "iter_size", "average_loss"):
        if getattr(settings, field) < 1:
            yield f"{field} is {getattr(settings, field)}", "set it to 1 or more"
    if settings.test_iter and settings.test_interval <= 0:
        yield "has test_iter but no test_interval", "set test_interval"
    nets, counts = len(settings.test_net), len(settings.test_iter)
    if counts < nets or (not settings.net and counts != nets):
        yield f"has {nets} test nets and {counts} test_iter", "give one test_iter for each"


def _bad_update(settings: SolverParameter) -> Iterator[tuple[str, str]]:
    kind = settings.type
    if kind not in SOLVERS:
        yield f"no solver type named {kind!r}", f"choose one of {', '.join(SOLVERS)}"
    if kind in ("AdaGrad", "RMSProp") and settings.momentum:
        yield f"{kind} with momentum {settings.momentum:g}", "take momentum out"
    if kind == "RMSProp" and not 0 <= settings.rms_decay < 1:
        yield f"rms_decay is {settings.rms_decay:g}", "set it to 0 or more and below 1"
    if settings.weight_decay and settings.regularization_type not in ("L1", "L2"):
        yield f"no regularization_type named {settings.regularization_type!r}", "choose L1 or L2"


def _bad_policy(settings: SolverParameter) -> Iterator[tuple[str, str]]:
    policy = settings.lr_policy
    if policy not in POLICIES:
        yield f"no lr_policy named {policy!r}", f"choose one of {', '.join(POLICIES)}"
    if policy == "step" and settings.stepsize <= 0:
        yield "lr_policy step without stepsize", "set stepsize"
