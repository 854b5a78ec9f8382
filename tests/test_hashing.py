"""Hash functions of features, against independent implementations."""

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
from scipy.linalg import eigh
from sklearn.decomposition import PCA

from latenthash.errors import DataError, EngineError, MismatchError
from latenthash.hamming import distances, unpack
from latenthash.hashing import (
    METHODS,
    SUPERVISED,
    HashFunction,
    HashSettings,
    Kernel,
    learn,
    read_hash,
    write_hash,
)
from latenthash.hashing.supervised import Residue, best_bit, canonical_directions


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


def classed(count: int = 300, dim: int = 24, classes: int = 4, seed: int = 0) -> tuple:
    """Features whose classes differ in directions that vary little, and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    features = correlated(count, dim, seed).astype(np.float32)
    return features + np.eye(dim, dtype=np.float32)[labels] * 2, labels


def weiss_bits(sample: np.ndarray, bits: int, new: np.ndarray) -> np.ndarray:
    """Spectral hashing as its authors' trainSH and compressSH go, step by step."""
    axes = PCA(min(bits, sample.shape[1]), svd_solver="full").fit(sample)
    values = axes.transform(sample)
    low, high = values.min(axis=0), values.max(axis=0)
    modes = sorted(
        (k * np.pi / (high[axis] - low[axis]), axis)
        for axis in range(values.shape[1])
        for k in range(1, bits + 1)
    )
    projected = axes.transform(new)
    waves = [np.sin(np.pi / 2 + f * (projected[:, a] - low[a])) for f, a in modes[:bits]]
    return np.array(waves).T


@pytest.mark.parametrize("bits", [1, 12, 64])  # fewer, then more than values
def test_sh_gives_the_bits_of_the_step_by_step_algorithm(bits: int) -> None:
    features, new = correlated().astype(np.float64), correlated(200, seed=1).astype(np.float64)
    function = learn(features, HashSettings("sh", bits))
    waves = weiss_bits(features, bits, new)
    found = unpack(function.encode(new), bits)
    # A component may point either way; the box turns with it, and sin(pi/2 + k pi (1 - u))
    # is (-1)^k sin(pi/2 + k pi u): the bit is the same or the opposite for all images.
    sure = np.abs(waves) > 1e-3
    for bit in range(bits):
        same = (found[:, bit] == (waves[:, bit] > 0))[sure[:, bit]]
        assert same.all() or not same.any()


def test_sh_cuts_a_line_at_half_then_at_quarters() -> None:
    line = np.linspace(0, 1, 1001)[:, None]
    function = learn(line, HashSettings("sh", 2))
    found = unpack(function.encode(np.array([[0.1], [0.3], [0.6], [0.9]])), 2).astype(int)
    assert found.tolist() == [[1, 1], [1, 0], [0, 0], [0, 1]]


def test_cca_directions_are_those_of_the_definition() -> None:
    features, labels = classed(2000)
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    directions, correlations = canonical_directions(centred, labels)
    assert directions.shape == (3, 24)  # one fewer than classes
    one_hot = np.eye(4)[labels] - np.eye(4)[labels].mean(axis=0)
    ridge = 1e-2 * centred.var(axis=0).mean() * np.eye(24)
    covariance = centred.T @ centred / 2000 + ridge
    cross = centred.T @ one_hot / 2000
    between = cross @ np.linalg.pinv(one_hot.T @ one_hot / 2000) @ cross.T
    squares, vectors = eigh(between, covariance)
    assert np.allclose(correlations**2, squares[:-4:-1])
    assert np.allclose(np.abs(directions), np.abs(vectors[:, :-4:-1].T))


def mean_average_precision(codes: np.ndarray, labels: np.ndarray) -> float:
    """Of the first half as queries in the second."""
    half = len(labels) // 2
    order = distances(codes[:half], codes[half:]).argsort(axis=1, kind="stable")
    relevant = labels[half:][order] == labels[:half, None]
    precision = relevant.cumsum(axis=1) / np.arange(1, relevant.shape[1] + 1)
    return float(((precision * relevant).sum(axis=1) / relevant.sum(axis=1)).mean())


