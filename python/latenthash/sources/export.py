"""Images that live in arrays, written as files."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from ..files import atomic_folder
from ..progress import Progress, silent
from .base import Source


def write_class_folders(source: Source, folder: Path, on_progress: Progress = silent) -> Path:
    """Write the images of an array-based source as PNG files in class folders.

    Args:
        source: samples with pixels.
        folder: replaced whole.
        on_progress: told of images written.

    Returns:
        `folder`, holding `<class>/<number>.png`.
    """
    digits = len(str(len(source.samples)))
    with atomic_folder(folder, durable=False) as partial:
        for label in source.labels:
            (partial / label).mkdir()
        for number, sample in enumerate(source.samples):
            if sample.pixels is None:
                raise ValueError(f"{sample.name} is a file already")
            gray = sample.pixels.shape[2] == 1
            pixels = sample.pixels[..., 0] if gray else sample.pixels[..., ::-1]
            path = partial / source.labels[sample.label] / f"{number:0{digits}}.png"
            Image.fromarray(pixels).save(path)
            on_progress(number + 1, len(source.samples))
    return folder
