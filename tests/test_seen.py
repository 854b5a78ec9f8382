from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tiny
from latenthash.dataset import build_lmdb
from latenthash.engines.fake import FakeEngine
from latenthash.errors import DataError, MismatchError
from latenthash.evaluate.seen import seen_classes, trained_on
from latenthash.files import sha256
from latenthash.train import train


def trained(folder: Path, classes: str, weights: Path | None = None) -> dict[str, Any]:
    """What a code file says of a model that was trained on images of these classes."""
    rng = np.random.default_rng(0)
    for name in classes:
        (folder / "images" / name).mkdir(parents=True)
        for number in range(4):
            pixels = rng.integers(0, 256, (8, 8), np.uint8)
            Image.fromarray(pixels).save(folder / "images" / name / f"{number}.png")
    build_lmdb(folder / "images", folder / "data", val_fraction=0.5)
    tiny.write_net(folder)
    net = folder / "net.prototxt"
    net.write_text(net.read_text().replace('source: "', f'source: "{folder / "data"}/'))
    tiny.write_deploy(folder / "deploy.prototxt")
    solver = tiny.write_solver(folder, net=f'"{net}"', test_iter=1)
    made = train(solver, FakeEngine(), output=folder / "run", weights=weights).caffemodel
    return {"weights": str(made), "weights_sha256": sha256(made)}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return trained(tmp_path_factory.mktemp("a"), "ab")


def test_training_tells_its_classes(model: dict[str, Any]) -> None:
    assert trained_on(model) == ["a", "b"]
    assert seen_classes(model, None) == (["a", "b"], "training")
    assert seen_classes(model, ["c", "b", "a"]) == (["a", "b", "c"], "given")


def test_classes_of_the_weights_it_started_from_count(
    tmp_path: Path, model: dict[str, Any]
) -> None:
    later = trained(tmp_path, "cd", Path(model["weights"]))
    assert trained_on(later) == ["a", "b", "c", "d"]


def test_a_class_that_training_saw_cannot_be_called_unseen(model: dict[str, Any]) -> None:
    with pytest.raises(MismatchError, match="was trained on b too"):
        seen_classes(model, ["a", "c"])


def test_labels_of_a_supervised_hash_are_not_recorded(model: dict[str, Any]) -> None:
    learned = {**model, "hash": {"method": "ksh"}}
    with pytest.raises(DataError, match=r"ksh was learned from labels .* --seen"):
        seen_classes(learned, None)
    assert seen_classes(learned, ["a", "b"]) == (["a", "b"], "given")
    assert seen_classes({**model, "hash": {"method": "lsh"}}, None) == (["a", "b"], "training")


def test_without_what_training_left_the_user_must_tell(
    tmp_path: Path, model: dict[str, Any]
) -> None:
    alone = {"weights": str(tmp_path / "w.caffemodel"), "weights_sha256": "0"}
    others = {**model, "weights_sha256": "0"}  # the manifest is of other weights
    for unknown in (alone, others):
        assert trained_on(unknown) is None
        with pytest.raises(DataError, match="which classes it saw is unknown"):
            seen_classes(unknown, None)
        assert seen_classes(unknown, ["b", "a"]) == (["a", "b"], "given")


def test_a_data_set_that_is_not_the_one_trained_on_tells_nothing(tmp_path: Path) -> None:
    model = trained(tmp_path, "ab")
    facts, listed = tmp_path / "data/dataset.json", tmp_path / "data/train.txt"
    text = facts.read_text()
    facts.write_text(json.dumps({**json.loads(text), "lmdb_sha256": {"train": "0"}}))
    assert trained_on(model) is None  # built anew since
    facts.write_text(text)
    assert trained_on(model) == ["a", "b"]
    listed.unlink()
    assert trained_on(model) is None  # gone


def test_a_manifest_that_is_no_json_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "w.caffemodel.json").write_text("{")
    with pytest.raises(DataError, match="is no JSON"):
        trained_on({"weights": str(tmp_path / "w.caffemodel"), "weights_sha256": "0"})
