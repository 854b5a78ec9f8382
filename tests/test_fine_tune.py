"""scripts/fine_tune.sh as a process: labelled images to a hash model, on tiny runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from checkout import ROOT, checkout, run
from latenthash.netdef import load_netdef
from latenthash.weights import read_weights, write_weights

pytest.importorskip("torch")

PRETRAINED = "caffe_models/efficientnet_lite0/efficientnet_lite0_bn.caffemodel"
TINY = {"ITERATIONS": "3 2", "SIZES": "32 64 64", "IMAGES": "my images"}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with three classes of images, and random weights to start from."""
    tree = checkout(tmp_path_factory.mktemp("fine_tune") / "a checkout", "scripts", "tools")
    rng = np.random.default_rng(0)
    for number in range(96):
        pixels = rng.integers(0, 60, (32, 32, 3), np.uint8)
        pixels[..., number % 3] += 150
        path = tree / f"my images/{['red', 'green', 'blue'][number % 3]}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    shapes = load_netdef(ROOT / "prototxt/efficientnet_lite0_48/deploy.prototxt", "TEST")
    trunk = {
        name: [np.abs(rng.normal(0.5, 0.2, shape)).astype(np.float32) for shape in blobs]
        for name, blobs in shapes.param_shapes.items()
        if name not in ("latent", "classifier")
    }
    (tree / PRETRAINED).parent.mkdir(parents=True)
    write_weights(trunk, tree / PRETRAINED)
    return tree


def fine_tune(tree: Path, *arguments: str, **env: str) -> tuple[int, str]:
    return run(tree / "scripts/fine_tune.sh", *arguments, **env)


def test_images_become_a_model_that_hashes(tree: Path) -> None:
    code, output = fine_tune(tree, "run/mine", **TINY)
    assert code == 0, output
    first, second = (
        read_weights(tree / f"run/mine/{stage}/net_iter_{count}.caffemodel")
        for stage, count in ((1, 3), (2, 2))
    )
    kept = [np.array_equal(first[name][0], second[name][0]) for name in ("stem", "block2_project")]
    assert kept == [True, True]
    assert not np.array_equal(first["block3_expand"][0], second["block3_expand"][0])
    net = load_netdef(tree / "run/mine/deploy.prototxt", "TEST")
    assert net.param_shapes["latent"][0] == (48, 1280)
    command = output.splitlines()[-1].partition("tools/extract.py DIR ")[2].split()
    codes = tree / "codes.h5"
    done = subprocess.run(
        [sys.executable, "tools/extract.py", "my images", *command[:-1], codes],
        cwd=tree, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert codes.is_file()


def test_what_is_finished_stays(tree: Path) -> None:
    before = (tree / "run/mine/1/net_iter_3.caffemodel").stat().st_mtime_ns
    second = tree / "run/mine/2/net_iter_2.caffemodel"
    for path in (second, second.with_suffix(".solverstate")):
        path.unlink()
    code, output = fine_tune(tree, "run/mine", **TINY)
    assert code == 0, output
    assert (tree / "run/mine/1/net_iter_3.caffemodel").stat().st_mtime_ns == before
    assert "run 1" not in output and "run 2: 2 iterations" in output
    assert second.is_file()


def test_other_settings_never_go_on_with_what_is_there(tree: Path) -> None:
    code, output = fine_tune(tree, "run/mine", **{**TINY, "ITERATIONS": "3 3"})
    assert (code, output) == (
        2,
        "error: run/mine was begun with IMAGES=my images ITERATIONS=3 2 SIZES=32 64 64; "
        "set these, or name another OUT\n",
    )


def test_an_unknown_argument_is_an_error(tree: Path) -> None:
    assert fine_tune(tree, "--fast") == (
        2,
        "error: unknown argument --fast; see scripts/fine_tune.sh --help\n",
    )
