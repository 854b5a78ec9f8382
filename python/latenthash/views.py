"""Training without labels: each photo is a class, its crops are the examples.

A network that tells photos apart by their crops learns what survives a crop, a change
of scale and a mirror (Dosovitskiy et al., "Discriminative Unsupervised Feature Learning
with Exemplar Convolutional Neural Networks", 2014).
"""

from __future__ import annotations

import logging
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .errors import ImageError
from .files import atomic_folder
from .images import decode, fit
from .parallel import ordered_map
from .progress import Progress, silent
from .sources import Sample, Source
from .threads import usable_cores

_log = logging.getLogger(__name__)
_SMALLEST, _LARGEST = 0.35, 1.0  # share of the photo's area that a view shows
_DECODED = 3  # times the view's side: enough for the smallest crop


def write_views(
    source: Source,
    folder: Path,
    *,
    views: int,
    side: int,
    seed: int = 0,
    on_progress: Progress = silent,
) -> Path:
    """Write `views` random crops of each photo as class folders.

    Args:
        source: photos as files; their labels do not matter.
        folder: replaced whole; `<photo's number>/<view's number>.png`.
        views: crops a photo.
        side: pixels of a view's side.
        seed: of every crop and mirror.
        on_progress: told of photos done.

    Returns:
        `folder`. A photo that cannot be read has a folder with nothing in it.
    """
    digits = len(str(len(source.samples)))
    with atomic_folder(folder, durable=False) as output:
        places = [output / f"{number:0{digits}}" for number in range(len(source.samples))]
        jobs = list(zip(source.samples, places, count(seed), strict=False))
        work = partial(_write_views_of, views=views, side=side)
        for done, _ in enumerate(ordered_map(work, jobs, usable_cores()), 1):
            on_progress(done, len(jobs))
    return folder


def _write_views_of(job: tuple[Sample, Path, int], views: int, side: int) -> None:
    photo, place, seed = job
    place.mkdir()
    try:
        assert photo.path is not None
        pixels = decode(photo.path, 3, (_DECODED * side, _DECODED * side))
    except ImageError as error:
        _log.info("%s: %s", photo.name, error.problem)
        return
    generator = np.random.default_rng(seed)
    for number in range(views):
        view = random_view(pixels, side, generator)
        Image.fromarray(view[:, :, ::-1]).save(place / f"{number:03}.png")


def random_view(
    pixels: NDArray[np.uint8], side: int, generator: np.random.Generator
) -> NDArray[np.uint8]:
    """A crop of random place, size and mirror.

    Args:
        pixels: (H, W, 3) uint8.
        side: of the result.
        generator: draws area, place and mirror.

    Returns:
        (side, side, 3) uint8.
    """
    share = np.sqrt(generator.uniform(_SMALLEST, _LARGEST))
    height, width = (max(1, round(share * length)) for length in pixels.shape[:2])
    top = generator.integers(pixels.shape[0] - height + 1)
    left = generator.integers(pixels.shape[1] - width + 1)
    crop = pixels[top : top + height, left : left + width]
    if generator.random() < 0.5:
        crop = crop[:, ::-1]
    return fit(crop, 3, (side, side))
