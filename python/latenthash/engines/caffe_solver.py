"""The parent's side of the process in which Caffe's solver trains."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ..errors import LatentHashError, NetError
from ..files import storage_errors
from ..proto import read_solver
from ..threads import thread_environment
from .base import OnStep, TrainingStopped
from .caffe_home import pycaffe_folder
from .caffe_log import Event, Fatal, Snapshot, StepReader, death_error, parse

logger = logging.getLogger(__name__)

LOG = "caffe.log"
_SCRIPT = Path(__file__).with_name("caffe_trainer.py")
_STATE = re.compile(r"_iter_(\d+)\.solverstate(\.h5)?$")
_TAIL = 40  # last lines kept for an error


def solve(
    solver: Path, weights: Path | None, resume: Path | None, on_step: OnStep | None, threads: int
) -> Path:
    """Train in a child process; see `Engine.train`."""
    settings = read_solver(solver)
    log = Path(settings.snapshot_prefix).parent / LOG
    with storage_errors(log):
        log.parent.mkdir(parents=True, exist_ok=True)
        file = log.open("ab" if resume else "wb")
    process = _start(solver, weights, resume, threads)
    with storage_errors(log), file, _Run(process, file) as run:
        try:
            run.follow(StepReader(settings.max_iter), on_step)
        except KeyboardInterrupt:
            logger.info("stopping: Caffe ends its iteration or test pass and writes a snapshot")
            run.stop()
            if run.state is not None:
                raise TrainingStopped(_iteration(run.state), run.state) from None
            raise
        return run.result(solver)


def _start(
    solver: Path, weights: Path | None, resume: Path | None, threads: int
) -> subprocess.Popen[bytes]:
    """Start the child in a session of its own, out of reach of the terminal's Ctrl-C."""
    arguments = [pycaffe_folder(), os.getpid(), solver, weights or "", resume or ""]
    return subprocess.Popen(
        [sys.executable, str(_SCRIPT), *map(str, arguments)],
        env=thread_environment(threads) | {"GLOG_logtostderr": "1", "GLOG_minloglevel": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


class _Run:
    """One training process and what is known of it.

    Attributes:
        caffemodel: the last one announced.
        state: the last solver state that is whole; None before the first.
    """

    def __init__(self, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
        self.caffemodel: Path | None = None
        self.state: Path | None = None
        self._announced: Path | None = None
        self._process = process
        self._log = log
        self._tail: deque[str] = deque(maxlen=_TAIL)

    def follow(self, steps: StepReader, on_step: OnStep | None) -> None:
        """Read the log to its end, reporting each step."""
        for event in self._events():
            for step in steps.read(event):
                if on_step is not None:
                    on_step(step)
        for step in steps.end():
            if on_step is not None:
                on_step(step)

    def stop(self) -> None:
        """Ask for a snapshot and wait for the end."""
        self._process.send_signal(signal.SIGINT)
        for _ in self._events():
            pass
        if self._process.wait() >= 0:
            self.state = self._announced or self.state

    def _events(self) -> Iterator[Event | None]:
        """Events of the lines to come; the log and the attributes are kept up to date."""
        assert self._process.stderr is not None
        for raw in self._process.stderr:
            self._log.write(raw)
            self._log.flush()
            line = raw.decode(errors="replace")
            event = parse(line)
            if not isinstance(event, Fatal):  # a line after a snapshot: it is whole
                self.state, self._announced = self._announced or self.state, None
            if not self._fatal_seen():
                self._tail.append(line)
            if isinstance(event, Snapshot):
                self._take(event.path)
            yield event

    def _take(self, path: Path) -> None:
        if _STATE.search(path.name):
            self._announced = path
        else:
            self.caffemodel = path

    def _fatal_seen(self) -> bool:
        return bool(self._tail) and isinstance(parse(self._tail[-1]), Fatal)

    def result(self, solver: Path) -> Path:
        """The last caffemodel of a process that has closed its log.

        Raises:
            LatentHashError: the process failed, or wrote no caffemodel.
        """
        code = self._process.wait()
        if code:
            raise self._death(code, solver)
        if self.caffemodel is None:
            raise NetError(f"{solver}: makes no snapshot", "set snapshot_after_train: true")
        return self.caffemodel

    def _death(self, code: int, solver: Path) -> LatentHashError:
        error = death_error(self._tail, code, str(solver))
        if self.state is None:
            return error
        return type(error)(error.problem, f"{error.remedy}; go on with --resume {self.state}")

    def __enter__(self) -> _Run:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        assert self._process.stderr is not None
        self._process.stderr.close()


def _iteration(state: Path) -> int:
    found = _STATE.search(state.name)
    assert found is not None
    return int(found[1])
