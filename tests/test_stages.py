from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from latenthash.engines import get_engine
from latenthash.progress import Progress, silent
from latenthash.stages import Stages


def test_each_stage_is_announced_and_its_time_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    announced: list[str] = []

    @contextmanager
    def announce(stage: str) -> Iterator[Progress]:
        announced.append(stage)
        yield silent

    clock = iter([0.0, 1.0, 10.0, 12.0, 20.0, 24.0])
    monkeypatch.setattr("latenthash.stages.perf_counter", lambda: next(clock))
    run = Stages(Path("out"), get_engine("fake"), announce)
    for name in ("extract", "index", "extract"):
        with run.stage(name) as progress:
            assert progress is silent
    assert announced == ["extract", "index", "extract"]
    assert run.seconds == {"extract": 5.0, "index": 2.0}


def test_a_stage_that_fails_has_no_time() -> None:
    run = Stages(Path("out"), get_engine("fake"))
    with pytest.raises(ValueError, match="broken"), run.stage("index"):
        raise ValueError("broken")
    assert run.seconds == {}
