"""Code files of clustered features whose codes tell the class, with noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latenthash.codes import CodeWriter, Rows
from latenthash.hamming import pack

CLASSES = list("abcd")


def write_set(
    path: Path,
    count: int,
    seed: int,
    dim: int = 24,
    bits: int = 16,
    features: NDArray[np.float16] | None = None,
    labels: NDArray[np.int32] | None = None,
    content_seed: int | None = None,
) -> Path:
    """Four classes, by turns random; the centres are the same whatever the seed.

    Codes are signs of random directions: near features have near codes.
    """
    shared, own = np.random.default_rng(99), np.random.default_rng(seed)
    centres = shared.normal(size=(len(CLASSES), 64))[:, :dim] * 1.5
    planes = shared.normal(size=(64, bits))
    if labels is None:
        labels = own.integers(0, len(CLASSES), count, dtype=np.int32)
    if features is None:
        features = (centres[labels] + own.normal(size=(count, dim))).astype(np.float16)
    content = np.random.default_rng([seed if content_seed is None else content_seed, 1])
    rows = Rows(
        [f"{seed}/{number}" for number in range(count)],
        labels,
        features,
        pack(features.astype(float) @ planes[: features.shape[1]] >= 0),
        content.integers(0, 256, (count, 32), np.uint8),
    )
    deploy = path.with_name("deploy.prototxt")
    deploy.write_text("name: 'net'")
    model = {"deploy": str(deploy), "preprocess": {"mean": None}, "weights_sha256": "0"}
    facts = {"stage": "extract", "format": 1, "bits": bits, "model": model, "classes": CLASSES}
    with CodeWriter(path, bits, features.shape[1], count) as writer:
        writer.append(rows)
        writer.finish(facts)
    return path
