"""Images to features and codes, batched, streamed, resumable.

Work is done in parts of `PART` images; a part that is on disk is not made again, so an
interrupted run loses at most one. Memory holds one batch and what is decoded ahead of
it, however many images there are.

A hash that is to be learned on the images themselves waits for the features of all of
them; the codes are then made while the parts are joined.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .coders import Coder, coder_of
from .codes import Parts, Rows, Skipped, file_size
from .engines import Engine, Net
from .errors import ImageError
from .files import require_room
from .hashing import HashSettings
from .images import Preprocess, decode, fit, prepare, read_bytes
from .manifest import Manifest, new_manifest
from .model import FeatureModel, HashModel
from .parallel import ordered_map
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


@dataclass(frozen=True)
class _Prepared:
    """One image on its way: its input for the net, or the reason why it has none."""

    sample: Sample
    values: NDArray[np.float32] | None
    content: bytes = b""
    reason: str = ""


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
    parts = Parts(output, _plan(source, model, coder.part_bits))
    slices = {n: source.samples[n * PART : (n + 1) * PART] for n in range(-(-total // PART))}
    missing = [number for number in slices if not parts.done(number)]
    done = total - sum(len(slices[number]) for number in missing)
    pipeline = _Pipeline(model.preprocess, coder, batch, workers or usable_cores(), strict)
    if missing:
        logger.info("engine: %s", engine.name)
        with engine.load(model.deploy, model.weights) as net:
            for number in missing:
                skipped: Skipped = []
                rows = pipeline.run(net, slices[number], skipped)
                told = _reporting(rows, skipped, done, total, on_progress)
                parts.write(number, len(slices[number]), told, skipped)
                done += len(slices[number])
    hashed, left_out = coder.join(parts)
    return ExtractReport(output, total - len(left_out), left_out, hashed)


def _plan(source: Source, model: FeatureModel, bits: int) -> Manifest:
    """The code file's manifest, which also tells whether parts belong to this run."""
    return new_manifest(
        "extract",
        model=model.describe(),
        bits=bits,
        dim=model.dim,
        classes=source.labels,
        root=str(source.root.resolve()) if source.root else None,
        samples_sha256=_samples_hash(source.samples),
    )


def _samples_hash(samples: Sequence[Sample]) -> str:
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(f"{sample.name}\0{sample.label}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _reporting(
    blocks: Iterator[Rows], skipped: Skipped, before: int, total: int, on_progress: Progress
) -> Iterator[Rows]:
    """Pass blocks on, telling of the images that they and the skipped ones account for."""
    done = 0
    for rows in blocks:
        yield rows
        done += len(rows)
        on_progress(before + done + len(skipped), total)


class _Pipeline:
    """Decodes ahead in threads while the net computes."""

    def __init__(
        self, preprocess: Preprocess, coder: Coder, batch: int, workers: int, strict: bool
    ) -> None:
        self._preprocess, self._coder = preprocess, coder
        self._batch, self._workers, self._strict = batch, workers, strict

    def run(self, net: Net, samples: Sequence[Sample], skipped: Skipped) -> Iterator[Rows]:
        """Rows of the samples, a batch at a time; those left out are added to `skipped`."""
        ready: list[_Prepared] = []
        for item in ordered_map(self._prepare, samples, self._workers, 2 * self._batch):
            if item.values is None:
                skipped.append((item.sample.name, item.reason))
                continue
            ready.append(item)
            if len(ready) == self._batch:
                yield self._rows(net, ready)
                ready = []
        if ready:
            yield self._rows(net, ready)

    def _prepare(self, sample: Sample) -> _Prepared:
        preprocess = self._preprocess
        try:
            if sample.path is None:
                pixels, content = self._from_array(sample)
            else:
                content = read_bytes(sample.path)
                pixels = decode(content, preprocess.channels, preprocess.resize)
        except ImageError as error:
            if self._strict:
                raise ImageError(f"{sample.name}: {error.problem}", "leave out --strict") from error
            return _Prepared(sample, None, reason=error.problem)
        return _Prepared(sample, prepare(pixels, preprocess), hashlib.sha256(content).digest())

    def _from_array(self, sample: Sample) -> tuple[NDArray[np.uint8], bytes]:
        assert sample.pixels is not None  # a sample has a path or pixels
        preprocess = self._preprocess
        return fit(sample.pixels, preprocess.channels, preprocess.resize), sample.pixels.tobytes()

    def _rows(self, net: Net, ready: Sequence[_Prepared]) -> Rows:
        batch = np.stack([item.values for item in ready if item.values is not None])
        features, codes = self._coder.encode(net, batch)
        return Rows(
            names=[item.sample.name for item in ready],
            labels=np.array([item.sample.label for item in ready], np.int32),
            features=features,
            codes=codes,
            content=np.frombuffer(b"".join(item.content for item in ready), np.uint8).reshape(
                -1, 32
            ),
        )
