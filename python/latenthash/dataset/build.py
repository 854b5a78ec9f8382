"""Image set to train and val LMDBs, mean, labels, lists, manifest and report."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..files import atomic_folder, sha256
from ..histogram import HistogramDrawer
from ..lmdb_store import QUALITY, DatumWriter, Encoding, make_key
from ..manifest import Manifest, new_manifest, write_manifest
from ..parallel import ordered_map
from ..progress import Progress, silent
from ..proto import write_mean
from ..sources import Sample, Source, open_source
from ..sources.base import Skipped
from ..threads import usable_cores
from .augment import MANIFEST, STAGE, Augment, Copy, with_copies
from .convert import Converted, Recipe, choose_recipe, chunks, convert
from .report import DatasetReport
from .split import split_samples
from .workers import Workers, worth_processes

MEAN = "mean.binaryproto"
LABELS = "labels.txt"
DEFAULT_VAL = 0.2

_SHOWN = 5  # skipped images that a strict run names before it stops
Converter = Callable[[Sequence[Sample]], Converted]

_log = logging.getLogger(__name__)


def build_lmdb(
    source: Path,
    output: Path,
    *,
    resize: tuple[int, int] | None = None,
    gray: bool | None = None,
    encode: Encoding | None = None,
    quality: int = QUALITY,
    val_fraction: float | None = None,
    seed: int = 0,
    root: Path | None = None,
    background: bool = False,
    augment: Augment | None = None,
    strict: bool = False,
    workers: int | None = None,
    on_progress: Progress = silent,
) -> DatasetReport:
    """Build what Caffe trains on from an image set; `output` appears whole or not at all.

    Writes train_lmdb and val_lmdb, mean.binaryproto (of the training images as they are
    before JPEG), labels.txt, train.txt and val.txt ("name label" in the LMDBs' order),
    skipped.csv, report.md with class_counts.csv and .png, and dataset.json. The same
    source, settings and seed give the same LMDBs.

    Args:
        source: what `open_source` takes.
        output: folder to write; an earlier output is replaced once the new one is whole.
        resize: (height, width) that images are warped to; None keeps their size if all
            have one, else takes 256x256.
        gray: True for one channel, False for BGR; None takes what the images are.
        encode: "jpeg" or "raw"; None takes jpeg for files, raw for arrays. A JPEG that
            needs no change is stored as it is.
        quality: of JPEG, 1 to 100.
        val_fraction: share of each class for validation; None keeps the set's own
            split, or takes 0.2 if it has none; 0 writes no val_lmdb.
        seed: of split, order and colours.
        root: what the paths of a list file are relative to; None for its own folder.
        background: keep Caltech-101's class BACKGROUND_Google.
        augment: copies of the training images in mixed with them in a random order;
            counts, lists and mean are of all that is written.
        strict: fail if anything has to be skipped.
        workers: threads, or processes for many small files; None for one a free core.
        on_progress: told after every few images.

    Raises:
        DataError: nothing to build from, settings that make no sense, an `output` that
            is not ours to replace, or something to skip in a strict run.
        StorageError: the disk is full or cannot be written.
    """
    _check_settings(resize, quality, val_fraction)
    _check_output(source, output)
    with HistogramDrawer() as drawer:  # gets ready while the images are listed and converted
        found = open_source(source, root, background)
        recipe = choose_recipe(found.samples, resize, gray, encode, quality)
        recipe = replace(recipe, augment=augment, seed=seed)
        if val_fraction is None and not found.has_split:
            val_fraction = DEFAULT_VAL
        splits = _splits(source, found, val_fraction, seed)
        splits["train"] = with_copies(splits["train"], augment, seed)
        drawer.expect(found.labels, *_counts(splits, len(found.labels)))  # if none is skipped
        total = sum(map(len, splits.values()))
        run = _Build(recipe, len(found.labels), strict, workers, on_progress, total)
        for skipped in found.skipped:
            run.skip(*skipped)
        with atomic_folder(output) as folder:
            with run.converter([sample for part in splits.values() for sample in part]) as make:
                for name, part in splits.items():
                    run.write_split(name, part, make, folder)
            run.check_strict()
            report = DatasetReport(
                output=output,
                kind=found.kind,
                labels=found.labels,
                train_counts=run.counts["train"],
                val_counts=run.counts.get("val", [0] * len(found.labels)),
                shape=recipe.shape,
                encode=recipe.encode,
                skipped=run.skipped,
            )
            _write_text(folder / LABELS, found.labels)
            report.write(folder, drawer)
            write_manifest(run.manifest(found.kind, val_fraction, seed), folder / MANIFEST)
    return report


def _splits(
    source: Path, found: Source, val_fraction: float | None, seed: int
) -> dict[str, list[Sample]]:
    """Training and validation samples, the latter only where there are any.

    Raises:
        DataError: a validation share was wanted and no class has two images.
    """
    train, val = split_samples(found.samples, val_fraction, seed)
    if not val and val_fraction != 0:
        raise DataError(f"{source}: no class has two images to split", "add images or give --val 0")
    return {"train": train, "val": val} if val else {"train": train}


def _counts(splits: Mapping[str, Sequence[Sample]], classes: int) -> list[list[int]]:
    """Images of each class for training and for validation."""
    return [_count(splits.get(name, ()), classes) for name in ("train", "val")]


def _count(samples: Sequence[Sample], classes: int) -> list[int]:
    labels = np.array([sample.label for sample in samples], dtype=np.intp)
    counts: list[int] = np.bincount(labels, minlength=classes).tolist()
    return counts


class _Build:
    """One run: what has been written and skipped so far."""

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
        _write_text(folder / f"{name}.txt", [f"{s.name} {s.label}" for s in written])
        self.counts[name] = _count(written, self._classes)
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


def _check_settings(
    resize: tuple[int, int] | None, quality: int, val_fraction: float | None
) -> None:
    if resize is not None and min(resize) < 1:
        raise DataError(f"a size of {resize[1]}x{resize[0]}", "give at least 1x1")
    if not 1 <= quality <= 100:
        raise DataError(f"a JPEG quality of {quality}", "give 1 to 100")
    if val_fraction is not None and not 0 <= val_fraction < 1:
        raise DataError(f"a validation share of {val_fraction}", "give 0 to below 1")


def _check_output(source: Path, output: Path) -> None:
    """Replacing a folder deletes what was in it: only what an earlier run wrote may go."""
    here, there = source.resolve(), output.resolve()
    if here == there or there in here.parents or (source.is_dir() and here in there.parents):
        raise DataError(
            f"{output}: source and output lie in one another", "give a folder outside the source"
        )
    if output.exists() and not (output / MANIFEST).is_file():
        empty = output.is_dir() and not any(output.iterdir())
        if not empty:
            raise DataError(
                f"{output}: exists and is not from build_lmdb", "give another folder, or remove it"
            )


def _write_text(path: Path, lines: Sequence[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
