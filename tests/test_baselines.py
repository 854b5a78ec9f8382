"""Descriptors of images, against naive loops and known properties."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from skimage.color import rgb2hsv
from skimage.feature import local_binary_pattern
from sklearn.mixture import GaussianMixture

from latenthash.baselines import (
    DESCRIPTORS,
    Descriptor,
    make_descriptor,
    read_descriptor,
    write_descriptor,
)
from latenthash.baselines.encoding import (
    bag_of_words,
    fisher,
    fisher_gradient,
    learn_axes,
    learn_mixture,
    learn_words,
    reduce,
    vlad,
)
from latenthash.baselines.local import LOCAL
from latenthash.errors import DataError, EngineError
from latenthash.images import fit


def scene(seed: int, size: int = 96) -> np.ndarray:
    """Coloured rectangles on a ramp: edges and corners to see."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 80, size)[:, None, None]
    pixels = np.broadcast_to(ramp, (size, size, 3)).copy()
    for _ in range(25):
        top, left = rng.integers(0, size - 12, 2)
        height, width = rng.integers(6, 30, 2)
        pixels[top : top + height, left : left + width] = rng.integers(0, 256, 3)
    return pixels.astype(np.uint8)


SCENES = [scene(seed) for seed in range(12)]


def fitted(name: str, seed: int = 0) -> Descriptor:
    descriptor = make_descriptor(name)
    descriptor.fit(SCENES, seed)
    return descriptor


@pytest.fixture(scope="module")
def every() -> dict[str, Descriptor]:
    return {name: fitted(name) for name in DESCRIPTORS}


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_each_gives_a_feature_of_length_one(every: dict[str, Descriptor], name: str) -> None:
    descriptor = every[name]
    for pixels in (SCENES[0], SCENES[0][:60, :40], SCENES[0][..., :1]):
        feature = descriptor.describe(pixels)
        assert (feature.dtype, feature.shape) == (np.float32, (descriptor.dim,))
        assert np.linalg.norm(feature) == pytest.approx(1, abs=1e-5)


# Not lbp: in even areas noise is all that it sees.
@pytest.mark.parametrize("name", [name for name in DESCRIPTORS if name != "lbp"])
def test_a_noisy_copy_is_nearest(every: dict[str, Descriptor], name: str) -> None:
    rng = np.random.default_rng(0)
    features = np.array([every[name].describe(pixels) for pixels in SCENES])
    for row, pixels in enumerate(SCENES):
        noisy = np.clip(pixels + rng.normal(0, 4, pixels.shape), 0, 255).astype(np.uint8)
        assert np.argmax(features @ every[name].describe(noisy)) == row


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_an_even_image_is_described_without_nonsense(
    every: dict[str, Descriptor], name: str
) -> None:
    feature = every[name].describe(np.full((50, 50, 3), 128, np.uint8))
    assert np.isfinite(feature).all()
    if name == "hog" or "-" in name:
        assert not feature.any()  # no gradients, no local features


def stripes(across: bool) -> np.ndarray:
    wave = np.where(np.arange(128) % 32 < 16, 40, 200).astype(np.uint8)
    pixels = np.broadcast_to(wave if across else wave[:, None], (128, 128))
    return np.repeat(pixels[..., None], 3, axis=2)


def test_hog_bins_turn_with_the_image() -> None:
    hog = make_descriptor("hog")
    totals = [hog.describe(stripes(across)).reshape(-1, 9).sum(axis=0) for across in (True, False)]
    # Nine bins of 20 degrees from 0: gradients along x in the first, along y in the fifth.
    assert [int(total.argmax()) for total in totals] == [0, 4]
    assert all(total.max() > 0.99 * total.sum() for total in totals)


