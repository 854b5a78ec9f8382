from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from latenthash.errors import DataError
from latenthash.evaluate import hold_out, write_seen_list
from latenthash.evaluate.splits import drawn, stratified
from latenthash.sources import Sample, Source, open_source

SHARES = st.floats(0.01, 0.99)


@given(st.lists(st.integers(0, 4), min_size=2, max_size=60), SHARES, st.integers(0, 99))
def test_stratified_takes_a_share_of_each_class(labels: list[int], share: float, seed: int) -> None:
    counts = {label: labels.count(label) for label in set(labels)}
    if max(counts.values()) < 2:
        return
    chosen, others = stratified(np.array(labels), share, seed)
    assert sorted([*chosen, *others]) == list(range(len(labels)))
    assert chosen.tolist() == sorted(chosen)
    assert others.tolist() == sorted(others)
    taken = [labels[place] for place in chosen]
    for label, count in counts.items():
        assert (taken.count(label) > 0) == (count > 1)
        assert taken.count(label) < count
        assert abs(taken.count(label) - share * count) <= 1
    again, _ = stratified(np.array(labels), share, seed)
    assert np.array_equal(chosen, again)


def test_seeds_choose_differently_and_every_image_can_be_chosen() -> None:
    labels = np.repeat([0, 1], 20)
    splits = [stratified(labels, 0.25, seed)[0] for seed in range(60)]
    assert {len(chosen) for chosen in splits} == {10}
    assert set(np.concatenate(splits).tolist()) == set(range(40))


def test_a_tenth_of_cifar10s_test_images_is_a_hundred_a_class() -> None:
    labels = np.repeat(np.arange(10), 1000)
    chosen, others = stratified(labels, 0.1, 0)
    assert np.bincount(labels[chosen]).tolist() == [100] * 10
    assert len(others) == 9000


@pytest.mark.parametrize("share", [0, 1, -0.1, float("nan")])
def test_a_share_outside_0_to_1_is_refused(share: float) -> None:
    with pytest.raises(DataError, match="between 0 and 1"):
        stratified(np.array([0, 0]), share, 0)
    with pytest.raises(DataError, match="between 0 and 1"):
        hold_out("abcd", share)


def test_classes_of_one_image_cannot_be_split() -> None:
    with pytest.raises(DataError, match="no class has two images"):
        stratified(np.arange(5), 0.5, 0)


def test_drawn_places_are_distinct_and_seeded() -> None:
    places = drawn(100, 40, 3)
    assert len(set(places.tolist())) == 40
    assert places.tolist() == sorted(places)
    assert np.array_equal(places, drawn(100, 40, 3))
    assert not np.array_equal(places, drawn(100, 40, 4))
    assert drawn(40, 40, 0).tolist() == list(range(40))
    with pytest.raises(DataError, match="39 images, 40 are drawn"):
        drawn(39, 40, 0)


@given(st.integers(4, 50), st.integers(0, 99))
def test_a_quarter_of_the_classes_is_held_out(count: int, seed: int) -> None:
    classes = [f"class {number}" for number in range(count)]
    seen, unseen = hold_out(classes, seed=seed)
    assert sorted([*seen, *unseen]) == sorted(classes)
    assert len(unseen) == int(count / 4 + 0.5)
    assert hold_out(classes[::-1], seed=seed) == (seen, unseen)  # their order does not matter


def test_of_ten_classes_three_are_held_out_and_another_seed_takes_others() -> None:
    choices = {tuple(hold_out("abcdefghij", seed=seed)[1]) for seed in range(30)}
    assert {len(unseen) for unseen in choices} == {3}
    assert len(choices) > 10
    assert {name for unseen in choices for name in unseen} == set("abcdefghij")


def test_too_few_classes_to_hold_one_out() -> None:
    with pytest.raises(DataError, match="2 classes, 1 held out"):
        hold_out(["a", "b"])


def images(folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), 40 * number).save(folder / name)


def test_the_list_holds_training_images_of_the_seen_classes(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    images(folder, "train/dog/1.png", "train/cat/1 é.png", "train/emu/1.png", "train/cat/2.png",
           "test/cat/3.png", "test/dog/4.png", "test/emu/5.png")  # fmt: skip
    made = write_seen_list(open_source(folder), ["cat", "emu"], tmp_path / "out")
    assert made.path.read_text().splitlines() == [
        "train/cat/1 é.png 0", "train/cat/2.png 0", "train/emu/1.png 1",
    ]  # fmt: skip
    assert (tmp_path / "out/labels.txt").read_text() == "cat\nemu\n"
    assert (made.root, made.images) == (folder, 3)
    read = open_source(made.path, root=made.root)  # as build_lmdb takes it
    assert read.labels == ["cat", "emu"]
    assert [sample.label for sample in read.samples] == [0, 0, 1]
    assert all(Path(str(sample.path)).is_file() for sample in read.samples)


def test_images_in_arrays_are_written_as_files_first(tmp_path: Path) -> None:
    samples = [
        Sample(str(number), number % 2, None, np.full((3, 3, 1), 60 * number, np.uint8), split)
        for number, split in enumerate(("train", "train", "val", "train"))
    ]
    made = write_seen_list(Source("arrays", ["x", "y"], samples), ["y"], tmp_path)
    read = open_source(made.path, root=made.root)
    values = [np.asarray(Image.open(str(sample.path))).max() for sample in read.samples]
    assert (values, read.labels) == ([60, 180], ["y"])


def test_a_list_of_nothing_is_refused(tmp_path: Path) -> None:
    images(tmp_path, "train/a/1.png", "test/a/2.png", "test/b/3.png", "train/c/1.png")
    source = open_source(tmp_path)
    with pytest.raises(DataError, match="no class z - there are a, b, c"):
        write_seen_list(source, ["a", "z"], tmp_path / "out")
    with pytest.raises(DataError, match="no training image of b"):
        write_seen_list(source, ["b"], tmp_path / "out")
