"""`Filter`: which images a query may find."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from fnmatch import translate

from ..errors import DataError


@dataclass(frozen=True)
class Filter:
    """Conditions that an image must all meet; None sets none.

    Attributes:
        labels: its class name is one of these; "" stands for unknown.
        not_labels: its class name is none of these.
        ids: its id is one of these.
        not_ids: its id is none of these.
        names: its name matches one of these patterns: * any text, also across /,
            ? one character, [ab] one of these; case counts.
        not_names: its name matches none of these patterns.
    """

    labels: Collection[str] | None = None
    not_labels: Collection[str] | None = None
    ids: Collection[int] | None = None
    not_ids: Collection[int] | None = None
    names: Collection[str] | None = None
    not_names: Collection[str] | None = None

    def __post_init__(self) -> None:
        for item in fields(self):  # frozen, so that equal filters share what is kept of them
            value = getattr(self, item.name)
            if isinstance(value, (str, bytes)):
                raise DataError(f"filter {item.name} {value!r}", "give a list")
            if value is not None:
                object.__setattr__(self, item.name, frozenset(value))

    def label_numbers(self, classes: Sequence[str]) -> tuple[set[int] | None, set[int]]:
        """Numbers of the classes that are let in (None: all) and kept out; -1 is unknown.

        Raises:
            DataError: no class of that name.
        """
        number = {**{name: label for label, name in enumerate(classes)}, "": -1}
        for name in (*(self.labels or ()), *(self.not_labels or ())):
            if name not in number:
                shown = ", ".join(classes[:20]) + (", …" if len(classes) > 20 else "")
                raise DataError(f"no class {name!r}", f"choose from {shown}")
        wanted = None if self.labels is None else {number[name] for name in self.labels}
        return wanted, {number[name] for name in self.not_labels or ()}


def matcher(patterns: Iterable[str]) -> Callable[[str], object]:
    """Function that is true for names that match one of the patterns."""
    return re.compile("|".join(map(translate, sorted(patterns))) or r"(?!)").match


def literal_prefix(pattern: str) -> str:
    """What every name that matches `pattern` begins with."""
    return re.split(r"[*?\[]", pattern, maxsplit=1)[0]
