"""`Pool`: the images of one or two code files, from which protocols choose by row."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..codes import CodeSet, CodeWriter, Rows
from ..errors import DataError
from ..manifest import require_same
from .ranking import Labelled

Numbers = NDArray[np.int64]
_BLOCK = 4096


class Pool:
    """Images of code files of one network: those of the database, then those of the queries.

    Classes are matched by name where the two files share names, else by number.

    Attributes:
        sets: the files: one, or database and queries.
        classes: names; a label is the place of its name.
        labels: (N,) int32.
    """

    def __init__(self, database: CodeSet, queries: CodeSet | None = None) -> None:
        """Take the images of one file, or of two.

        Raises:
            MismatchError: the two files come from different networks.
            DataError: a file is empty or has images without a label.
        """
        self.sets = (database,) if queries is None else (database, queries)
        if queries is not None:
            _require_comparable(database, queries)
        for codes in self.sets:
            _require_labels(codes)
        self.classes, labels = _joint_labels(self.sets)
        self.labels = np.concatenate(labels)
        self._ends = np.cumsum([len(part) for part in labels])

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def bits(self) -> int:
        """Of a code."""
        return self.sets[0].bits

    @property
    def paths(self) -> str:
        """The files, for messages."""
        return " and ".join(str(codes.path) for codes in self.sets)

    @cached_property
    def names(self) -> list[str]:
        """N names; one may occur in both files."""
        return [name for codes in self.sets for name in codes.names]

    @cached_property
    def codes(self) -> NDArray[np.uint8]:
        """(N, W) uint8, packed."""
        return np.concatenate([codes.codes for codes in self.sets])

    @cached_property
    def content(self) -> NDArray[np.uint8]:
        """(N, 32) uint8: SHA-256 of each image."""
        return np.concatenate([codes.content for codes in self.sets])

    def rows_of(self, number: int) -> Numbers:
        """Rows of the first (0) or second (1) file."""
        starts = [0, *self._ends]
        return np.arange(starts[number], starts[number + 1])

    def of_classes(self, rows: Numbers, names: list[str]) -> Numbers:
        """Those of `rows` that are of one of these classes."""
        return rows[np.isin(self.labels[rows], [self.classes.index(name) for name in names])]

    def class_name(self, row: int) -> str:
        """Of an image; its number where classes have no names."""
        label = int(self.labels[row])
        return self.classes[label] if label < len(self.classes) else str(label)

    def labelled(self, rows: Numbers) -> Labelled:
        """Codes and labels of these rows."""
        return Labelled(self.codes[rows], self.labels[rows])

    def known(self, rows: Numbers, among: Numbers) -> NDArray[np.bool_]:
        """Which of `rows` show a file that is, byte for byte, one of `among` too."""
        there = {row.tobytes() for row in self.content[among]}
        return np.array([row.tobytes() in there for row in self.content[rows]], bool)

    def features(self, rows: Numbers) -> NDArray[np.float16]:
        """(R, D) float16 of these rows, read now; neighbours are read together."""
        cuts = np.flatnonzero((np.diff(rows) != 1) | np.isin(rows[1:], self._ends)) + 1
        return np.concatenate([self._run(run) for run in np.split(rows, cuts)])

    def _run(self, rows: Numbers) -> NDArray[np.float16]:
        number, first = self._place(int(rows[0]))
        return self.sets[number].features(first, first + len(rows))

    def _place(self, row: int) -> tuple[int, int]:
        number = int(np.searchsorted(self._ends, row, side="right"))
        return number, row - (int(self._ends[number - 1]) if number else 0)

    def write(self, rows: Numbers, path: Path) -> None:
        """Write these rows as a code file."""
        facts = self.sets[0].manifest
        with CodeWriter(path, self.bits, self.sets[0].dim, len(rows)) as writer:
            for block in self._blocks(rows):
                writer.append(block)
            writer.finish({**facts, "classes": self.classes})

    def _blocks(self, rows: Numbers) -> Iterator[Rows]:
        for start in range(0, len(rows), _BLOCK):
            part = rows[start : start + _BLOCK]
            yield Rows(
                names=[self.names[row] for row in part],
                labels=self.labels[part],
                features=self.features(part),
                codes=self.codes[part],
                content=self.content[part],
            )


def _require_comparable(database: CodeSet, queries: CodeSet) -> None:
    what = f"{queries.path} and {database.path}"
    keys = ("deploy_sha256", "weights_sha256", "hash_sha256")
    require_same(queries.manifest["model"], database.manifest["model"], keys, what)
    require_same(queries.manifest, database.manifest, ("bits",), what)


def _require_labels(codes: CodeSet) -> None:
    if not len(codes) or (codes.labels < 0).any():
        raise DataError(f"{codes.path}: has no labels", "extract from a folder of class folders")


def _joint_labels(sets: tuple[CodeSet, ...]) -> tuple[list[str], list[NDArray[np.int32]]]:
    """Names of all classes, and each set's labels in their numbers."""
    names, *others = (list(codes.manifest.get("classes") or []) for codes in sets)
    labels = [sets[0].labels]
    for own, codes in zip(others, sets[1:], strict=True):
        if not set(names) & set(own):  # told apart by number only
            labels.append(codes.labels)
            continue
        names += [name for name in own if name not in names]  # nothing there is relevant
        labels.append(np.array([names.index(name) for name in own], np.int32)[codes.labels])
    return names, labels
