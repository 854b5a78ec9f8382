"""Images to features and codes, batched, streamed, resumable.

Work is done in parts of `PART` images; a part that is on disk is not made again, so an
interrupted run loses at most one. Memory holds one batch and what is decoded ahead of
it, however many images there are.

A hash that is to be learned on the images themselves waits for the features of all of
them; the codes are then made while the parts are joined.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .coders import Coder, coder_of
from .codes import Parts, file_size
from .codes.codeset import Features
from .engines import Engine, Net
from .files import require_room
from .hamming import Codes
from .hashing import HashSettings
from .image_rows import RowMaker, extraction_plan, missing_parts, read_sample, write_parts
from .images import Preprocess, prepare
from .model import FeatureModel, HashModel
from .progress import Progress, silent
from .sources import Sample, Source
from .threads import usable_cores

logger = logging.getLogger(__name__)

PART = 2048
DEFAULT_BATCH = 64


@dataclass(frozen=True)
class ExtractReport:
    """What became of the images.

    Attributes:
        output: the code file.
        images: images in it.
        skipped: (name, reason) of those left out; also in `<output>.skipped.csv`.
        model: what made the codes; a learned hash lies in `<output>.hash.h5`.
    """

    output: Path
    images: int
    skipped: list[tuple[str, str]]
    model: HashModel


def extract(
    source: Source,
    model: FeatureModel,
    engine: Engine,
    output: Path,
    *,
    learning: HashSettings | None = None,
    batch: int = DEFAULT_BATCH,
    workers: int | None = None,
    strict: bool = False,
    on_progress: Progress = silent,
) -> ExtractReport:
    """Give every image of a source its feature and code.

    Args:
        source: the images, with names and labels.
        model: the network; a `HashModel` unless a hash is learned.
        engine: what runs it.
        output: code file (HDF5), replaced whole at the end; rows in the source's order.
        learning: the hash to learn on the features of these images; None takes the
            model's own codes.
        batch: images a forward pass.
        workers: threads that decode; None takes one a core.
        strict: an image that cannot be used is an error, not a line in skipped.csv.
        on_progress: told of images done.

    Raises:
        DataError: no image could be used, or too few to learn from.
        ImageError: with `strict`, the first image that cannot be used.
        NetError, EngineError, StorageError: parts done so far stay for the next run.
    """
    total = len(source.samples)
    coder = coder_of(model, learning, total)
    require_room(output, 2 * file_size(total, coder.bits, model.dim))  # parts, then the whole
    parts = Parts(output, extraction_plan(source, model.describe(), coder.part_bits, model.dim))
    missing = missing_parts(parts, source.samples, PART)
    if missing:
        logger.info("engine: %s", engine.name)
        with engine.load(model.deploy, model.weights) as net:
            maker = RowMaker(
                partial(_prepared, preprocess=model.preprocess),
                partial(_encoded, coder=coder, net=net),
                batch,
                workers or usable_cores(),
                strict,
            )
            write_parts(parts, missing, maker, total, on_progress)
    hashed, left_out = coder.join(parts)
    return ExtractReport(output, total - len(left_out), left_out, hashed)


def _prepared(sample: Sample, preprocess: Preprocess) -> tuple[NDArray[np.float32], bytes]:
    pixels, content = read_sample(sample, preprocess.channels, preprocess.resize)
    return prepare(pixels, preprocess), content


def _encoded(
    images: Sequence[NDArray[np.float32]], coder: Coder, net: Net
) -> tuple[Features, Codes]:
    return coder.encode(net, np.stack(images))
