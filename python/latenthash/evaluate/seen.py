"""Which classes a model learned from, as far as what training left behind tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..dataset.augment import MANIFEST
from ..dataset.augment import STAGE as BUILT
from ..dataset.build import LABELS
from ..errors import DataError, MismatchError
from ..hashing.settings import SUPERVISED
from ..manifest import Manifest, read_manifest
from ..train.record import STAGE

Model = Mapping[str, Any]
_LIST, _DIGEST = "train.txt", "caffemodel_sha256"
_TEXT: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape"}


def seen_classes(model: Model, given: Sequence[str] | None) -> tuple[list[str], str]:
    """Names of the classes that a model's features and codes were learned from.

    Args:
        model: as the manifest of a code file describes it.
        given: what the user says; None asks the manifests of the training.

    Returns:
        Sorted names, and where they are from: "given" or "training".

    Raises:
        DataError: nothing given, and the training's data are not there to be asked.
        MismatchError: training had images of a class that is not among those given.
    """
    known = trained_on(model)
    if given is None:
        learned = (model.get("hash") or {}).get("method")
        if known is None or learned in SUPERVISED:
            reason = (
                f"{learned} was learned from labels that are not recorded"
                if learned in SUPERVISED
                else "its training's manifest and data set are not there"
            )
            raise DataError(
                f"{model.get('weights')}: which classes it saw is unknown: {reason}",
                "name them: --seen CLASS,CLASS",
            )
        return known, "training"
    hidden = sorted(set(known or ()) - set(given))
    if hidden:
        raise MismatchError(
            f"{model.get('weights')}: was trained on {', '.join(hidden)} too",
            "name all classes that it saw, or leave out --seen",
        )
    return sorted(given), "given"


def trained_on(model: Model) -> list[str] | None:
    """Classes with an image in any training that led to the weights; None if unknown.

    Follows the manifests beside the caffemodels from one training to the weights that it
    started from, as long as there are any; weights without a manifest end the chain.
    """
    found: set[str] = set()
    weights, digest = Path(str(model.get("weights"))), model.get("weights_sha256")
    while (manifest := _manifest(weights, STAGE)) and manifest.get(_DIGEST) == digest:
        for data in manifest["data"]:
            if data["phase"] == "TRAIN":
                classes = _classes_of(data)
                if classes is None:
                    return None
                found |= classes
        if manifest["weights"] is None:
            break
        weights, digest = Path(manifest["weights"]["file"]), manifest["weights"]["sha256"]
    return sorted(found) or None


def _manifest(output: Path, stage: str) -> Manifest | None:
    """Of a stage's output, if it lies beside it."""
    path = output.with_name(output.name + ".json")
    return read_manifest(path, stage) if path.is_file() else None


def _classes_of(data: Mapping[str, Any]) -> set[str] | None:
    """Names of the classes in the training LMDB; None if the data set is gone or another."""
    folder = Path(data["source"]).parent
    if not all((folder / name).is_file() for name in (MANIFEST, LABELS, _LIST)):
        return None
    facts = read_manifest(folder / MANIFEST, BUILT)
    if facts["lmdb_sha256"].get("train") != data["content_sha256"]:
        return None
    names = (folder / LABELS).read_text(**_TEXT).splitlines()
    with (folder / _LIST).open(**_TEXT) as lines:
        return {names[int(line.rsplit(" ", 1)[1])] for line in lines}
