"""Images to descriptors and hashes of them, as a code file like that of a network.

Streamed and resumable in the way of `latenthash.extract`: parts of `PART` images that are
on disk are not made again.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..coders import sample
from ..codes import Parts, Rows, Skipped, file_size
from ..errors import ImageError, MismatchError
from ..files import require_room, sha256
from ..hashing import HashFunction, HashSettings, learn, write_hash
from ..images import Preprocess, decode, read_bytes
from ..manifest import Manifest, new_manifest
from ..parallel import ordered_map
from ..progress import Progress, silent
from ..sources import Sample, Source
from ..threads import usable_cores
from .base import Descriptor, Pixels, require_installed
from .registry import write_descriptor

PART = 2048
FIT_IMAGES = 1000
"""Images that words are learned from at most, unless said otherwise."""
_BLOCK = 64
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BaselineReport:
    """What became of the images.

    Attributes:
        output: the code file; beside it `<output>.descriptor.h5`, `<output>.hash.h5`.
        images: images in it.
        skipped: (name, reason) of those left out; also in `<output>.skipped.csv`.
        hash: what made the codes.
    """

    output: Path
    images: int
    skipped: Skipped
    hash: HashFunction


@dataclass(frozen=True)
class _Described:
    """One image on its way: its feature, or the reason why it has none."""

    sample: Sample
    feature: NDArray[np.float32] | None
    content: bytes = b""
    reason: str = ""


def fit_descriptor(
    descriptor: Descriptor, source: Source, images: int = FIT_IMAGES, seed: int = 0
) -> None:
    """Fit a descriptor on random images of a source; those that cannot be used are logged.

    Raises:
        DataError: too little in the images to learn from.
        EngineError: what learns it is not installed.
    """
    chosen = np.random.default_rng(seed).permutation(len(source.samples))[:images]
    descriptor.fit(_usable([source.samples[row] for row in np.sort(chosen)]), seed)


def _usable(samples: Sequence[Sample]) -> Iterator[Pixels]:
    for one in samples:
        try:
            yield _pixels(one)[0]
        except ImageError as error:
            _log.warning("%s: %s, not learned from", one.name, error.problem)


def extract_baseline(
    source: Source,
    descriptor: Descriptor,
    output: Path,
    *,
    hashing: HashSettings | HashFunction,
    workers: int | None = None,
    strict: bool = False,
    on_progress: Progress = silent,
) -> BaselineReport:
    """Give every image of a source the descriptor's feature and a hash of it.

    Args:
        source: the images, with names and labels.
        descriptor: fitted, if it is one that learns.
        output: code file (HDF5), replaced whole at the end; rows in the source's order.
        hashing: what to learn on these features (itq, pca, lsh or sh), or what was
            learned before, as for queries.
        workers: threads; None takes one a core.
        strict: an image that cannot be used is an error, not a line in skipped.csv.
        on_progress: told of images done.

    Raises:
        DataError: no image could be used, too few to learn from, not fitted.
        MismatchError: a hash function of features of another size.
        EngineError: threadpoolctl is not installed.
        ImageError: with `strict`, the first image that cannot be used.
        StorageError: parts done so far stay for the next run.
    """
    require_installed("threadpoolctl", "threadpoolctl")
    from threadpoolctl import threadpool_limits

    total, dim = len(source.samples), descriptor.dim
    _require_fitting(hashing, dim, total)
    require_room(output, 2 * file_size(total, hashing.bits, dim))  # parts, then the whole
    described = output.with_name(output.name + ".descriptor.h5")
    write_descriptor(descriptor, described)
    parts = Parts(output, _plan(source, descriptor, described))
    with threadpool_limits(1):  # images go side by side; BLAS threads would steal their time
        _describe_missing(source, descriptor, parts, workers, strict, on_progress)
    function = _hash(parts, hashing)
    return _joined(parts, function, total)


def _describe_missing(
    source: Source,
    descriptor: Descriptor,
    parts: Parts,
    workers: int | None,
    strict: bool,
    on_progress: Progress,
) -> None:
    """Make the parts that are not on disk."""
    total, count = len(source.samples), workers or usable_cores()
    for number, start in enumerate(range(0, total, PART)):
        samples = source.samples[start : start + PART]
        if not parts.done(number):
            skipped: Skipped = []
            blocks = _blocks(descriptor, samples, count, strict, skipped)
            told = _reporting(blocks, skipped, start, total, on_progress)
            parts.write(number, len(samples), told, skipped)
        on_progress(start + len(samples), total)


def _reporting(
    blocks: Iterator[Rows], skipped: Skipped, before: int, total: int, on_progress: Progress
) -> Iterator[Rows]:
    """Pass blocks on, telling of the images that they and the skipped ones account for."""
    done = 0
    for rows in blocks:
        yield rows
        done += len(rows)
        on_progress(before + done + len(skipped), total)


def _require_fitting(hashing: HashSettings | HashFunction, dim: int, images: int) -> None:
    """What cannot be done is an error now, not after hours."""
    if isinstance(hashing, HashSettings):
        hashing.require_label_free()
        hashing.require_installed()
        hashing.require_dim(dim)
        hashing.require_count(images)
    elif hashing.dim != dim:
        raise MismatchError(
            f"a hash of features of {hashing.dim} values, the descriptor has {dim}",
            "give the hash that was learned with this descriptor",
        )


def _plan(source: Source, descriptor: Descriptor, file: Path) -> Manifest:
    """The code file's manifest, but for the hash; tells whether parts belong to this run."""
    names = hashlib.sha256()
    for one in source.samples:
        names.update(f"{one.name}\0{one.label}\0".encode(errors="surrogateescape"))
    return new_manifest(
        "extract",
        model=_model(descriptor, file),
        bits=1,
        dim=descriptor.dim,
        classes=source.labels,
        root=str(source.root.resolve()) if source.root else None,
        samples_sha256=names.hexdigest(),
    )