def test_lbp_is_counted_as_by_hand() -> None:
    lbp = make_descriptor("lbp", 40)
    patterns = local_binary_pattern(fit(lbp.warp(SCENES[1]), 1)[..., 0], 8, 1, "nri_uniform")
    counts = np.zeros((4, 4, 59))
    for row in range(40):
        for column in range(40):
            counts[row // 10, column // 10, int(patterns[row, column])] += 1
    expected = counts.ravel() / np.linalg.norm(counts)
    assert lbp.describe(SCENES[1]) == pytest.approx(expected, abs=1e-6)


def test_lbp_does_not_see_how_bright_an_image_is() -> None:
    lbp = make_descriptor("lbp", 96)
    random = np.random.default_rng(0)  # hardly an even place: there scikit-image's rounding shows
    dark = random.integers(0, 120, (96, 96, 1), dtype=np.uint8)
    unlike = lbp.describe(random.integers(0, 120, (96, 96, 1), dtype=np.uint8)) - lbp.describe(dark)
    found = lbp.describe(2 * dark + 7) - lbp.describe(dark)
    assert np.linalg.norm(found) < 0.1 * np.linalg.norm(unlike)


def test_colours_are_counted_as_by_hand() -> None:
    colour = make_descriptor("colour", 32)
    pixels = colour.warp(SCENES[2])
    counts = np.zeros((16, 4, 4))
    for row in rgb2hsv(pixels[..., ::-1]):
        for hue, saturation, value in row:
            place = (int(hue * 16), int(saturation * 4), int(value * 4))
            counts[min(place[0], 15), min(place[1], 3), min(place[2], 3)] += 1
    expected = np.sqrt(counts.ravel()) / 32  # 1024 pixels: the roots' length is 32
    assert colour.describe(SCENES[2]) == pytest.approx(expected, abs=1e-6)


def test_colour_tells_blue_from_red_where_the_pixels_are_bgr() -> None:
    colour = make_descriptor("colour", 32)
    blue = np.zeros((32, 32, 3), np.uint8)
    blue[..., 0] = 255
    feature = colour.describe(blue).reshape(16, 4, 4)
    assert np.argwhere(feature).tolist() == [[10, 3, 3]]  # hue 240 degrees of 360


def test_sift_on_a_grid_covers_the_image_and_rootsift_has_length_one() -> None:
    pixels = make_descriptor("dsift-bow").warp(SCENES[0])
    for name in ("sift", "dsift"):
        found = LOCAL[name](pixels)
        assert np.allclose(np.linalg.norm(found, axis=1), 1)
    assert len(LOCAL["dsift"](pixels)) == 2 * 16 * 16


def test_orb_distances_are_hamming_distances() -> None:
    found = LOCAL["orb"](SCENES[0])
    detector = cv2.ORB.create(nfeatures=500, fastThreshold=5)
    _, packed = detector.detectAndCompute(fit(SCENES[0], 1)[..., 0], None)
    squares = ((found[:1] - found) ** 2).sum(axis=1)
    assert squares == pytest.approx(np.bitwise_count(packed[:1] ^ packed).sum(axis=1))


def cloud(count: int = 200, dim: int = 5, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, dim)) + 3 * rng.integers(0, 2, (count, 1))


def test_words_are_counted_as_by_hand() -> None:
    learned, local = learn_words(cloud(), 6, 0), cloud(50, seed=1)
    counts = np.zeros(6)
    for feature in local:
        counts[min(range(6), key=lambda k: ((feature - learned["words"][k]) ** 2).sum())] += 1
    assert bag_of_words(local, learned) == pytest.approx(np.sqrt(counts))


def test_words_are_a_fixed_point_of_k_means() -> None:
    local = cloud()
    words = learn_words(local, 4, 0)["words"].astype(np.float64)
    nearest = ((local[:, None] - words) ** 2).sum(axis=2).argmin(axis=1)
    for word in range(4):
        assert words[word] == pytest.approx(local[nearest == word].mean(axis=0), abs=1e-5)


def signed_root(values: np.ndarray) -> np.ndarray:
    return np.sign(values) * np.abs(values) ** 0.5


def test_vlad_of_one_word_is_the_sum_of_differences() -> None:
    local, word = cloud(30), np.ones((1, 5), np.float32)
    assert vlad(local, {"words": word}) == pytest.approx(signed_root(local.sum(axis=0) - 30))


def test_vlad_is_that_of_the_naive_loop() -> None:
    learned, local = learn_words(cloud(), 4, 0), cloud(50, seed=1)
    sums = np.zeros((4, 5))
    for feature in local:
        word = min(range(4), key=lambda k: ((feature - learned["words"][k]) ** 2).sum())
        sums[word] += feature - learned["words"][word]
    assert vlad(local, learned) == pytest.approx(signed_root(sums.ravel()))


def mean_log_likelihood(
    local: np.ndarray, weights: np.ndarray, means: np.ndarray, deviations: np.ndarray
) -> float:
    mixture = GaussianMixture(len(weights), covariance_type="diag")
    mixture.weights_, mixture.means_, mixture.covariances_ = weights, means, deviations**2
    mixture.precisions_cholesky_ = 1 / deviations
    return float(mixture.score(local))


