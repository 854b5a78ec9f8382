"""tools/make_net.py as a process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from bad_images import photo
from latenthash.dataset import Augment, build_lmdb
from latenthash.lmdb_store import DatumWriter
from latenthash.netdef import load_netdef
from latenthash.proto import read_solver

ROOT = Path(__file__).resolve().parent.parent


def make_net(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "tools/make_net.py"), *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
    )


def test_help_advises_on_bits_and_lists_the_nets() -> None:
    shown = " ".join(make_net("--help").stdout.split())
    assert "about 20 for up to a few hundred thousand images, 128 for millions" in shown
    assert all(name in shown for name in ("lenet", "quick", "alexnet", "vgg16", "vgg19"))
    assert "example: python tools/make_net.py" in shown


def test_writes_three_files_and_a_table(tmp_path: Path) -> None:
    done = make_net("--net", "quick", "--bits", "24", "--classes", "6", "-o", str(tmp_path / "n"))
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in (tmp_path / "n").iterdir()) == [
        "deploy.prototxt",
        "solver.prototxt",
        "train_val.prototxt",
    ]
    net = load_netdef(tmp_path / "n/deploy.prototxt", "TEST")
    assert (net.bits, net.classes) == (24, 6)
    assert read_solver(tmp_path / "n/solver.prototxt").net == str(tmp_path / "n/train_val.prototxt")
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("latent ")]
    assert row.split() == ["latent", "InnerProduct", "24", f"{256 * 24 + 24:,}"]
    assert "128 for millions" in done.stdout


def test_json(tmp_path: Path) -> None:
    arguments = ("--net", "alexnet", "--bits", "20", "--classes", "5", "-o", "n", "--json")
    report = json.loads(make_net(*arguments, cwd=tmp_path).stdout)
    assert report["name"] == "alexnet_20" and report["weights"] == "caffe_models/caffenet"
    assert report["files"] == [
        str(tmp_path / "n" / f"{name}.prototxt") for name in ("train_val", "deploy", "solver")
    ]
    rows = {row["name"]: row for row in report["layers"]}
    assert rows["conv1"]["shape"] == [96, 55, 55]
    assert rows["fc7"]["parameters"] == 4096 * 4096 + 4096


def test_the_shipped_net_is_there_already() -> None:
    before = (ROOT / "prototxt/lenet_48/solver.prototxt").read_bytes()
    assert make_net("--net", "lenet", "--bits", "48", "--classes", "10").returncode == 0
    assert (ROOT / "prototxt/lenet_48/solver.prototxt").read_bytes() == before


def test_another_net_needs_force(tmp_path: Path) -> None:
    arguments = ["--net", "lenet", "--bits", "8", "-o", str(tmp_path), "--classes"]
    assert make_net(*arguments, "10").returncode == 0
    refused = make_net(*arguments, "11")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1 and "another net is there" in refused.stderr
    assert load_netdef(tmp_path / "deploy.prototxt", "TEST").classes == 10
    assert make_net(*arguments, "11", "--force").returncode == 0
    assert load_netdef(tmp_path / "deploy.prototxt", "TEST").classes == 11


def test_numbers_of_images_come_from_the_data(tmp_path: Path) -> None:
    for split, count in (("train", 70), ("val", 21)):
        with DatumWriter(tmp_path / f"data/{split}_lmdb") as writer:
            for i in range(count):
                writer.put(f"{i:03}", np.zeros((2, 2, 3), np.uint8), 0)
    arguments = ("--net", "vgg19", "--bits", "8", "--classes", "5", "--data", "data", "-o", "n")
    assert make_net(*arguments, cwd=tmp_path).returncode == 0
    solver = read_solver(tmp_path / "n/solver.prototxt")
    assert list(solver.test_iter) == [3] and solver.max_iter == 3 * 3


def test_an_epoch_is_of_the_images_not_of_their_copies(tmp_path: Path) -> None:
    for label in range(2):
        (tmp_path / "in" / str(label)).mkdir(parents=True)
        for number in range(40):
            photo(24, 16, seed=100 * label + number).save(tmp_path / f"in/{label}/{number}.png")
    arguments = ("--net", "efficientnet_lite0", "--bits", "8", "--classes", "2", "--data")
    longest = []
    for augment in (None, Augment(zoom=0.5, copies=3)):
        build_lmdb(tmp_path / "in", tmp_path / "data", val_fraction=0.05, augment=augment)
        assert make_net(*arguments, "data", "-o", "n", "--force", cwd=tmp_path).returncode == 0
        longest.append(read_solver(tmp_path / "n/solver.prototxt").max_iter)
    assert longest == [10 * 2, 10 * 2]  # 76 images in batches of 64


def test_impossible_numbers_are_one_line(tmp_path: Path) -> None:
    done = make_net("--net", "lenet", "--bits", "0", "--classes", "9", "-o", str(tmp_path / "n"))
    assert done.returncode == 2
    assert done.stderr == "error: codes of 0 bits - choose 1 to 1024\n"
    assert not (tmp_path / "n").exists()


def test_a_net_for_features_alone(tmp_path: Path) -> None:
    """The shipped one is what the tool writes."""
    arguments = ("--net", "efficientnet_lite0", "--features", "--size")
    done = make_net(*arguments, "224", "-o", str(tmp_path))
    assert done.returncode == 0 and "\nfeature pool\n" in done.stdout
    written = (tmp_path / "deploy.prototxt").read_text()
    assert written == (ROOT / "prototxt/efficientnet_lite0/deploy.prototxt").read_text()
    report = json.loads(make_net(*arguments, "96", "-o", "n", "--json", cwd=tmp_path).stdout)
    assert report["files"] == [str(tmp_path / "n/deploy.prototxt")]
    assert report["layers"][0]["shape"] == [3, 96, 96]


def test_codes_need_bits_and_classes(tmp_path: Path) -> None:
    done = make_net("--net", "lenet", "--bits", "8", "-o", str(tmp_path / "n"))
    assert done.returncode == 2 and "--classes is missing" in done.stderr
