"""Sets of image files: class folders, Caltech-101, Caffe's list files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import DataError
from ..images import list_images
from .base import Sample, Skipped, Source, Split

CALTECH = "101_ObjectCategories"
BACKGROUND = "BACKGROUND_Google"
MAX_LABEL = 1_000_000
STRAY = "not in a class folder"

_SPLITS: dict[str, Split] = {
    "train": "train",
    "test": "val",
    "val": "val",
    "valid": "val",
    "validation": "val",
}
_LIST_FORM = 'write "relative/path label" on each line'


def read_class_folders(folder: Path, kind: str = "class folders") -> Source:
    """Each folder below `folder` is a class, in the order of the names' bytes.

    A class keeps its number even if nothing is in it, so that numbers stay the same
    when it gets its first image; it is listed as skipped.
    """
    classes = subfolders(folder)
    return _collect(kind, folder, [entry.name for entry in classes], [(folder, None)])


def read_images(folder: Path) -> Source:
    """All images below a folder, of no class."""
    source = Source("images", [], [], root=folder)
    files = list_images(folder)
    for file, name in zip(files, _names(files, folder), strict=True):
        _add(source, Sample(name, -1, file))
    return source


def read_split_folders(folder: Path) -> Source:
    """As class folders, below train/ and test/ (or val/): the set's own split."""
    parts = [(part, _SPLITS[part.name]) for part in subfolders(folder) if part.name in _SPLITS]
    names = {entry.name for part, _ in parts for entry in subfolders(part)}
    labels = sorted(names, key=os.fsencode)
    return _collect("class folders with their own split", folder, labels, parts)


def read_caltech(folder: Path, background: bool) -> Source:
    """Caltech-101: 101 classes, without the clutter of BACKGROUND_Google unless asked for."""
    folder = folder / CALTECH if (folder / CALTECH).is_dir() else folder
    labels = [entry.name for entry in subfolders(folder)]
    if not background:
        labels = [name for name in labels if name != BACKGROUND]
    return _collect("Caltech-101", folder, labels, [(folder, None)])


def is_split(folder: Path) -> bool:
    """Whether `folder` holds train/ and test/ or val/ with class folders in each."""
    parts = subfolders(folder)
    roles = {_SPLITS.get(part.name) for part in parts}
    return roles == {"train", "val"} and all(subfolders(part) for part in parts)


def is_caltech(folder: Path) -> bool:
    """Whether `folder` is 101_ObjectCategories or holds it."""
    return (folder / CALTECH).is_dir() or (folder / BACKGROUND).is_dir()


def subfolders(folder: Path) -> list[Path]:
    """Folders directly below, hidden ones left out, in the order of the names' bytes.

    Raises:
        DataError: the folder cannot be listed.
    """
    try:
        entries = [entry for entry in folder.iterdir() if entry.is_dir()]
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}", "give a folder that can be read") from error
    return sorted((e for e in entries if not e.name.startswith(".")), key=os.fsencode)


def _collect(
    kind: str, root: Path, labels: list[str], parts: Iterable[tuple[Path, Split | None]]
) -> Source:
    """Samples of every class in every part, named by their path below `root`."""
    source = Source(kind, labels, [], root=root)
    for part, split in parts:
        for label, name in enumerate(labels):
            files = list_images(part / name) if (part / name).is_dir() else []
            if not files:
                relative = (part / name).relative_to(root).as_posix()
                source.skipped.append((f"{relative}/", "class folder with no images"))
            for file, file_name in zip(files, _names(files, root), strict=True):
                _add(source, Sample(file_name, label, file, split=split))
        source.skipped.extend(_strays(part, root))
    return source


def _strays(part: Path, root: Path) -> list[Skipped]:
    """Images that lie beside the class folders rather than in one."""
    strays = _names(list_images(part, deep=False), root)
    return [(name, STRAY) for name in strays]


def _names(files: Sequence[str], root: Path) -> list[str]:
    """Paths relative to `root` of files below it."""
    length = len(os.fspath(root / "x")) - 1
    return [file[length:] for file in files]


def _add(source: Source, sample: Sample) -> None:
    if "\n" in sample.name or "\r" in sample.name:
        source.skipped.append((sample.name, "a line break in its name"))
    else:
        source.samples.append(sample)


def read_list(file: Path, root: Path | None) -> Source:
    """Caffe's list file: "relative/path label" on each line; a path may hold spaces.

    A `labels.txt` beside it names the classes; without one they are named by number.

    Args:
        file: the list.
        root: what paths are relative to; None for the list's own folder.

    Raises:
        DataError: a line of another form, or no lines.
    """
    root = root or file.parent
    source = Source("list file", [], [], root=root)
    folder = os.fspath(root)
    first_line: dict[str, int] = {}
    for number, line in enumerate(read_lines(file), 1):
        if not line.strip():
            continue
        name, label = _parse_line(line, f"{file}:{number}")
        if name in first_line:
            reason = f"line {number} names it again, after line {first_line[name]}"
            source.skipped.append((name, reason))
            continue
        first_line[name] = number
        source.samples.append(Sample(name, label, os.path.join(folder, name)))  # noqa: PTH118
    if not source.samples:
        raise DataError(f"{file}: holds no lines", _LIST_FORM)
    source.labels.extend(_class_names(file, max(s.label for s in source.samples) + 1))
    return source


def is_list_line(line: str) -> bool:
    """Whether a line has the form of Caffe's list files."""
    return _split_line(line) is not None


def _split_line(line: str) -> tuple[str, int] | None:
    name, _, label = line.strip().replace("\t", " ").rpartition(" ")
    return (name.strip(), int(label)) if name.strip() and label.isdecimal() else None


def read_lines(file: Path) -> list[str]:
    """Lines of a text file; bytes that are no UTF-8 survive as in file names.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        return file.read_text(encoding="utf-8-sig", errors="surrogateescape").split("\n")
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}", "check the path") from error


def _parse_line(line: str, place: str) -> tuple[str, int]:
    parts = _split_line(line)
    if parts is None:
        raise DataError(f"{place}: {line.strip()[:80]!r} has no label at its end", _LIST_FORM)
    if parts[1] >= MAX_LABEL:
        raise DataError(f"{place}: label {parts[1]}", f"give labels below {MAX_LABEL}")
    return parts


def _class_names(file: Path, count: int) -> list[str]:
    beside = file.with_name("labels.txt")
    names = [name for name in read_lines(beside) if name] if beside.is_file() else []
    return names if len(names) >= count else [str(label) for label in range(count)]