def test_fisher_gradient_is_that_of_finite_differences() -> None:
    local = cloud(40, 3, seed=1)
    learned = learn_mixture(cloud(200, 3), 2, 0)
    weights = learned["weights"].astype(np.float64)
    means = learned["means"].astype(np.float64)
    deviations = np.sqrt(learned["variances"].astype(np.float64))
    weights /= weights.sum()
    step, expected = 1e-5, []
    # Fisher information of n = 1: w / s^2 for a mean, 2 w / s^2 for a standard deviation.
    for which, factor in ((means, 1), (deviations, 2)):
        for word in range(2):
            for axis in range(3):
                ends = []
                for side in (step, -2 * step):
                    which[word, axis] += side
                    ends.append(mean_log_likelihood(local, weights, means, deviations))
                which[word, axis] += step
                information = factor * weights[word] / deviations[word, axis] ** 2
                expected.append((ends[0] - ends[1]) / (2 * step) / np.sqrt(information))
    gradient = fisher_gradient(local, learned)
    assert gradient == pytest.approx(np.array(expected), abs=1e-5)
    assert fisher(local, learned) == pytest.approx(signed_root(gradient))


def test_fisher_gradient_is_nought_on_what_was_learned_from() -> None:
    local = np.random.default_rng(0).normal(size=(2000, 3))
    assert fisher_gradient(local, learn_mixture(local, 1, 0)) == pytest.approx(0, abs=1e-3)


def test_no_local_features_are_zeros() -> None:
    none = np.zeros((0, 5))
    words, mixture = learn_words(cloud(), 4, 0), learn_mixture(cloud(), 4, 0)
    for encode, learned in ((bag_of_words, words), (vlad, words), (fisher, mixture)):
        assert not encode(none, learned).any()


def test_reduction_keeps_what_varies_most() -> None:
    local = cloud()
    reduced = reduce(local, learn_axes(local, 2))
    values = np.linalg.svd(local - local.mean(axis=0), compute_uv=False)
    assert reduced.shape == (200, 2)
    assert np.linalg.norm(reduced, axis=0) == pytest.approx(values[:2], rel=1e-4)


@pytest.mark.parametrize("name", ["hog", "sift-vlad", "dsift-fisher", "orb-bow"])
def test_two_fits_write_the_same_bytes_and_another_seed_others(
    every: dict[str, Descriptor], tmp_path: Path, name: str
) -> None:
    write_descriptor(every[name], tmp_path / "one")
    write_descriptor(fitted(name), tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    found = read_descriptor(tmp_path / "one")
    assert (found.describe(SCENES[3]) == every[name].describe(SCENES[3])).all()
    if name != "hog":
        assert fitted(name, seed=1).identity != every[name].identity


def test_damaged_foreign_and_missing_files_are_refused(
    every: dict[str, Descriptor], tmp_path: Path
) -> None:
    path = tmp_path / "words.h5"
    with pytest.raises(DataError, match=r"words\.h5: no such file"):
        read_descriptor(path)
    path.write_bytes(b"no HDF5")
    with pytest.raises(DataError, match="is no descriptor"):
        read_descriptor(path)
    write_descriptor(every["sift-bow"], path)
    with h5py.File(path, "r+") as file:
        file["words"][0, 0] += 1
    with pytest.raises(DataError, match="damaged"):
        read_descriptor(path)


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(DataError, match="descriptor 'surf' - choose one of hog, lbp, colour, sift"):
        make_descriptor("surf")
    with pytest.raises(DataError, match="100 pixels"):
        make_descriptor("hog", 100)
    with pytest.raises(DataError, match="sift-bow: has no words yet"):
        make_descriptor("sift-bow").describe(SCENES[0])
    with pytest.raises(DataError, match="has no words yet"):
        write_descriptor(make_descriptor("sift-bow"), Path("never"))
    with pytest.raises(DataError, match=r"0 local features for 512 words"):
        make_descriptor("sift-bow").fit([np.zeros((40, 40, 3), np.uint8)])
    with pytest.raises(DataError, match="no images to learn from"):
        make_descriptor("orb-vlad").fit([])


@pytest.mark.parametrize(("name", "module"), [("hog", "skimage"), ("orb-bow", "cv2")])
def test_without_a_library_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(EngineError, match=r"pip install '\.\[baselines\]'"):
        make_descriptor(name)
