"""Health of codes against plain loops over images."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from latenthash.hamming import pack
from latenthash.index.advice import warnings
from latenthash.index.health import Health, measure, merged
from latenthash.plots import health_picture

Bits = NDArray[np.bool_]


def words(bits: Bits) -> NDArray[np.uint64]:
    packed = pack(bits)
    return np.pad(packed, ((0, 0), (0, -packed.shape[1] % 8))).view(np.uint64)


def part(bits: Bits) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    codes, sizes = np.unique(words(bits), axis=0, return_counts=True)
    return codes, sizes.astype(np.int32)


def clustered(count: int, bits: int, seed: int) -> Bits:
    rng = np.random.default_rng(seed)
    centres = rng.random((max(1, count // 9), bits)) < 0.5
    return centres[rng.integers(0, len(centres), count)] ^ (rng.random((count, bits)) < 0.03)


@settings(max_examples=40)
@given(
    count=st.integers(1, 40),
    bits=st.sampled_from([1, 7, 8, 20, 64, 65, 128]),
    seed=st.integers(0, 2**32),
    segments=st.integers(1, 3),
)
def test_measures_equal_a_loop_over_the_images(
    count: int, bits: int, seed: int, segments: int
) -> None:
    images = clustered(count, bits, seed)
    health = measure([part(images[i::segments]) for i in range(min(segments, count))], bits)
    texts = ["".join(map(str, row.astype(int))) for row in images]
    sizes = {text: texts.count(text) for text in texts}
    assert (health.images, health.sizes.tolist()) == (count, sorted(sizes.values())[::-1])
    np.testing.assert_allclose(health.balance, images.mean(axis=0))
    shares = [size / count for size in sizes.values()]
    assert health.code_entropy == pytest.approx(-sum(p * math.log2(p) for p in shares))
    for bit, entropy in enumerate(health.entropy):
        p = images[:, bit].mean()
        known = 0 if p in (0, 1) else -p * math.log2(p) - (1 - p) * math.log2(1 - p)
        assert entropy == pytest.approx(known, abs=1e-12)
    # fewer images than queries are wanted: each is asked once
    radii = [[sum((a != b).sum() <= r for b in images) for r in range(bits + 1)] for a in images]
    assert sorted(health.candidates.tolist()) == sorted(radii)
    assert sum(row["images"] for row in health.size_distribution()) == count
    for row in health.size_distribution():
        within = [size for size in sizes.values() if row["from"] <= size <= row["to"]]
        assert (row["buckets"], row["images"]) == (len(within), sum(within))


def test_correlation_equals_numpy() -> None:
    images = clustered(500, 20, 0)
    images[:, 7] = ~images[:, 2]
    images[:, 11] = True
    health = measure([part(images)], 20)
    living = np.delete(np.arange(20), 11)
    expected = np.corrcoef(images[:, living].T.astype(float))
    np.testing.assert_allclose(health.correlation[np.ix_(living, living)], expected, atol=1e-6)
    assert not health.correlation[11].any()
    assert (health.dead, health.repeated) == ([11], [7])
    assert health.independent_bits == pytest.approx(19**2 / (expected**2).sum(), rel=1e-6)


def test_independent_bits_of_independent_and_of_equal_ones() -> None:
    rng = np.random.default_rng(0)
    assert 15.5 < measure([part(rng.random((20_000, 16)) < 0.5)], 16).independent_bits <= 16
    same = np.repeat(rng.random((500, 1)) < 0.5, 16, axis=1)
    assert measure([part(same)], 16).independent_bits == pytest.approx(1)


def test_large_sets_are_sampled_by_images_not_by_codes() -> None:
    """One bucket with 90 % of the images gets about 90 % of the draws."""
    codes = words(np.array([[0, 0], [0, 1], [1, 0]], bool))
    health = measure([(codes, np.array([900_000, 50_000, 50_000], np.int32))], 2, queries=300)
    in_the_large_one = (health.candidates[:, 0] == 900_000).mean()
    assert 0.83 < in_the_large_one < 0.96
    share = 0.05
    expected = -share * share / (share * (1 - share))
    assert health.correlation[0, 1] == pytest.approx(expected, abs=0.012)
    again = measure([(codes, np.array([900_000, 50_000, 50_000], np.int32))], 2, queries=300)
    np.testing.assert_array_equal(again.candidates, health.candidates)


def test_segments_are_merged_and_empty_buckets_left_out() -> None:
    codes = words(np.array([[0, 0], [0, 1], [1, 0]], bool))
    sizes = [np.array([2, 0, 3], np.int32), np.array([1, 0, 4], np.int32)]
    merged_codes, merged_sizes = merged([(codes, sizes[0]), (codes[::-1], sizes[1])])
    found = dict(zip(merged_codes[:, 0].tolist(), merged_sizes.tolist(), strict=True))
    assert found == {int(codes[0, 0]): 6, int(codes[2, 0]): 4}
    assert len(merged([(codes, sizes[0])])[0]) == 2


def test_radius_for_candidates() -> None:
    images = clustered(200, 20, 1)
    health = measure([part(images)], 20)
    radius = health.radius_for(50)
    within = [[(a != b).sum() <= radius for b in images] for a in images]
    assert np.median(np.sum(within, axis=1)) >= 50
    assert np.median([((a != images).sum(axis=1) < radius).sum() for a in images]) < 50
    assert health.radius_for(10_000) == 20


def test_nothing_left_is_measured_too() -> None:
    codes, sizes = part(clustered(5, 8, 0))
    health = measure([(codes, np.zeros_like(sizes))], 8)
    assert (health.images, health.code_entropy, len(health.candidates)) == (0, 0.0, 0)
    assert warnings(health) == []
    json.dumps(health.to_json(), allow_nan=False)


def advice(images: Bits) -> list[str]:
    return warnings(measure([part(images)], images.shape[1]))


def test_good_codes_get_no_warning() -> None:
    assert advice(np.random.default_rng(0).random((2000, 48)) < 0.5) == []


def test_collapsed_codes_are_told_of_with_a_remedy() -> None:
    good = np.random.default_rng(0).random((100, 16)) < 0.5
    [text] = advice(np.zeros((100, 16), bool))
    assert "all 100 images have the same" in text
    assert "base_lr" in text
    [text] = advice(np.concatenate([good, np.repeat(good[:1], 300, axis=0)]))
    assert "one bucket holds 75% of the images" in text
    assert "Train longer" in text


def test_dead_and_repeated_bits_are_named() -> None:
    images = np.random.default_rng(0).random((300, 16)) < 0.5
    images[:, [3, 9]] = True
    images[:, 10:15] = images[:, :1]
    dead, repeated = advice(images)
    assert "2 of 16 bits are the same in all images (bit 3, 9)" in dead
    assert "--bits 14" in dead
    assert "5 of 16 bits repeat or invert another one (bit 10, 11, 12, 13, 14)" in repeated


def test_crowded_buckets_of_a_short_code_are_told_of() -> None:
    codes = words(np.array([[0, 0], [0, 1], [1, 0], [1, 1]], bool))
    [text] = warnings(measure([(codes, np.full(4, 50_000, np.int32))], 2))
    assert "50,000" in text
    assert "2 bits tell too little apart for 200,000 images" in text


def test_few_images_tell_nothing() -> None:
    assert advice(np.zeros((5, 8), bool)) == []


@pytest.mark.parametrize("bits", [1, 8, 200])
def test_picture(tmp_path, bits: int) -> None:
    images = clustered(300, bits, 0)
    images[:, 0] = True
    health_picture(measure([part(images)], bits), tmp_path / "health.png")
    with Image.open(tmp_path / "health.png") as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}
        assert picture.width >= 1000
    assert (217, 95, 2) in colours  # the dead bit


def test_picture_of_an_empty_index(tmp_path) -> None:
    codes, sizes = part(clustered(5, 8, 0))
    health: Health = measure([(codes, np.zeros_like(sizes))], 8)
    health_picture(health, tmp_path / "health.png")
    assert (tmp_path / "health.png").is_file()
