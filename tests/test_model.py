from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from latenthash.engines import get_engine
from latenthash.errors import MismatchError, NetError
from latenthash.hamming import pack
from latenthash.hashing import HashSettings, learn, write_hash
from latenthash.manifest import IDENTITY, read_manifest, write_manifest
from latenthash.model import HashModel, open_features, open_model, stored_model, with_hash
from latenthash.proto import write_mean
from small import BITS, DIM, write_model, write_published


def test_takes_blobs_and_preprocessing_from_the_files(tmp_path: Path) -> None:
    model = write_model(tmp_path)
    assert (model.feature_blob, model.code_blob) == ("fc7", "latent_sigmoid")
    assert (model.bits, model.dim) == (BITS, DIM)
    assert model.preprocess.mean == (90.0, 80.0, 70.0)


def test_encode_is_the_blobs_in_half_precision_and_packed(tmp_path: Path) -> None:
    model = write_model(tmp_path)
    batch = np.random.default_rng(0).normal(size=(5, 3, 8, 8)).astype(np.float32)
    with get_engine("fake").load(model.deploy, model.weights) as net:
        blobs = net.forward(batch, ["fc7", "latent_sigmoid"])
        features, codes = model.encode(net, batch)
    assert (features == blobs["fc7"].astype(np.float16)).all()
    assert (codes == pack(blobs["latent_sigmoid"] >= 0.5)).all()


def test_features_beyond_half_precision_are_cut_not_infinite(tmp_path: Path) -> None:
    model = write_model(tmp_path)

    class Huge:
        def forward(self, batch: object, blobs: object) -> dict[str, np.ndarray]:
            return {
                "fc7": np.full((1, DIM), 1e9, np.float32),
                "latent_sigmoid": np.full((1, BITS), 0.5, np.float32),
            }

    features, codes = model.encode(Huge(), np.zeros((1, 3, 8, 8), np.float32))  # type: ignore[arg-type]
    assert (features == np.float16(65504)).all()
    assert codes.tolist() == [[0xFF, 0xF0]]


def test_identity_changes_with_weights_and_preprocessing_only(tmp_path: Path) -> None:
    model = write_model(tmp_path / "one").describe()
    same = write_model(tmp_path / "two").describe()
    other = write_model(tmp_path / "three", seed=1).describe()
    assert [model[key] for key in IDENTITY] == [same[key] for key in IDENTITY]
    assert model["weights_sha256"] != other["weights_sha256"]


def with_mean_image(folder: Path, value: float) -> dict[str, object]:
    model = write_model(folder)
    write_mean(np.full((3, 8, 8), value, np.float32), folder / "mean.binaryproto")
    mean = np.full((3, 8, 8), value, np.float32)
    manifest = model.weights.with_name("small.caffemodel.json")
    preprocess = type(model.preprocess)(3, (8, 8), (8, 8), mean)
    content = {**read_manifest(manifest, "train")}
    content["preprocess"] = preprocess.to_json("mean.binaryproto")
    write_manifest(content, manifest)
    return open_model(model.deploy, model.weights).describe()


def test_identity_follows_the_mean_image_not_its_place(tmp_path: Path) -> None:
    one, two, three = (
        with_mean_image(tmp_path / name, value) for name, value in (("a", 7), ("b", 7), ("c", 8))
    )
    assert one["preprocess_sha256"] == two["preprocess_sha256"] != three["preprocess_sha256"]


def test_stored_model_refuses_weights_that_changed_or_went(tmp_path: Path) -> None:
    model = write_model(tmp_path / "trained")
    description = model.describe()
    (tmp_path / "index").mkdir()
    shutil.copy(model.deploy, tmp_path / "index/deploy.prototxt")
    assert stored_model(description, tmp_path / "index").weights == model.weights
    with model.weights.open("ab") as file:
        file.write(b"\x00")
    with pytest.raises(MismatchError, match="changed"):
        stored_model(description, tmp_path / "index")
    model.weights.unlink()
    with pytest.raises(MismatchError, match=r"small\.caffemodel"):
        stored_model(description, tmp_path / "index")


def test_missing_pieces_are_named(tmp_path: Path) -> None:
    model = write_model(tmp_path)
    with pytest.raises(NetError, match=r"no\.caffemodel: no such file"):
        open_model(model.deploy, tmp_path / "no.caffemodel")
    model.weights.with_name("small.caffemodel.json").unlink()
    with pytest.raises(NetError, match=r"neither small\.caffemodel\.json nor a readme\.md"):
        open_model(model.deploy, model.weights)


def test_a_net_of_another_input_is_refused(tmp_path: Path) -> None:
    model = write_model(tmp_path)
    model.deploy.write_text(model.deploy.read_text().replace("dim: 8 dim: 8", "dim: 9 dim: 9"))
    with pytest.raises(MismatchError, match=r"\(3, 9, 9\).*\(3, 8, 8\)"):
        open_model(model.deploy, model.weights)


