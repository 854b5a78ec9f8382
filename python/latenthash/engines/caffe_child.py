"""The parent's side of the process in which pycaffe runs nets."""

from __future__ import annotations

import pickle
import socket
import subprocess
import sys
import tempfile
import weakref
from io import BufferedRWPair
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import LatentHashError, NetError
from ..threads import thread_environment
from .caffe_home import pycaffe_folder
from .caffe_log import death_error

_SCRIPT = Path(__file__).with_name("caffe_worker.py")
_GRACE = 10.0  # seconds that a child may take to end


class Child:
    """One child process. It starts at once and ends with `close` or with its parent."""

    def __init__(self, threads: int) -> None:
        """Start the process with so many BLAS threads.

        Raises:
            EngineError: Caffe is not built.
        """
        pycaffe = pycaffe_folder()
        ours, theirs = socket.socketpair()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the child)
        with theirs:
            process = subprocess.Popen(
                [sys.executable, str(_SCRIPT), str(theirs.fileno()), str(pycaffe)],
                pass_fds=[theirs.fileno()],
                env=thread_environment(threads)
                | {"GLOG_logtostderr": "1", "GLOG_minloglevel": "2"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._log,
            )
        self.pid = process.pid
        self._process = process
        self._stream = ours.makefile("rwb")
        ours.close()  # the stream keeps the connection
        self._end = weakref.finalize(self, _end, process, self._stream, self._log)

    def send(self, request: tuple[Any, ...], batch: NDArray[np.float32] | None = None) -> None:
        """Send a request and the batch that belongs to it."""
        try:
            pickle.dump(request, self._stream)
            if batch is not None:
                self._stream.write(np.ascontiguousarray(batch).data.cast("B"))
            self._stream.flush()
        except ConnectionError:
            return  # the child is gone; `receive` says why

    def receive(self, what: str) -> tuple[Any, ...]:
        """The reply to the last request.

        Args:
            what: the file or work that an error names.

        Raises:
            NetError, DataError, EngineError: Caffe refused, or the child died.
        """
        try:
            reply: tuple[Any, ...] = pickle.load(self._stream)
        except (EOFError, ConnectionError, pickle.UnpicklingError):
            raise self._death(what) from None
        if reply[0] == "error":
            raise NetError(f"{what}: {reply[1]}", "check the file")
        return reply

    def receive_array(self, shape: tuple[int, ...], what: str) -> NDArray[np.float32]:
        """One array that follows a reply.

        Raises:
            EngineError: the child died.
        """
        array = np.empty(shape, np.float32)
        target = array.reshape(-1).data.cast("B")
        while target:
            count = self._stream.readinto(target)
            if not count:
                raise self._death(what)
            target = target[count:]
        return array

    def _death(self, what: str) -> LatentHashError:
        """Error that tells why the child died."""
        code = self._process.wait(_GRACE)
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").splitlines()
        self.close()
        return death_error(lines, code, what)

    def close(self) -> None:
        """End the process and wait for it; calling again does nothing."""
        self._end()


def _end(process: subprocess.Popen[bytes], stream: BufferedRWPair, log: IO[bytes]) -> None:
    """Ask the child to end; kill it if it does not."""
    try:
        pickle.dump(("quit",), stream)
        stream.close()
    except (ConnectionError, ValueError):  # it is dead, or stopped halfway in a request
        pass
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    log.close()
