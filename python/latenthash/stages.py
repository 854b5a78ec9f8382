"""Stages of a run that are announced and timed; the base of the demos."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from .engines import Engine
from .progress import Announce, Progress, quietly


@dataclass
class Stages:
    """One run; its results lie in `output`.

    Attributes:
        output: folder for everything that the run makes.
        engine: runs the network.
        announce: called with each stage's name; gives a context with its progress.
        seconds: time of each stage so far.
    """

    output: Path
    engine: Engine
    announce: Announce = quietly
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[Progress]:
        """A stage: announced at its start, its time added up at its end."""
        begin = perf_counter()
        with self.announce(name) as progress:
            yield progress
        self.seconds[name] = self.seconds.get(name, 0.0) + perf_counter() - begin
