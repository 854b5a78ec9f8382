"""The child process in which pycaffe runs nets; see `caffe.py` for the parent's side.

Caffe ends its process when a check fails, so it must not be the user's. It is started
as a plain script, for the speed of its start: it imports NumPy and `_caffe`, no more.

    python caffe_worker.py SOCKET_FD PYCAFFE_FOLDER

Requests and replies are pickles, arrays follow as raw bytes:
    ("load", prototxt, weights)  ->  ("loaded", input blob's shape, {blob: shape})
    ("forward", shape, blobs) + batch  ->  ("outputs", [shape, ...]) + arrays
    ("quit",)
LATENTHASH_GPU may name a GPU by its number, for a Caffe that is built for it.
Whatever Python can catch is answered with ("error", message); the rest kills the child.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any, BinaryIO

_TEST = 1


def main(descriptor: int, pycaffe: str) -> None:
    """Answer requests until the parent says quit or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    sys.path[0] = pycaffe  # instead of this script's own folder
    with socket.socket(fileno=descriptor) as connection, connection.makefile("rwb") as stream:
        try:
            _serve(stream)
        except (EOFError, ConnectionError):  # the parent is gone
            return


def _serve(stream: Any) -> None:
    import _caffe  # aborts or raises only here, where the parent can be told

    if gpu := os.environ.get("LATENTHASH_GPU"):
        _caffe.set_device(int(gpu))
        _caffe.set_mode_gpu()
    net: _Net | None = None
    reply: tuple[Any, ...]
    arrays: list[Any]
    while (request := pickle.load(stream))[0] != "quit":
        try:
            if request[0] == "load":
                net = _Net(_caffe, *request[1:])
                reply, arrays = ("loaded", net.input_shape, net.shapes), []
            else:
                assert net is not None
                arrays = net.forward(stream, *request[1:])
                reply = ("outputs", [array.shape for array in arrays])
        except (RuntimeError, MemoryError) as error:
            reply, arrays = ("error", str(error)), []
        pickle.dump(reply, stream)
        for array in arrays:
            stream.write(array)
        stream.flush()


class _Net:
    def __init__(self, caffe: Any, prototxt: str, weights: str) -> None:
        self._net = caffe.Net(prototxt, _TEST, weights=weights)
        self._blobs = dict(zip(self._net._blob_names, self._net._blobs, strict=True))
        self._input = self._net._blobs[self._net._inputs[0]]
        self._last_layer = len(self._net.layers) - 1
        self.input_shape = tuple(self._input.shape)
        self.shapes = {name: tuple(blob.shape) for name, blob in self._blobs.items()}

    def forward(self, stream: BinaryIO, shape: Sequence[int], names: Sequence[str]) -> list[Any]:
        """Read a batch of `shape` straight into the input blob, run, return the blobs."""
        if tuple(self._input.shape) != tuple(shape):
            self._input.reshape(*shape)
            self._net.reshape()
        _fill(stream, memoryview(self._input.data).cast("B"))
        self._net._forward(0, self._last_layer)
        return [self._blobs[name].data for name in names]


def _fill(stream: Any, target: memoryview) -> None:
    """Read exactly as many bytes as `target` holds."""
    while target:
        count = stream.readinto(target)
        if not count:
            raise EOFError
        target = target[count:]


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
