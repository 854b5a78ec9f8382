"""Images that follow from their number: any answer about them can be checked."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latenthash.codes import CodeSet, CodeWriter, Rows
from latenthash.hamming import pack
from latenthash.index import build_index
from latenthash.index.bucket.generation import Generation

BITS, DIM = 20, 6
CLASSES = ["a", "b"]
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""A folder in memory where there is one: hundreds of fsyncs cost nothing there."""
Image = tuple[str, str, bytes, bytes, tuple[float, ...]]


@cache
def image(number: int, bits: int = BITS, dim: int = DIM) -> Image:
    """Name, class ("" unknown), content, code and feature of image `number`."""
    rng = np.random.default_rng(number)
    bucket = np.random.default_rng(1000 + number % 7).random(bits) < 0.5
    feature = rng.integers(0, 100, dim).astype(np.float16)
    content = hashlib.sha256(str(number).encode()).digest()
    label = [*CLASSES, ""][number % 3]
    return f"{number}.png", label, content, pack(bucket).tobytes(), tuple(feature.tolist())


def code_file(
    path: Path,
    numbers: Sequence[int],
    bits: int = BITS,
    dim: int = DIM,
    classes: Sequence[str] = CLASSES,
    **manifest: Any,
) -> Path:
    """A code file of these images; its net lies beside it."""
    deploy = path.with_name("deploy.prototxt")
    deploy.write_text("name: 'net'")
    model = {"deploy": str(deploy), "preprocess": {"mean": None}, "weights_sha256": "0"}
    images = [image(number, bits, dim) for number in numbers]
    width = (bits + 7) // 8
    rows = Rows(
        names=[one[0] for one in images],
        labels=np.array([classes.index(one[1]) if one[1] else -1 for one in images], np.int32),
        features=np.array([one[4] for one in images], np.float16).reshape(-1, dim),
        codes=np.frombuffer(b"".join(one[3] for one in images), np.uint8).reshape(-1, width),
        content=np.frombuffer(b"".join(one[2] for one in images), np.uint8).reshape(-1, 32),
    )
    facts = {"stage": "extract", "format": 1, "bits": bits, "model": model, "classes": [*classes]}
    with CodeWriter(path, bits, dim, len(rows)) as writer:
        writer.append(rows)
        writer.finish({**facts, **manifest})
    return path


def build(folder: Path, numbers: Sequence[int], storage: str = "float16", **facts: Any) -> Path:
    """Index of these images in folder/index."""
    with CodeSet(code_file(folder / "first.h5", numbers, **facts)) as codes:
        return build_index(codes, folder / "index", storage)


def contents(generation: Generation) -> dict[int, Image]:
    """{id: image} of all live images, read one by one."""
    classes = [*generation.manifest["classes"], ""]
    found = {}
    for segment in generation.segments:
        for position in segment.live_positions.tolist():
            row = int(segment.rows[position])
            feature: NDArray[Any] = segment.restored(slice(row, row + 1))[0]
            found[int(segment.ids[position])] = (
                segment.names([position])[0],
                classes[segment.labels[position]],
                segment.content[position].tobytes(),
                segment.codes(np.array([position])).tobytes(),
                tuple(feature.tolist()),
            )
    return found


def files(folder: Path) -> set[str]:
    """Relative paths of all files in a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def left_over(folder: Path, generation: Generation) -> set[str]:
    """Files that no generation needs."""
    return files(folder) - set(generation.files) - {"manifest.json", "lock"}
