"""Whether two reports say the same, times aside."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import DataError
from .run import Run

NOT_COMPARED = frozenset({"seconds", "command", "versions", "run", "file"})
"""Keys, at any depth, whose values may differ between two runs of the same."""


def read_report(path: Path) -> dict[str, Any]:
    """A report that was written as JSON.

    Raises:
        DataError: missing, or no JSON object.
    """
    try:
        found: Any = json.loads(path.read_text())
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}", "give what --json wrote") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is no JSON ({error})", "give what --json wrote") from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: is no report", "give what --json wrote")
    return found


def run_again(found: Mapping[str, Any], **moved: str | None) -> Run:
    """The run of a report; `moved` says where its files are now, where not None.

    Raises:
        DataError: the report tells of no run.
    """
    places = {name: place for name, place in moved.items() if place is not None}
    return replace(Run.of_report(found), **places)  # type: ignore[arg-type]


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What two reports disagree in, one line each: every number but the times.

    Numbers are compared exactly; hashes of data and model are compared too.

    Args:
        before: as read from JSON.
        now: as `execute` gives it.
    """
    one, other = (dict(_leaves(json.loads(json.dumps(found)))) for found in (before, now))
    return [
        f"{place}: {_shown(one, place)} before, {_shown(other, place)} now"
        for place in sorted(one.keys() | other.keys())
        if _shown(one, place) != _shown(other, place)
    ]


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """(place, value) of all numbers and texts that are compared."""
    if isinstance(value, dict):
        parts = [(str(key), part) for key, part in value.items() if key not in NOT_COMPARED]
    elif isinstance(value, list):
        parts = [(str(number), part) for number, part in enumerate(value)]
    else:
        yield place, value
        return
    for name, part in parts:
        yield from _leaves(part, f"{place}.{name}" if place else name)


def _shown(leaves: Mapping[str, Any], place: str) -> str:
    return json.dumps(leaves[place]) if place in leaves else "nothing"
