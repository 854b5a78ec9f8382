"""What is measured: images, and the codes of one network for both halves of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..cache import Stage, key_of
from ..errors import DataError
from ..evaluate.splits import stratified
from ..files import sha256
from ..hashing import HashFunction
from ..sources import Sample, Source

EXTRACT = Stage("extract", 1)
"""Its number grows when the same images and model would give other codes."""


@dataclass(frozen=True)
class Material:
    """Code files of one network.

    Attributes:
        name: of the data set, for people.
        protocol: a name in `evaluate.PROTOCOLS`.
        database: code file of what is ranked.
        queries: code file of what asks.
        whole: whether all images of the protocol are there.
        trained: what training left of the latent layer, where it was set anew since.
    """

    name: str
    protocol: str
    database: Path
    queries: Path
    whole: bool
    trained: HashFunction | None = None


def half(source: Source, split: str, most: int | None, seed: int = 0) -> Source:
    """The training ("train") or test ("val") images, or a seeded part of each class, mixed.

    The order is drawn at random: images of equal codes are ranked in the order of their
    rows, and in folders that would be the order of their classes.

    Args:
        source: with a split of its own.
        split: which half.
        most: images wanted, rounded to the same share of every class; None: all.
        seed: of the choice and the order.

    Raises:
        DataError: the source has no split.
    """
    samples = [sample for sample in source.samples if sample.split == split]
    if not samples:
        raise DataError(f"{source.root}: no folders train and test", "give a set that has a split")
    chosen = np.arange(len(samples))
    if most is not None and most < len(samples):
        labels = np.array([sample.label for sample in samples])
        chosen, _ = stratified(labels, most / len(samples), seed)
    mixed = np.random.default_rng(seed).permutation(chosen)
    return replace(source, samples=[samples[row] for row in mixed])


def code_file(folder: Path, name: str, source: Source, model: Mapping[str, Any]) -> Path:
    """Where codes of these images by this model belong: other content, another name."""
    inputs = {"images": content_hash(source.samples), "model": dict(model)}
    return folder / f"{name}-{key_of(EXTRACT, inputs)[:12]}.h5"


def content_hash(samples: list[Sample]) -> str:
    """SHA-256 over names, labels and contents of images."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(f"{sample.name}\0{sample.label}\0".encode(errors="surrogateescape"))
        if sample.path is not None:
            digest.update(sha256(Path(sample.path)).encode())
        else:
            assert sample.pixels is not None  # a sample has a path or pixels
            digest.update(sample.pixels.tobytes())
    return digest.hexdigest()
