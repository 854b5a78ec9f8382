"""Hash functions learned without labels, against independent implementations."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import faiss
import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from latenthash.errors import DataError, EngineError, MismatchError
from latenthash.hamming import distances, unpack
from latenthash.hashing import METHODS, HashFunction, HashSettings, learn, read_hash, write_hash


def correlated(count: int = 300, dim: int = 24, seed: int = 0) -> np.ndarray:
    """Features whose directions vary differently, away from the origin."""
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    spread = np.geomspace(5, 0.1, dim)
    return (rng.normal(size=(count, dim)) * spread @ rotation + 3).astype(np.float16)


def test_itq_gives_the_bits_of_faiss_own_apply() -> None:
    features = correlated()
    function = learn(features, HashSettings("itq", 12, seed=123))
    transform = faiss.ITQTransform(24, 12, True)
    transform.itq.seed = 123
    transform.train(features.astype(np.float32))
    new = correlated(500, seed=1)
    expected = transform.apply(new.astype(np.float32))
    found = unpack(function.encode(new), 12)
    sure = np.abs(expected) > 1e-4  # nearer to a plane single precision may go astray
    assert sure.mean() > 0.99
    assert (found == (expected > 0))[sure].all()


def quantisation_loss(values: np.ndarray) -> float:
    """What ITQ minimises: squared distance to the nearest corner of the cube."""
    return float(((values - np.sign(values)) ** 2).mean())


def numpy_itq(features: np.ndarray, bits: int, steps: int = 50) -> float:
    """Gong and Lazebnik's algorithm, word by word; the loss that it ends at."""
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    directions = np.linalg.svd(centred - centred.mean(axis=0), full_matrices=False)[2][:bits]
    values = centred @ directions.T
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(bits, bits)))[0]
    for _ in range(steps):
        left, _, right = np.linalg.svd(np.sign(values @ rotation).T @ values)
        rotation = (left @ right).T
    return quantisation_loss(values @ rotation)


def test_itq_loses_no_more_than_an_independent_one_and_less_than_pca() -> None:
    features = correlated(2000)
    losses = {}
    for method in ("itq", "pca"):
        function = learn(features, HashSettings(method, 12))
        centred = features.astype(np.float64) - function.mean
        centred /= np.linalg.norm(centred, axis=1, keepdims=True)
        losses[method] = quantisation_loss(centred @ function.projection.T)
    assert losses["itq"] < losses["pca"]
    assert losses["itq"] == pytest.approx(numpy_itq(features, 12), rel=0.02)


@pytest.mark.parametrize("count", [300, 20])  # more, then fewer images than values
def test_pca_is_scikit_learns(count: int) -> None:
    features = correlated(count).astype(np.float64)
    function = learn(features, HashSettings("pca", 10))
    expected = PCA(10, svd_solver="full").fit(features)
    assert np.allclose(function.mean, expected.mean_, atol=1e-4)
    cosines = np.abs((function.projection * expected.components_).sum(axis=1))
    assert cosines == pytest.approx(np.ones(10), abs=1e-4)
    largest = np.abs(function.projection).argmax(axis=1)
    assert (function.projection[np.arange(10), largest] > 0).all()


def test_lsh_bits_differ_as_often_as_the_angle_is_wide() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 16)).astype(np.float32)
    function = learn(features, HashSettings("lsh", 1024))
    centred = features - features.mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    angles = np.arccos(np.clip(unit @ unit.T, -1, 1)) / np.pi
    codes = function.encode(features)
    assert np.abs(distances(codes, codes) / 1024 - angles).max() < 5 * 0.5 / np.sqrt(1024)


