"""Samples to the LMDBs, lists and mean of one image set."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..files import sha256
from ..lmdb_store import DatumWriter, make_key
from ..manifest import Manifest, new_manifest
from ..parallel import ordered_map
from ..progress import Progress
from ..proto import write_mean
from ..sources import Sample
from ..sources.base import Skipped
from ..threads import usable_cores
from .augment import STAGE, Copy
from .convert import Converted, Recipe, chunks, convert
from .workers import Workers, worth_processes

MEAN = "mean.binaryproto"

_SHOWN = 5  # skipped images that a strict run names before it stops
Converter = Callable[[Sequence[Sample]], Converted]

_log = logging.getLogger(__name__)


class SplitWriter:
    """Writes the LMDBs of one run, and knows what it has written and skipped so far."""

    def __init__(
        self,
        recipe: Recipe,
        classes: int,
        strict: bool,
        workers: int | None,
        progress: Progress,
        total: int,
    ) -> None:
        self.skipped: list[Skipped] = []
        self.counts: dict[str, list[int]] = {}
        self.hashes: dict[str, str] = {}
        self._mean: dict[str, Any] = {}
        self._recipe = recipe
        self._classes = classes
        self._strict = strict
        self._workers = workers or usable_cores()
        self._progress = progress
        self._done, self._total = 0, total

    def skip(self, name: str, reason: str) -> None:
        """Leave something out; a strict run stops once it has a few to show."""
        _log.debug("skipped %s: %s", name, reason)
        self.skipped.append((name, reason))
        if len(self.skipped) >= _SHOWN:
            self.check_strict()

    def check_strict(self) -> None:
        """Raise `DataError` if the run is strict and something was skipped."""
        if self._strict and self.skipped:
            shown = "; ".join(f"{name!r} ({reason})" for name, reason in self.skipped[:_SHOWN])
            raise DataError(
                f"cannot be used: {shown}", "mend or remove them, or run without --strict"
            )

    def write_split(
        self, name: str, samples: Sequence[Sample], make: Converter, folder: Path
    ) -> None:
        """Write NAME_lmdb, NAME.txt, and for the training images the mean."""
        written: list[Sample] = []
        total = np.zeros((*self._recipe.size, self._recipe.channels), dtype=np.int64)
        pieces = chunks(samples, self._recipe)
        with DatumWriter(folder / f"{name}_lmdb") as writer:
            done = ordered_map(make, pieces, self._workers, 2 * self._workers)
            for piece, chunk in zip(pieces, done, strict=True):
                self._put(piece, chunk, writer, written)
                total += chunk.total
        if not written:
            raise DataError(
                f"none of {len(samples)} images for {name} can be used, for instance "
                f"{self.skipped[-1][0]!r} ({self.skipped[-1][1]})",
                "give images that can be opened",
            )
        write_text(folder / f"{name}.txt", [f"{s.name} {s.label}" for s in written])
        self.counts[name] = count(written, self._classes)
        self.hashes[name] = writer.content_hash
        if name == "train":
            self._write_mean(total / len(written), folder / MEAN)

    def manifest(self, kind: str, val_fraction: float | None, seed: int) -> Manifest:
        """What the output was made from and is made of."""
        return new_manifest(
            STAGE,
            source=kind,
            classes=self._classes,
            shape=list(self._recipe.shape),
            encode=self._recipe.encode,
            quality=self._recipe.quality if self._recipe.encode == "jpeg" else None,
            val_fraction=val_fraction,
            augment=None if self._recipe.augment is None else self._recipe.augment.to_json(seed),
            seed=seed,
            images={name: sum(counts) for name, counts in self.counts.items()},
            skipped=len(self.skipped),
            lmdb_sha256=self.hashes,
            mean=self._mean,
        )

    @contextmanager
    def converter(self, samples: Sequence[Sample]) -> Iterator[Converter]:
        """What turns samples into Datums, in the calling thread or a process beside it."""
        if worth_processes(samples, self._recipe):
            with Workers(self._recipe, self._workers) as workers:
                yield workers.convert
        else:
            yield partial(convert, recipe=self._recipe)

    def _put(
        self,
        samples: Sequence[Sample],
        chunk: Converted,
        writer: DatumWriter,
        written: list[Sample],
    ) -> None:
        for sample, datum in zip(samples, chunk.datums, strict=True):
            if isinstance(datum, str):
                if not isinstance(sample, Copy):  # its image has been listed
                    self.skip(sample.name, datum)
            else:
                writer.put_datum(make_key(len(written), sample.name), datum)
                written.append(sample)
        self._done += len(chunk.datums)
        self._progress(self._done, self._total)

    def _write_mean(self, mean: NDArray[np.float64], path: Path) -> None:
        write_mean(mean.transpose(2, 0, 1), path)
        values = mean.mean(axis=(0, 1)).tolist()
        self._mean = {"file": path.name, "sha256": sha256(path), "values": values}


def count(samples: Sequence[Sample], classes: int) -> list[int]:
    """Images of each class."""
    labels = np.array([sample.label for sample in samples], dtype=np.intp)
    counts: list[int] = np.bincount(labels, minlength=classes).tolist()
    return counts


def write_text(path: Path, lines: Sequence[str]) -> None:
    """Write lines as they are, names that are no UTF-8 included."""
    text = "".join(f"{line}\n" for line in lines)
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
