"""What runs in Spark's Python processes: images in, codes and features or a reason out.

The preprocessing and the rows are those of `latenthash.extract`. A process loads the
network when it meets its first image and keeps it for all the tasks that it gets.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ...codes import Rows, Skipped
from ...codes.codeset import Features
from ...engines import Net, get_engine
from ...hamming import Codes
from ...image_rows import RowMaker
from ...images import Preprocess, load
from ...model import HashModel
from ...sources import Sample
from .shipping import open_packed, unpacked

CODES, QUARANTINE, UNCHANGED = "codes", "quarantine", "unchanged"
"""Kinds of rows: encoded now, not usable, encoded in an earlier run."""
ROW = pa.schema(
    [
        ("name", pa.string()),
        ("id", pa.int64()),
        ("label", pa.string()),
        ("sha256", pa.binary()),
        ("code", pa.binary()),
        ("feature", pa.binary()),
        ("reason", pa.string()),
        ("kind", pa.string()),
    ]
)
ROW_SQL = (
    "name string, id long, label string, sha256 binary, code binary, feature binary, "
    "reason string, kind string"
)
"""`ROW` as Spark writes it."""
Image = Mapping[str, Any]
"""A row of the input: name, id, label, content, known, reason."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """What a worker needs to know.

    Attributes:
        archive: name of the shipped model.
        engine: name of what runs it.
        precision: as in `get_engine`.
        threads: that a task may use, to decode and to compute.
        batch: images a forward pass.
    """

    archive: str
    engine: str
    precision: str | None
    threads: int
    batch: int


_loaded: dict[Recipe, tuple[HashModel, Net]] = {}


def loaded(recipe: Recipe) -> tuple[HashModel, Net]:
    """The model of a recipe, and its network; loaded once in a process.

    Raises:
        MismatchError, NetError, EngineError: the task fails and names the cause.
    """
    if recipe not in _loaded:
        for _, net in _loaded.values():  # of another run in the same session
            net.close()
        _loaded.clear()
        model = open_packed(unpacked(recipe.archive))
        engine = get_engine(recipe.engine, recipe.threads, recipe.precision)
        _log.info("loading %s, engine %s", model.weights, engine.name)
        _loaded[recipe] = model, engine.load(model.deploy, model.weights)
    return _loaded[recipe]


def encode(batches: Iterable[pa.RecordBatch], recipe: Recipe) -> Iterator[pa.RecordBatch]:
    """Rows of `ROW`, one for each image, in the images' order.

    Args:
        batches: images with the columns of `Image`. One with a `reason` is not looked at,
            one whose SHA-256 is `known` is unchanged.
        recipe: the model and how to run it.
    """
    for batch in batches:
        images = batch.to_pylist()
        yield pa.RecordBatch.from_pylist(_rows(images, recipe), schema=ROW)


def _rows(images: Sequence[Image], recipe: Recipe) -> list[dict[str, Any]]:
    found = {image["name"]: _without_decoding(image) for image in images}
    contents = {i["name"]: i["content"] for i in images if found[i["name"]] is None}
    made = dict(_encoded(contents, recipe)) if contents else {}
    return [
        {
            **{key: image[key] for key in ("name", "id", "label")},
            "sha256": _digest(image["content"]),
            **(found[image["name"]] or made[image["name"]]),
        }
        for image in images
    ]


def _without_decoding(image: Image) -> dict[str, Any] | None:
    """What can be said of an image by its bytes; None if it has to be encoded."""
    if image["reason"] is not None:
        return _quarantined(image["reason"])
    if image["content"] is None:
        return _quarantined("no bytes")
    if image["known"] is not None and image["known"] == _digest(image["content"]):
        return {"kind": UNCHANGED}
    return None


def _quarantined(reason: str) -> dict[str, Any]:
    return {"kind": QUARANTINE, "reason": reason}


def _digest(content: bytes | None) -> bytes | None:
    return None if content is None else hashlib.sha256(content).digest()


def _encoded(contents: Mapping[str, bytes], recipe: Recipe) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, what became of it) of images by their bytes."""
    model, net = loaded(recipe)
    skipped: Skipped = []
    maker: RowMaker[NDArray[np.float32]] = RowMaker(
        lambda sample: _prepared(contents[sample.name], model.preprocess),
        lambda images: _computed(model, net, images),
        recipe.batch,
        recipe.threads,
        strict=False,
    )
    for rows in maker.rows([Sample(name, -1) for name in contents], skipped):
        yield from _values(rows)
    for name, reason in skipped:
        yield name, _quarantined(reason)


def _prepared(content: bytes, preprocess: Preprocess) -> tuple[NDArray[np.float32], bytes]:
    return load(content, preprocess), content


def _computed(
    model: HashModel, net: Net, images: Sequence[NDArray[np.float32]]
) -> tuple[Features, Codes]:
    return model.encode(net, np.stack(images))


def _values(rows: Rows) -> Iterator[tuple[str, dict[str, Any]]]:
    features = rows.features.astype("<f2", copy=False)
    for name, code, feature in zip(rows.names, rows.codes, features, strict=True):
        yield name, {"kind": CODES, "code": code.tobytes(), "feature": feature.tobytes()}