def _model(descriptor: Descriptor, file: Path) -> dict[str, Any]:
    """The descriptor in the terms in which a manifest describes a network.

    Its file stands for the deploy net and the weights, so that index and evaluator tell one
    descriptor from another as they do networks.
    """
    size = (descriptor.size, descriptor.size)
    preprocess = Preprocess(channels=3, resize=size, crop=size, mean=None, scale=1.0).to_json(None)
    path, digest = str(file.resolve()), sha256(file)
    return {
        "net": descriptor.name,
        "deploy": path,
        "deploy_sha256": digest,
        "weights": path,
        "weights_sha256": digest,
        "feature_blob": descriptor.name,
        "preprocess": preprocess,
        "preprocess_sha256": hashlib.sha256(str(size).encode()).hexdigest(),
        "code_blob": None,
    }


def _blocks(
    descriptor: Descriptor, samples: Sequence[Sample], workers: int, strict: bool, skipped: Skipped
) -> Iterator[Rows]:
    """Rows of the samples, a block at a time; those left out are added to `skipped`."""
    ready: list[_Described] = []

    def work(one: Sample) -> _Described:
        return _describe(descriptor, one, strict)

    for item in ordered_map(work, samples, workers, 2 * _BLOCK):
        if item.feature is None:
            skipped.append((item.sample.name, item.reason))
            continue
        ready.append(item)
        if len(ready) == _BLOCK:
            yield _rows(ready)
            ready = []
    if ready:
        yield _rows(ready)


def _describe(descriptor: Descriptor, one: Sample, strict: bool) -> _Described:
    try:
        pixels, content = _pixels(one)
    except ImageError as error:
        if strict:
            raise ImageError(f"{one.name}: {error.problem}", "leave out --strict") from error
        return _Described(one, None, reason=error.problem)
    return _Described(one, descriptor.describe(pixels), hashlib.sha256(content).digest())


def _pixels(one: Sample) -> tuple[Pixels, bytes]:
    """Pixels of an image, and the bytes by which it is known again."""
    if one.path is None:
        assert one.pixels is not None  # a sample has a path or pixels
        return one.pixels, one.pixels.tobytes()
    content = read_bytes(one.path)
    return decode(content), content


def _rows(ready: Sequence[_Described]) -> Rows:
    features = np.stack([item.feature for item in ready if item.feature is not None])
    content = np.frombuffer(b"".join(item.content for item in ready), np.uint8)
    return Rows(
        names=[item.sample.name for item in ready],
        labels=np.array([item.sample.label for item in ready], np.int32),
        features=features.astype(np.float16),
        codes=np.zeros((len(ready), 1), np.uint8),
        content=content.reshape(-1, 32),
    )


def _hash(parts: Parts, hashing: HashSettings | HashFunction) -> HashFunction:
    if isinstance(hashing, HashFunction):
        return hashing
    features = sample(parts.files(), hashing.seed)
    if not len(features):
        parts.join()  # raises, with the reason of the first image
    return learn(features, hashing)


def _joined(parts: Parts, function: HashFunction, total: int) -> BaselineReport:
    path = parts.output.with_name(parts.output.name + ".hash.h5")
    write_hash(function, path)
    learned = {"file": str(path.resolve()), "method": function.method}
    model = {**parts.plan["model"], "hash": learned, "hash_sha256": function.identity}
    manifest = {**parts.plan, "model": model, "bits": function.bits}
    skipped = parts.join(manifest, function.encode)
    return BaselineReport(parts.output, total - len(skipped), skipped, function)
