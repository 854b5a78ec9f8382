"""Conversion in child processes, for many small images, such as CIFAR-10's, and for copies.

Threads do for photos, where the time goes to decoding. Small images take as long in
Python, as do changes of colour, and threads share one interpreter.
"""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from queue import SimpleQueue

from ..errors import DataError
from ..sources import Sample
from .convert import Converted, Recipe, convert

_SERVE = "from latenthash.dataset.workers import serve; serve()"
_SMALL = 128 * 128  # pixels of an image
_MANY = 4000  # images that repay the start of the processes


def worth_processes(samples: Sequence[Sample], recipe: Recipe) -> bool:
    """Whether the images are many, small or to be changed, and files."""
    small = recipe.size[0] * recipe.size[1] <= _SMALL
    return (
        (small or recipe.augment is not None)
        and len(samples) >= _MANY
        and samples[0].path is not None
    )


class Workers:
    """Child processes that convert chunks, each at the call of one thread at a time.

    A child ends when its pipe does, so none outlives this process however it ends.
    """

    def __init__(self, recipe: Recipe, count: int) -> None:
        self._recipe = recipe
        self._count = count
        self._children: list[subprocess.Popen[bytes]] = []
        self._idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()

    def __enter__(self) -> Workers:
        for _ in range(self._count):
            command = [sys.executable, "-c", _SERVE]
            child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self._children.append(child)
            self._idle.put(child)
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            assert child.stdin is not None and child.stdout is not None
            with suppress(BrokenPipeError):  # it died with something still to be sent
                child.stdin.close()
            child.stdout.close()
            child.wait()

    def convert(self, samples: Sequence[Sample]) -> Converted:
        """As `convert.convert`, in a child that is idle.

        Raises:
            DataError: the child died.
        """
        child = self._idle.get()
        assert child.stdin is not None and child.stdout is not None
        try:
            pickle.dump((self._recipe, list(samples)), child.stdin)
            child.stdin.flush()
            converted = pickle.load(child.stdout)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            raise DataError(
                f"a process that decodes images died (exit code {child.wait()})",
                "it may have run out of memory: give fewer --workers",
            ) from error
        finally:
            self._idle.put(child)
        assert isinstance(converted, Converted)
        return converted


def serve() -> None:
    """Convert what comes down the pipe until it ends; what a child runs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # the parent is gone: so are we, quietly
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while True:
        try:
            recipe, samples = pickle.load(source)
        except EOFError:
            return
        pickle.dump(convert(samples, recipe), sink)
        sink.flush()
