"""Images to descriptors and hashes of them, as a code file like that of a network.

Streamed and resumable in the way of `latenthash.extract`: parts of `PART` images that are
on disk are not made again.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cache import NOTHING_KEPT, Cache, Stage, versions
from ..coders import sample
from ..codes import Parts, Skipped, file_size
from ..codes.codeset import Features
from ..errors import ImageError, MismatchError
from ..files import require_room, sha256
from ..hamming import Codes
from ..hashing import HashFunction, HashSettings, learn, write_hash
from ..image_rows import RowMaker, extraction_plan, missing_parts, read_sample, write_parts
from ..images import Preprocess, read_bytes
from ..progress import Progress, silent
from ..sources import Sample, Source
from ..threads import usable_cores
from .base import Descriptor, Pixels, require_installed
from .registry import read_descriptor, write_descriptor

PART = 2048
FIT_IMAGES = 1000
"""Images that words are learned from at most, unless said otherwise."""
FIT = Stage("fit_descriptor", 2)
"""Its number grows when other words would be learned from the same images."""
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


def fit_descriptor(
    descriptor: Descriptor,
    source: Source,
    images: int = FIT_IMAGES,
    seed: int = 0,
    cache: Cache = NOTHING_KEPT,
) -> None:
    """Fit a descriptor on random images of a source; those that cannot be used are logged.

    Args:
        descriptor: gets what is learned.
        source: the images.
        images: at most.
        seed: of the choice and of the words.
        cache: remembers what was learned of images of the same content.

    Raises:
        DataError: too little in the images to learn from.
        EngineError: what learns it is not installed.
    """
    rows = np.random.default_rng(seed).permutation(len(source.samples))[:images]
    chosen = [source.samples[row] for row in np.sort(rows)]

    def fitted() -> Descriptor:
        descriptor.fit(_usable(chosen), seed)
        return descriptor

    known = cache.recall(
        FIT,
        {
            "descriptor": descriptor.name,
            "size": descriptor.size,
            "seed": seed,
            "images": _content_hash(chosen),
            "versions": versions("numpy", *descriptor.packages),
        },
        ".h5",
        fitted,
        write_descriptor,
        read_descriptor,
    )
    descriptor.arrays = known.arrays


def _usable(samples: Sequence[Sample]) -> Iterator[Pixels]:
    for one in samples:
        try:
            yield read_sample(one)[0]
        except ImageError as error:
            _log.warning("%s: %s, not learned from", one.name, error.problem)


def _content_hash(samples: Sequence[Sample]) -> str:
    """SHA-256 of the images' bytes, in order; an array's shape belongs to it."""
    digest = hashlib.sha256()
    for one in samples:
        digest.update(_content(one))
    return digest.hexdigest()


def _content(one: Sample) -> bytes:
    if one.pixels is not None:
        return hashlib.sha256(repr(one.pixels.shape).encode() + one.pixels.tobytes()).digest()
    assert one.path is not None  # a sample has a path or pixels
    try:
        return hashlib.sha256(read_bytes(one.path)).digest()
    except ImageError:  # reported when it is read to be learned from
        return b"unreadable"


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
    parts = Parts(output, extraction_plan(source, _model(descriptor, described), 1, dim))
    with threadpool_limits(1):  # images go side by side; BLAS threads would steal their time
        maker = RowMaker(
            partial(_described, descriptor=descriptor),
            _without_codes,
            _BLOCK,
            workers or usable_cores(),
            strict,
        )
        write_parts(parts, missing_parts(parts, source.samples, PART), maker, total, on_progress)
    function = _hash(parts, hashing)
    return _joined(parts, function, total)


def _described(one: Sample, descriptor: Descriptor) -> tuple[NDArray[np.float32], bytes]:
    pixels, content = read_sample(one)
    return descriptor.describe(pixels), content


def _without_codes(features: Sequence[NDArray[np.float32]]) -> tuple[Features, Codes]:
    return np.stack(features).astype(np.float16), np.zeros((len(features), 1), np.uint8)


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