@pytest.mark.parametrize("method", SUPERVISED)
@pytest.mark.parametrize("bits", [2, 16])  # fewer, then more than classes
def test_labels_help_on_images_that_were_not_learned_from(method: str, bits: int) -> None:
    features, labels = classed(1200)
    found = {
        name: mean_average_precision(
            learn(features[:600], HashSettings(name, bits), labels[:600]).encode(features[600:]),
            labels[600:],
        )
        for name in (method, "pca", "lsh")
    }
    assert found[method] > max(found["pca"], found["lsh"]) + 0.1


def test_latent_bits_are_sides_of_planes_that_need_not_pass_the_mean() -> None:
    rng = np.random.default_rng(0)
    labels = (np.arange(600) % 10 == 0).astype(int)  # the mean is near the larger class
    features = rng.normal(size=(600, 5)) + 4 * labels[:, None]
    function = learn(features, HashSettings("latent", 3), labels)
    assert function.offset is not None and np.abs(function.offset).min() > 0
    found = unpack(function.encode(features), 3)
    for row in range(0, 600, 7):
        centred = features[row].astype(np.float64) - function.mean
        for bit, (plane, offset) in enumerate(
            zip(function.projection, function.offset, strict=True)
        ):
            assert found[row, bit] == (plane @ centred + offset >= 0)
    rare, common = found[labels == 1], found[labels == 0]
    assert (rare.mean(axis=0).round() != common.mean(axis=0).round()).all()
    assert np.abs(rare.mean(axis=0) - common.mean(axis=0)).min() > 0.95


def test_itq_cca_spreads_few_directions_over_many_bits() -> None:
    features, labels = classed()
    few, many = (learn(features, HashSettings("itq-cca", bits), labels) for bits in (3, 40))
    assert np.linalg.matrix_rank(many.projection, tol=1e-4) == 3
    grams = [function.projection.T @ function.projection for function in (few, many)]
    assert np.allclose(*grams, atol=1e-5)  # orthonormal rows: distances of values are kept


def test_itq_cca_turns_the_directions_so_that_signs_lose_less() -> None:
    features, labels = classed()
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    directions, correlations = canonical_directions(centred, labels)
    unturned = centred @ (directions * correlations[:, None]).T
    function = learn(features, HashSettings("itq-cca", 3), labels)
    assert quantisation_loss(function.project(features)) < quantisation_loss(unturned)


def test_ksh_residue_is_that_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    labels, bits = rng.integers(0, 3, 30), 5
    residue = Residue(labels, bits)
    expected = np.array([[bits * (1.0 if a == b else -1.0) for a in labels] for b in labels])
    for _ in range(3):
        signs = rng.choice([-1.0, 1.0], 30)
        residue.take(signs)
        expected -= np.outer(signs, signs)
    columns = rng.normal(size=(30, 4))
    assert np.allclose(residue.apply(columns), expected @ columns)
    assert np.allclose(residue.apply(columns[:, 0]), expected @ columns[:, 0])


def test_ksh_bit_is_no_worse_than_the_eigenvector_and_often_better() -> None:
    better = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 2, 60)
        values = rng.standard_t(2, (60, 2)) + labels[:, None]  # far ones pull at the eigenvector
        white = np.linalg.qr(values)[0] * np.sqrt(60)
        pairs = np.where(labels[:, None] == labels, 1.0, -1.0)
        angles = np.linspace(0, np.pi, 2000)
        circle = np.array([np.cos(angles), np.sin(angles)])
        spectral = np.linalg.eigh(white.T @ pairs @ white)[1][:, -1:]
        found = best_bit(white, Residue(labels, 1))[:, None]
        signs = np.where(white @ np.hstack([spectral, found, circle]) >= 0, 1.0, -1.0)
        worth = (signs * (pairs @ signs)).sum(axis=0)
        assert worth[0] <= worth[1] <= worth[2:].max() + 8  # between two of the angles
        better += worth[0] < worth[1]
    assert better >= 5


def test_ksh_learns_what_no_plane_separates() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (800, 2))
    labels = (points[:, 0] * points[:, 1] > 0).astype(int)  # opposite corners
    scores = {
        method: mean_average_precision(
            learn(points[:400], HashSettings(method, 8), labels[:400]).encode(points[400:]),
            labels[400:],
        )
        for method in SUPERVISED
    }
    assert scores["ksh"] > 0.9 > 0.7 > scores["itq-cca"]


def test_ksh_takes_a_sample_of_many() -> None:
    features, labels = classed(6000, dim=6)
    function = learn(features, HashSettings("ksh", 2), labels)
    assert function.learned_from == 5000
    assert mean_average_precision(function.encode(features[:600]), labels[:600]) > 0.4


