"""Seeded choices of images and classes; the same labels and seed give the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..files import atomic_file
from ..progress import Progress, silent
from ..sources import Source, open_source, write_class_folders

Places = NDArray[np.int64]
UNSEEN_SHARE = 0.25
SEEN_LIST, LABELS = "seen.txt", "labels.txt"


def stratified(labels: NDArray[np.integer], share: float, seed: int) -> tuple[Places, Places]:
    """Choose a share of each class.

    Args:
        labels: (N,).
        share: between 0 and 1; of a class with two images or more at least one is chosen
            and at least one is left, of a class with one image none.
        seed: of the choice.

    Returns:
        Places of the chosen and of the others, ascending, together 0..N - 1.

    Raises:
        DataError: share outside 0..1, or no class has two images.
    """
    if not 0 < share < 1:
        raise DataError(f"a share of {share} as queries", "give one between 0 and 1")
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        mixed = rng.permutation(np.flatnonzero(labels == label))
        wanted = max(round(share * len(mixed)), 1)
        chosen[mixed[: min(wanted, len(mixed) - 1)]] = True
    if not chosen.any():
        raise DataError("no class has two images", "give more images")
    return np.flatnonzero(chosen), np.flatnonzero(~chosen)


def drawn(count: int, wanted: int, seed: int) -> Places:
    """`wanted` of `count` places, ascending, each with the same chance.

    Raises:
        DataError: there are fewer.
    """
    if wanted > count:
        raise DataError(f"{count} images, {wanted} are drawn as queries", "give more images")
    return np.sort(np.random.default_rng(seed).choice(count, wanted, replace=False))


def hold_out(
    classes: Sequence[str], share: float = UNSEEN_SHARE, seed: int = 0
) -> tuple[list[str], list[str]]:
    """Choose classes that a network will not see in training.

    Source: Sablayrolles, Douze, Usunier, Jegou, How should we evaluate supervised
    hashing?, ICASSP 2017, who keep a quarter of the classes.

    Args:
        classes: names; their order does not matter.
        share: of them that is held out, a half rounded up, at least one.
        seed: of the choice.

    Returns:
        Seen and unseen names, sorted.

    Raises:
        DataError: share outside 0..1, or fewer than two seen classes would remain.
    """
    if not 0 < share < 1:
        raise DataError(f"a share of {share} of the classes", "give one between 0 and 1")
    names = sorted(classes)
    count = max(int(share * len(names) + 0.5), 1)
    if len(names) - count < 2:
        raise DataError(
            f"{len(names)} classes, {count} held out: a classifier needs two or more",
            "give more classes, or a smaller share",
        )
    unseen = set(np.random.default_rng(seed).permutation(len(names))[:count].tolist())
    seen_names = [name for place, name in enumerate(names) if place not in unseen]
    return seen_names, [names[place] for place in sorted(unseen)]


@dataclass(frozen=True)
class SeenList:
    """Training images of some classes, listed for `build_lmdb`.

    Attributes:
        path: the list.
        root: what its paths are relative to.
        images: how many it names.
    """

    path: Path
    root: Path
    images: int


def write_seen_list(
    source: Source, seen: Sequence[str], folder: Path, on_progress: Progress = silent
) -> SeenList:
    """Write the training images of some classes as Caffe's list, for `build_lmdb`.

    `seen.txt` has "name label" lines, labels numbered anew, `labels.txt` the classes'
    names. Where the source has its own split, its test images stay out. Images in arrays
    are written as files first, below `images`.

    Args:
        source: of all classes.
        seen: names of the classes to take.
        folder: to write into.
        on_progress: told of images written as files.

    Raises:
        DataError: the source has no such class, or no training image of these classes.
    """
    unknown = sorted(set(seen) - set(source.labels))
    if unknown:
        raise DataError(f"no class {', '.join(unknown)}", f"there are {', '.join(source.labels)}")
    wanted = {source.labels.index(name) for name in seen}
    samples = [one for one in source.samples if one.label in wanted and one.split != "val"]
    if not samples:
        raise DataError(f"no training image of {', '.join(seen)}", "choose other classes")
    chosen = replace(source, samples=samples)
    if chosen.root is None:
        images = write_class_folders(chosen, folder / "images", on_progress)
        chosen = open_source(images)
    assert chosen.root is not None  # its samples are files
    lines = [f"{one.name} {seen.index(chosen.labels[one.label])}" for one in chosen.samples]
    _write_lines(folder / LABELS, seen)
    _write_lines(folder / SEEN_LIST, lines)
    return SeenList(folder / SEEN_LIST, chosen.root, len(lines))


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    with atomic_file(path) as partial:
        text = "".join(f"{line}\n" for line in lines)
        partial.write_text(text, encoding="utf-8", errors="surrogateescape")
