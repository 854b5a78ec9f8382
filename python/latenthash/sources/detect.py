"""Which kind of image set a path is, told by what lies there."""

from __future__ import annotations

from pathlib import Path

from ..errors import DataError
from . import arrays, folders
from .base import Source

_LOOKED_FOR = (
    "class folders with images, a list file with lines 'relative/path label', "
    "MNIST's train-images-idx3-ubyte, CIFAR-10's data_batch_1, 101_ObjectCategories, "
    "or a CSV of pixels and label"
)


def open_source(
    path: Path, root: Path | None = None, background: bool = False, labelled: bool = True
) -> Source:
    """The image set at `path`.

    Args:
        path: a folder of class folders (also below train/ and test/), a Caffe list
            file, a folder with MNIST's idx files or CIFAR-10's batches, Caltech-101's
            folder, or a CSV of pixels and label.
        root: what the paths of a list file are relative to; None for its own folder.
        background: keep Caltech-101's class BACKGROUND_Google.
        labelled: False takes a folder without class folders too, its images of no class.

    Raises:
        DataError: nothing of that kind, or damaged.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder", f"give {_LOOKED_FOR}")
    source = _open_folder(path, background) if path.is_dir() else _open_file(path, root)
    if not labelled and path.is_dir() and (source is None or not source.samples):
        source = folders.read_images(path)
    if source is None:
        raise DataError(f"{path}: holds no image set", f"looked for {_LOOKED_FOR}")
    if not source.samples:
        raise DataError(f"{path}: holds no images", f"looked for {_LOOKED_FOR}")
    return source


def _open_folder(folder: Path, background: bool) -> Source | None:
    if arrays.idx_files(folder):
        return arrays.read_idx(folder)
    for place in (folder, folder / arrays.CIFAR_PYTHON, folder / arrays.CIFAR_BINARY):
        if arrays.is_cifar(place, ""):
            return arrays.read_cifar_python(place)
        if arrays.is_cifar(place, ".bin"):
            return arrays.read_cifar_binary(place)
    if folders.is_caltech(folder):
        return folders.read_caltech(folder, background)
    if folders.is_split(folder):
        return folders.read_split_folders(folder)
    return folders.read_class_folders(folder) if folders.subfolders(folder) else None


def _open_file(file: Path, root: Path | None) -> Source | None:
    line = arrays.first_line(file)
    if arrays.csv_side(line) is not None:
        return arrays.read_csv(file)
    return folders.read_list(file, root) if folders.is_list_line(line) else None