def test_a_kernels_bit_is_the_side_of_its_plane_among_likenesses() -> None:
    features, labels = classed(80, dim=5)
    function = learn(features, HashSettings("ksh", 6), labels)
    kernel = function.kernel
    assert isinstance(kernel, Kernel) and kernel.anchors.shape == (80, 5) and function.dim == 5
    new = classed(20, dim=5, seed=3)[0].astype(np.float64)
    found = unpack(function.encode(new), 6)
    for row, feature in enumerate(new):
        likeness = [np.exp(-kernel.gamma * ((feature - a) ** 2).sum()) for a in kernel.anchors]
        sides = function.projection.astype(np.float64) @ (np.array(likeness) - function.mean)
        assert (found[row] == (sides > 0))[np.abs(sides) > 1e-6].all()


@pytest.mark.parametrize("method", SUPERVISED)
def test_labels_that_cannot_be_learned_from_are_refused(method: str) -> None:
    features, labels = classed()
    wanted = HashSettings(method, 8)
    with pytest.raises(DataError, match=f"{method} is learned from labels"):
        learn(features, wanted)
    with pytest.raises(DataError, match=r"labels of shape \(299,\) for 300 features"):
        learn(features, wanted, labels[1:])
    with pytest.raises(DataError, match="1 features without a label"):
        learn(features, wanted, np.where(np.arange(300) == 7, -1, labels))
    with pytest.raises(DataError, match="all labels are one class"):
        learn(features, wanted, 0 * labels)
    with pytest.raises(DataError, match="1 images"):
        learn(features[:1], wanted, labels[:1])
    with pytest.raises(DataError, match=r"one mean|vary in 0 directions"):
        learn(np.ones_like(features), wanted, labels)
    with pytest.raises(DataError, match=r"learned from labels.*choose one of itq, pca, lsh, sh"):
        wanted.require_label_free()


def test_sh_of_equal_features_is_refused() -> None:
    with pytest.raises(DataError, match="vary in 0 directions"):
        learn(np.ones((50, 24)), HashSettings("sh", 12))


@pytest.mark.parametrize("method", METHODS + SUPERVISED)
def test_a_feature_gets_the_same_code_alone_and_among_many(method: str) -> None:
    features, labels = classed(9000)
    function = learn(features[:500], HashSettings(method, 12), labels[:500])
    codes = function.encode(features)
    for row in (0, 4095, 4096, 8999):
        assert (function.encode(features[row : row + 1])[0] == codes[row]).all()


LEARN = """
import sys
from pathlib import Path
import numpy as np
from latenthash.hashing import HashSettings, learn, write_hash
data = np.load(sys.argv[1])
settings = HashSettings(sys.argv[2], 48)
write_hash(learn(data["features"], settings, data["labels"]), Path(sys.argv[3]))
"""


@pytest.mark.parametrize("method", METHODS + SUPERVISED)
def test_two_runs_give_the_same_bytes_on_one_core_and_two(tmp_path: Path, method: str) -> None:
    features, labels = classed(3000, 96)
    np.savez(tmp_path / "data.npz", features=features, labels=labels)
    for name, threads in (("one", "1"), ("two", "2")):
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        subprocess.run(
            [sys.executable, "-c", LEARN, tmp_path / "data.npz", method, tmp_path / name],
            check=True,
            env=environment,
        )
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("method", METHODS + SUPERVISED)
def test_what_is_written_is_read(tmp_path: Path, method: str) -> None:
    features, labels = classed()
    function = learn(features, HashSettings(method, 11, seed=4), labels)
    write_hash(function, tmp_path / "hash.h5")
    found = read_hash(tmp_path / "hash.h5")
    assert (found.method, found.seed, found.learned_from) == (method, 4, 300)
    assert (found.encode(features) == function.encode(features)).all()
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
    for method, array in (
        ("pca", "mean"),
        ("sh", "phase"),
        ("ksh", "anchors"),
        ("latent", "offset"),
    ):
        features, labels = classed()
        write_hash(learn(features, HashSettings(method, 11), labels), path)
        with h5py.File(path, "r+") as file:
            file[array][3] += 1
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
    with pytest.raises(DataError, match="choose one of itq, pca, lsh, sh, latent, itq-cca, ksh"):
        HashSettings("agh", 8)
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
