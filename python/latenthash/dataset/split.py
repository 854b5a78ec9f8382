"""Which image is for training and which for validation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from ..sources import Sample


def split_samples(
    samples: Sequence[Sample], val_fraction: float | None, seed: int
) -> tuple[list[Sample], list[Sample]]:
    """(train, val), each shuffled; the same seed and samples give the same lists.

    Args:
        samples: in a fixed order.
        val_fraction: share of each class for validation, at least one image of a class
            that has two; None keeps the split of the samples.
        seed: of every random choice.
    """
    generator = np.random.default_rng(seed)
    if val_fraction is None:
        train = [sample for sample in samples if sample.split == "train"]
        val = [sample for sample in samples if sample.split == "val"]
    else:
        train, val = _stratified(samples, val_fraction, generator)
    return _shuffled(train, generator), _shuffled(val, generator)


def _stratified(
    samples: Sequence[Sample], val_fraction: float, generator: np.random.Generator
) -> tuple[list[Sample], list[Sample]]:
    classes: dict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        classes[sample.label].append(sample)
    train: list[Sample] = []
    val: list[Sample] = []
    for label in sorted(classes):
        mixed = _shuffled(classes[label], generator)
        count = _val_count(len(mixed), val_fraction)
        val += mixed[:count]
        train += mixed[count:]
    return train, val


def _val_count(images: int, val_fraction: float) -> int:
    if val_fraction == 0 or images < 2:
        return 0
    return min(max(round(images * val_fraction), 1), images - 1)


def _shuffled(samples: list[Sample], generator: np.random.Generator) -> list[Sample]:
    return [samples[place] for place in generator.permutation(len(samples))]
