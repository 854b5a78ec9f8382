"""Hash models that the repository carries: ready without any download."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from latenthash.engines import get_engine
from latenthash.files import sha256
from latenthash.images import load
from latenthash.model import HashModel, open_model
from latenthash.pretrained import front_matter, published_weights

ROOT = Path(__file__).parent.parent
MODELS = ROOT / "caffe_models"
SHIPPED = ["efficientnet_lite0_48_cifar10"]
IMAGE = ROOT / "docs/images/seven.png"


def shipped(name: str) -> HashModel:
    return open_model(MODELS / name / "deploy.prototxt", published_weights(MODELS / name))


@pytest.mark.parametrize("name", SHIPPED)
def test_the_card_says_what_is_there(name: str) -> None:
    facts = front_matter(MODELS / name / "readme.md")
    weights = published_weights(MODELS / name)
    assert sha256(weights) == facts["sha256"]
    assert weights.stat().st_size < 20e6
    model = shipped(name)
    assert (model.bits, model.dim) == (int(facts["bits"]), int(facts["dim"]))
    assert model.preprocess.shape == (3, int(facts["input"]), int(facts["input"]))


@pytest.mark.caffe
@pytest.mark.parametrize("name", SHIPPED)
def test_both_engines_give_one_code(name: str) -> None:
    pytest.importorskip("torch")
    model = shipped(name)
    batch = np.stack([load(IMAGE, model.preprocess)])
    found = []
    for engine in ("caffe", "torch"):
        with get_engine(engine).load(model.deploy, model.weights) as net:
            found.append(model.encode(net, batch))
    np.testing.assert_array_equal(found[0][1], found[1][1])
    largest = np.abs(found[0][0]).max()
    np.testing.assert_allclose(found[1][0] / largest, found[0][0] / largest, atol=2e-3)


def tool(name: str, *arguments: object) -> None:
    command = [sys.executable, ROOT / "tools" / name, *arguments]
    ended = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.slow
def test_the_quality_that_the_card_names(tmp_path: Path) -> None:
    """The whole protocol, from the repository's files alone."""
    pytest.importorskip("torch")
    data = ROOT / "data/cifar10"
    if not (data / "train").is_dir():
        pytest.skip("needs CIFAR-10: scripts/01_get_data.sh cifar10")
    [name] = SHIPPED
    card = (MODELS / name / "readme.md").read_text()
    named = re.search(r"^\| mAP at 1,000, in the order .*\| ([\d.]+)", card, re.M)
    whole = re.search(r"^\| mAP over the whole order \| ([\d.]+)", card, re.M)
    assert named and whole
    for half in ("test", "train"):
        tool("extract.py", data / half, "--net", name, "-o", tmp_path / f"{half}.h5")
    tool("evaluate.py", "--codes", tmp_path / "train.h5", "--queries", tmp_path / "test.h5",
         "--protocol", "cifar10", "--json", tmp_path / "report.json")  # fmt: skip
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["map_at_1000"] == pytest.approx(float(named[1]), abs=2e-3)
    assert found["map_tie_aware"] == pytest.approx(float(whole[1]), abs=2e-3)
