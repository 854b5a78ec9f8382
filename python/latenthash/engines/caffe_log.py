"""Caffe's log: its lines as events, its solver's reports as steps, its last words as errors.

A line of glog: `I1121 12:00:00.123456  42 solver.cpp:266] Iteration 100, loss = 0.3`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import DataError, EngineError, LatentHashError, NetError, StorageError
from .base import Step

_GLOG = re.compile(r"^([IWEF])\d{4,8} \d\d:\d\d:\d\d\.\d+ +\d+ (\S+:\d+)\] ?(.*)$")
_LOSS = re.compile(r"^Iteration (\d+)(?: \(.*\))?, loss = (\S+)")
_RATE = re.compile(r"^Iteration (\d+), lr = (\S+)")
_EVALUATION = re.compile(r"^Iteration (\d+), Testing net \(#(\d+)\)")
_OUTPUT = re.compile(r"^ *(Train|Test) net output #\d+: (\S+) = (\S+)")
_SNAPSHOT = re.compile(r"^Snapshotting (?:solver state )?to (?:binary proto|HDF5) file (.+)$")


@dataclass(frozen=True)
class Loss:
    """The solver begins its report on an iteration; the loss is smoothed over `average_loss`."""

    iteration: int
    value: float


@dataclass(frozen=True)
class Rate:
    """The solver ends its report on an iteration."""

    iteration: int
    value: float


@dataclass(frozen=True)
class Evaluation:
    """A pass over test net number `net` begins."""

    iteration: int
    net: int


@dataclass(frozen=True)
class Output:
    """One output of the train or test net."""

    phase: str
    name: str
    value: float


@dataclass(frozen=True)
class Snapshot:
    """A caffemodel or solver state is being written."""

    path: Path


@dataclass(frozen=True)
class Fatal:
    """Caffe's last words before it aborts: where in its sources, and why."""

    where: str
    message: str


Event = Loss | Rate | Evaluation | Output | Snapshot | Fatal


def parse(line: str) -> Event | None:
    """Event that a line of Caffe's log reports; None for all the rest."""
    header = _GLOG.match(line.rstrip("\n"))
    if header is None:
        return None
    level, where, message = header.groups()
    if level == "F":
        return Fatal(where, message)
    if found := _LOSS.match(message):
        return Loss(int(found[1]), float(found[2]))
    if found := _RATE.match(message):
        return Rate(int(found[1]), float(found[2]))
    if found := _EVALUATION.match(message):
        return Evaluation(int(found[1]), int(found[2]))
    if found := _OUTPUT.match(message):
        return Output(found[1].lower(), found[2], float(found[3]))
    if found := _SNAPSHOT.match(message):
        return Snapshot(Path(found[1]))
    return None


@dataclass
class _Report:
    """What is known so far of one step."""

    iteration: int
    phase: str
    values: dict[str, float] = field(default_factory=dict)
    rate: float | None = None

    def add(self, name: str, value: float) -> None:
        """Note a value; the further elements of a vector are called name[1], name[2], …"""
        same = sum(key == name or key.startswith(f"{name}[") for key in self.values)
        self.values[f"{name}[{same}]" if same else name] = value


class StepReader:
    """Puts the solver's reports together from events.

    A training step's "loss" is the smoothed total that Caffe prints; of an output of
    the same name there is no second value. Outputs of a second test net are prefixed
    "net1/".
    """

    def __init__(self, max_iter: int) -> None:
        self._max_iter = max_iter
        self._report: _Report | None = None
        self._prefix = ""

    def read(self, event: Event | None) -> Iterator[Step]:
        """Take the next line's event; yield the step that it completes, if any."""
        if event is None:
            return
        if isinstance(event, Output) and self._report and self._report.phase == event.phase:
            if event.phase == "test" or event.name != "loss":
                self._report.add(self._prefix + event.name, event.value)
            return
        if isinstance(event, Rate) and self._report and self._report.phase == "train":
            self._report.rate = event.value
        yield from self.end()
        if isinstance(event, Loss):
            self._report, self._prefix = _Report(event.iteration, "train"), ""
            self._report.add("loss", event.value)
        elif isinstance(event, Evaluation):
            self._report = _Report(event.iteration, "test")
            self._prefix = f"net{event.net}/" if event.net else ""

    def end(self) -> Iterator[Step]:
        """Yield the step under way, if any."""
        report, self._report = self._report, None
        if report is not None and report.values:
            yield Step(report.iteration, self._max_iter, report.phase, report.values, report.rate)


