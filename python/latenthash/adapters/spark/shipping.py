"""A model on its way to the workers: one archive, unpacked once on each executor."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyspark import SparkFiles
from pyspark.sql import SparkSession

from ...files import atomic_file
from ...manifest import IDENTITY
from ...model import HashModel, stored_model

KEYS = (*IDENTITY, "feature_blob", "code_blob")
"""Keys of a model's description that change its codes or features."""
_DESCRIPTION, _DEPLOY, _MEAN, _HASH = "model.json", "deploy.prototxt", "mean.binaryproto", "hash.h5"
_WEIGHTS = "weights-"  # before their own name, whose ending says of what kind they are


def identity(description: Mapping[str, Any]) -> str:
    """SHA-256 of what a model's codes and features follow from."""
    told = json.dumps({key: description.get(key) for key in KEYS}, sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


def ship(spark: SparkSession, model: HashModel) -> str:
    """Give a model to all executors of this application, those that come later too.

    Returns:
        Name of the archive; `unpacked` finds it on a worker. A model that was shipped
        before is not packed again.
    """
    name = f"latenthash-{identity(model.describe())[:16]}.zip"
    archive = Path(SparkFiles.getRootDirectory()) / "shipped" / name  # goes with the application
    if not archive.exists():
        with atomic_file(archive) as partial:
            pack(model, partial)
    spark.sparkContext.addArchive(str(archive))
    return name


def pack(model: HashModel, path: Path) -> None:
    """Write a model with all its files as a zip."""
    description = model.describe()
    weights = _WEIGHTS + model.weights.name
    files = {_DEPLOY: model.deploy, weights: model.weights}
    mean = description["preprocess"]["mean"]
    if isinstance(mean, dict):
        files[_MEAN] = Path(mean["file"])
        description["preprocess"]["mean"] = {**mean, "file": _MEAN}
    if model.hash_file is not None:
        files[_HASH] = model.hash_file
    description["weights"] = weights
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(_DESCRIPTION, json.dumps(description))
        for name, file in files.items():
            archive.write(file, name)


def unpacked(name: str) -> Path:
    """Where the archive lies unpacked on this worker."""
    return Path(SparkFiles.get(name))


def open_packed(folder: Path) -> HashModel:
    """The model of an archive that was unpacked to `folder`.

    Raises:
        MismatchError: its weights or its hash are not those that were packed.
        NetError, DataError: a file in it is damaged.
    """
    description = json.loads((folder / _DESCRIPTION).read_text())
    description["weights"] = str(folder / description["weights"])
    return stored_model(description, folder)
