"""Image set to train and val LMDBs, mean, labels, lists, manifest and report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import DataError
from ..files import atomic_folder
from ..histogram import HistogramDrawer
from ..lmdb_store import QUALITY, Encoding
from ..manifest import write_manifest
from ..progress import Progress, silent
from ..sources import Sample, Source, open_source
from .augment import MANIFEST, Augment, with_copies
from .convert import choose_recipe
from .report import DatasetReport
from .split import split_samples
from .writer import SplitWriter, count, write_text

LABELS = "labels.txt"
DEFAULT_VAL = 0.2


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
        run = SplitWriter(recipe, len(found.labels), strict, workers, on_progress, total)
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
            write_text(folder / LABELS, found.labels)
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
    return [count(splits.get(name, ()), classes) for name in ("train", "val")]


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