# Fatal lines, the error to raise and the remedy; the first that matches counts.
_CAUSES: list[tuple[str, type[LatentHashError], str]] = [
    (r"shape mismatch", NetError, "these weights are of another network; rename the layer"),
    (
        r"Incompatible number of blobs|Incorrect length of history",
        NetError,
        "these weights are of another network; give those of this one",
    ),
    (r"Unknown layer type", NetError, "this Caffe lacks the layer; mend the prototxt's type"),
    (r"Unknown (bottom|blob)", NetError, "mend the prototxt: no layer above makes that blob"),
    (r"[Ff]ailed to parse|Error parsing|param_upgrade", NetError, "mend the prototxt"),
    (
        r"Unknown learning rate policy|Unknown solver type|SolverParameter|test_iter",
        NetError,
        "mend the solver prototxt",
    ),
    (r"Cannot write to snapshot prefix", StorageError, "check the folder and its permissions"),
    (
        r"No space left|Unable to write|proto\.SerializeToOstream",
        StorageError,
        "free some room on the disk",
    ),
    (
        r"mdb_status|Unknown database backend",
        DataError,
        "build the LMDB again with build_lmdb.py and set backend: LMDB",
    ),
    (
        r"cv_cropped_image",
        DataError,
        "this Caffe cannot crop encoded images and subtract a mean file; build it with "
        "scripts/build_caffe.sh, or set mean_value instead",
    ),
    (
        r"Could not decode|encoded|datum_(channels|height|width)|data_mean_|input_(height|width)",
        DataError,
        "build the LMDB and its mean again with build_lmdb.py",
    ),
    (r"File not found|Could not open|Failed to open|Couldn't open", DataError, "check the path"),
    (
        r"Cannot use GPU|CPU-only",
        EngineError,
        "unset LATENTHASH_GPU, or build Caffe with scripts/build_caffe.sh --cuda",
    ),
    (r"cudaSuccess|CUBLAS_|CURAND_", EngineError, "look at the GPU with nvidia-smi"),
    (r"label_value|label < |label >= ", DataError, "labels must be below the classes of the net"),
]


def fatal_error(fatal: Fatal, what: str) -> LatentHashError:
    """Error for Caffe's fatal line.

    Args:
        fatal: the line.
        what: the file or work that Caffe died on.
    """
    message = re.sub(r"\s+", " ", fatal.message).partition(" (known types:")[0].rstrip(" .")
    for pattern, kind, remedy in _CAUSES:
        if re.search(pattern, message):
            return kind(f"{what}: {message}", remedy)
    return EngineError(f"{what}: Caffe stopped at {fatal.where}: {message}", "check its prototxt")


def death_error(log: Iterable[str], code: int, what: str) -> LatentHashError:
    """Error for a Caffe process that ended with `code` (negative: a signal) and left `log`."""
    last = ""
    for line in log:
        event = parse(line)
        if isinstance(event, Fatal):
            return fatal_error(event, what)
        last = line.strip() or last
    if code == -9:
        return EngineError(
            f"{what}: Caffe was killed", "is there too little memory? try smaller batches"
        )
    reason = f"signal {-code}" if code < 0 else f"exit code {code}"
    return EngineError(f"{what}: Caffe ended with {reason}: {last}", "check its prototxt")