def test_lsh_gives_more_bits_than_values_and_another_seed_other_planes() -> None:
    features = correlated(5, dim=4)
    one, two = (learn(features, HashSettings("lsh", 64, seed)) for seed in (0, 1))
    assert one.encode(features).shape == (5, 8)
    assert one.identity != two.identity


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 70), st.integers(1, 40), st.integers(0, 9), st.integers(0, 2**32 - 1))
def test_a_bit_is_the_side_of_its_plane(bits: int, dim: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    function = HashFunction("lsh", 0, 1, rng.normal(size=dim).astype(np.float32),
                            rng.normal(size=(bits, dim)).astype(np.float32))  # fmt: skip
    features = rng.normal(size=(count, dim)).astype(np.float16)
    codes = function.encode(features)
    assert (codes.dtype, codes.shape) == (np.uint8, (count, (bits + 7) // 8))
    for row in range(count):
        for bit in range(bits):
            side = sum(
                float(plane) * (float(value) - float(mean))
                for plane, value, mean in zip(
                    function.projection[bit], features[row], function.mean, strict=True
                )
            )
            if abs(side) > 1e-9:
                assert unpack(codes, bits)[row, bit] == (side > 0)


def test_a_feature_gets_the_same_code_alone_and_among_many() -> None:
    features = correlated(9000)
    function = learn(features[:500], HashSettings("itq", 12))
    codes = function.encode(features)
    for row in (0, 4095, 4096, 8999):
        assert (function.encode(features[row : row + 1])[0] == codes[row]).all()


LEARN = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_hashing import correlated
from latenthash.hashing import HashSettings, learn, write_hash
write_hash(learn(correlated(3000, 96), HashSettings(sys.argv[2], 48)), Path(sys.argv[3]))
"""


@pytest.mark.parametrize("method", METHODS)
def test_two_runs_give_the_same_bytes_on_one_core_and_two(tmp_path: Path, method: str) -> None:
    for name, threads in (("one", "1"), ("two", "2")):
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        subprocess.run(
            [sys.executable, "-c", LEARN, str(Path(__file__).parent), method, tmp_path / name],
            check=True,
            env=environment,
        )
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    function = learn(correlated(), HashSettings("pca", 11, seed=4))
    write_hash(function, tmp_path / "hash.h5")
    found = read_hash(tmp_path / "hash.h5")
    assert (found.method, found.seed, found.learned_from) == ("pca", 4, 300)
    assert (found.bits, found.dim, found.identity) == (11, 24, function.identity)
    assert (found.projection == function.projection).all() and (found.mean == function.mean).all()


def test_damaged_foreign_and_missing_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "hash.h5"
    with pytest.raises(DataError, match=r"hash\.h5: no such file"):
        read_hash(path)
    path.write_bytes(b"no HDF5")
    with pytest.raises(DataError, match="is no hash function"):
        read_hash(path)
    with h5py.File(path, "w") as file:
        file["codes"] = [1]
    with pytest.raises(DataError, match="is no hash function"):
        read_hash(path)
    write_hash(learn(correlated(), HashSettings("pca", 11)), path)
    with h5py.File(path, "r+") as file:
        file["mean"][3] += 1
    with pytest.raises(DataError, match="damaged"):
        read_hash(path)


@pytest.mark.parametrize("method", ["itq", "pca"])
def test_what_cannot_be_learned_is_said_with_what_can(method: str) -> None:
    with pytest.raises(DataError, match=r"25 bits of features of 24 values.*--bits 24 or fewer"):
        learn(correlated(), HashSettings(method, 25))
    with pytest.raises(DataError, match=r"12 images.*13 or more.*--bits 11 or fewer"):
        learn(correlated(12), HashSettings(method, 12))
    flat = correlated()
    flat[:, 5:] = 1
    with pytest.raises(DataError, match=r"vary in 5 directions.*--bits 5 or fewer"):
        learn(flat, HashSettings(method, 12))
    with pytest.raises(DataError, match="vary in 0 directions"):
        learn(np.ones((50, 24), np.float16), HashSettings(method, 12))


def test_as_many_images_as_are_needed_are_enough() -> None:
    for method in ("itq", "pca"):
        assert learn(correlated(13), HashSettings(method, 12)).bits == 12
        assert learn(correlated(), HashSettings(method, 24)).bits == 24


def test_settings_are_checked() -> None:
    with pytest.raises(DataError, match="choose one of itq, pca, lsh"):
        HashSettings("sh", 8)
    for bits in (0, 1025):
        with pytest.raises(DataError, match="1 to 1024"):
            HashSettings("lsh", bits)


def test_without_faiss_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(EngineError, match=r"pip install '\.\[hash\]', or choose --hash pca"):
        learn(correlated(), HashSettings("itq", 8))
    assert learn(correlated(), HashSettings("pca", 8)).bits == 8


def test_features_of_another_size_are_refused() -> None:
    function = learn(correlated(), HashSettings("lsh", 8))
    with pytest.raises(MismatchError, match=r"\(3, 25\).*\(N, 24\)"):
        function.encode(np.zeros((3, 25), np.float16))
