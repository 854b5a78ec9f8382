"""Code files of classes that codes and features tell apart, with noise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latenthash.codes import CodeWriter, Rows
from latenthash.hamming import pack

BITS, DIM = 10, 6


def code_file(
    path: Path,
    labels: ArrayLike,
    seed: int = 0,
    *,
    classes: Sequence[str] = tuple("abcd"),
    content: NDArray[np.uint8] | None = None,
    **model: Any,
) -> Path:
    """Images of these classes; the net that "made" them lies beside the file.

    Codes are wrong in a fifth of the bits; features, not negative, are nearer to those of
    the class than codes are.
    """
    labels = np.asarray(labels, np.int32)
    count, rng = len(labels), np.random.default_rng(seed)
    deploy = path.with_name("deploy.prototxt")
    deploy.write_text("name: 'net'")
    if content is None:
        content = rng.integers(0, 256, (count, 32), np.uint8)
    features = np.abs(
        np.random.default_rng(9).random((101, DIM))[labels] + 0.2 * rng.normal(size=(count, DIM))
    )
    noise = rng.random((count, BITS)) < 0.2
    rows = Rows(
        [f"{seed}/{number}.png" for number in range(count)],
        labels,
        features.astype(np.float16),
        pack((np.arange(BITS) % 4 == labels[:, None] % 4) ^ noise),
        content,
    )
    facts = {
        "deploy": str(deploy),
        "deploy_sha256": "d",
        "weights": str(path.with_name("weights.caffemodel")),
        "weights_sha256": "w",
        "preprocess_sha256": "p",
        "preprocess": {"mean": None},
        **model,
    }
    manifest = {"stage": "extract", "format": 1, "bits": BITS, "classes": list(classes)}
    with CodeWriter(path, BITS, DIM, count) as writer:
        writer.append(rows)
        writer.finish({**manifest, "model": facts})
    return path


def labels_of(*counts: int) -> NDArray[np.int32]:
    """counts[c] images of each class c, mixed."""
    labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    return np.random.default_rng(1).permutation(labels)