def test_a_net_without_a_latent_layer_is_refused(tmp_path: Path) -> None:
    model = write_model(tmp_path)
    model.deploy.write_text(model.deploy.read_text().replace("latent", "fc8"))
    with pytest.raises(NetError, match="latent"):
        open_model(model.deploy, model.weights)


def hashed(folder: Path, seed: int = 0, bits: int = 5) -> HashModel:
    features = np.random.default_rng(seed).normal(size=(40, DIM))
    function = learn(features, HashSettings("itq", bits))
    write_hash(function, folder / "hash.h5")
    return with_hash(write_published(folder / "net"), function, folder / "hash.h5")


def test_a_published_net_is_prepared_as_its_readme_says(tmp_path: Path) -> None:
    model = write_published(tmp_path)
    assert (model.feature_blob, model.dim) == ("fc7", DIM)
    assert model.preprocess.mean == (90.0, 80.0, 70.0)
    assert (model.preprocess.resize, model.preprocess.scale) == ((8, 8), 0.5)
    with pytest.raises(NetError, match=r"has no blob 'pool'.*data, fc7"):
        open_features(model.deploy, model.weights, feature="pool")


def test_features_have_length_one_and_the_hash_makes_the_codes(tmp_path: Path) -> None:
    model = hashed(tmp_path)
    assert model.hash is not None and model.bits == 5
    batch = np.random.default_rng(0).normal(size=(7, 3, 8, 8)).astype(np.float32)
    with get_engine("fake").load(model.deploy, model.weights) as net:
        blob = net.forward(batch, ["fc7"])["fc7"].astype(np.float64)
        features, codes = model.encode(net, batch)
    expected = blob / np.sqrt((blob**2).sum(axis=1, keepdims=True))
    assert (features.dtype, codes.dtype, codes.shape) == (np.float16, np.uint8, (7, 1))
    assert np.allclose(features, expected, atol=1e-3)
    assert (codes == model.hash.encode(features)).all()


def test_a_feature_of_zeros_stays_zero(tmp_path: Path) -> None:
    class Dark:
        def forward(self, batch: object, blobs: object) -> dict[str, np.ndarray]:
            return {"fc7": np.zeros((1, DIM), np.float32)}

    model = write_published(tmp_path)
    assert (model.features(Dark(), np.zeros((1, 3, 8, 8), np.float32)) == 0).all()  # type: ignore[arg-type]


def test_identity_follows_the_hash_not_its_place(tmp_path: Path) -> None:
    places = (("a", 0), ("b", 0), ("c", 1))
    one, same, other = (hashed(tmp_path / name, seed).describe() for name, seed in places)
    assert [one[key] for key in IDENTITY] == [same[key] for key in IDENTITY]
    assert [key for key in IDENTITY if one[key] != other[key]] == ["hash_sha256"]
    assert write_model(tmp_path / "latent").describe()["hash_sha256"] is None


def test_a_stored_model_has_its_hash_and_refuses_another(tmp_path: Path) -> None:
    model = hashed(tmp_path)
    description = model.describe()
    index = tmp_path / "index"
    index.mkdir()
    shutil.copy(model.deploy, index / "deploy.prototxt")
    shutil.copy(tmp_path / "hash.h5", index / "hash.h5")
    found = stored_model(description, index)
    assert found.describe()["hash_sha256"] == description["hash_sha256"]
    assert (found.bits, found.feature_blob) == (5, "fc7")
    hashed(tmp_path / "other", seed=1)
    shutil.copy(tmp_path / "other/hash.h5", index / "hash.h5")
    with pytest.raises(MismatchError, match=r"hash\.h5: is not the hash that made these codes"):
        stored_model(description, index)


def test_a_hash_of_other_features_is_refused(tmp_path: Path) -> None:
    function = learn(np.random.default_rng(0).normal(size=(40, DIM + 1)), HashSettings("pca", 4))
    with pytest.raises(MismatchError, match=f"features of {DIM + 1} values, 'fc7'"):
        with_hash(write_published(tmp_path), function, tmp_path / "hash.h5")


@pytest.mark.parametrize("damage", ["input: eight", "mean: 1 2 x", "scale: y"])
def test_a_damaged_readme_is_named(tmp_path: Path, damage: str) -> None:
    model = write_published(tmp_path)
    key = damage.split(":")[0]
    readme = tmp_path / "readme.md"
    lines = [damage if line.startswith(key) else line for line in readme.read_text().splitlines()]
    readme.write_text("\n".join(lines))
    with pytest.raises(NetError, match=r"readme\.md: its front matter is damaged"):
        open_features(model.deploy, model.weights)
    readme.write_text("---\nfile: other.caffemodel\n---\n")
    with pytest.raises(NetError, match=r"neither small\.caffemodel\.json nor a readme\.md"):
        open_features(model.deploy, model.weights)
