import json

import numpy as np
import pytest
from PIL import Image

from latenthash.plots import precision_by_rank, precision_recall, smooth, training_curves


def write(path, steps):
    lines = [
        {"iteration": iteration, "phase": phase, "values": values, "max_iter": 100}
        for iteration, phase, values in steps
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def colours(path):
    with Image.open(path) as image:
        assert image.size == (1000, 640)
        return {colour for _, colour in image.convert("RGB").getcolors(1 << 20)}


BLUE, ORANGE, GREEN = (31, 119, 180), (217, 95, 2), (27, 120, 55)


def test_curves(tmp_path):
    steps = [(i, "train", {"loss": 1 / (1 + i)}) for i in range(50)]
    steps += [(i, "test", {"loss": 1.0, "accuracy": i / 50}) for i in (0, 25, 50)]
    training_curves(write(tmp_path / "log.jsonl", steps), tmp_path / "out.png")
    assert {BLUE, ORANGE, GREEN} <= colours(tmp_path / "out.png")
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("steps", [[], [(0, "train", {"loss": None})], [(5, "test", {"x": 1.0})]])
def test_little_to_draw(tmp_path, steps):
    training_curves(write(tmp_path / "log.jsonl", steps), tmp_path / "out.png")
    assert not {ORANGE, GREEN} & colours(tmp_path / "out.png")


def test_precision_and_recall_of_two_methods(tmp_path):
    ranks = np.arange(1, 101)
    curves = {"ours": (ranks, 1 / np.sqrt(ranks)), "other": (ranks, np.full(100, 0.1))}
    precision_by_rank(curves, tmp_path / "p.png", best=(ranks, np.minimum(1, 40 / ranks)))
    found = colours(tmp_path / "p.png")
    assert {BLUE, ORANGE, (128, 128, 128)} <= found
    assert GREEN not in found
    precision_recall({"few": ([0.1, 0.5, 1], [1, 0.5, 0.1])}, tmp_path / "pr.png")
    assert BLUE in colours(tmp_path / "pr.png")


def test_curve_of_one_rank(tmp_path):
    precision_by_rank({"ours": ([1], [0.5])}, tmp_path / "p.png")
    precision_recall({"ours": ([0.5], [0.5])}, tmp_path / "pr.png")
    assert BLUE in colours(tmp_path / "pr.png")


def test_smooth():
    values = np.array([4.0, np.nan, 2.0, 8.0])
    weights = [np.array([1]), np.array([0.5, 1]), np.array([0.25, 0.5, 1])]  # of finite values
    finite = values[[0, 2, 3]]
    naive = [np.average(finite[: len(w)], weights=w) for w in weights]
    np.testing.assert_allclose(smooth(values, 0.5), [naive[0], naive[0], naive[1], naive[2]])
    assert np.isnan(smooth(np.array([np.inf, 1.0]))).tolist() == [True, False]
