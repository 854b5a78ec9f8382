"""Training: what is checked first, and what a run leaves behind."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tiny
from caffe_oracle import run_caffe
from latenthash.engines import Step, TrainingStopped, get_engine
from latenthash.errors import DataError, LatentHashError, NetError, StorageError
from latenthash.files import sha256
from latenthash.images import Preprocess, prepare
from latenthash.lmdb_store import DatumReader
from latenthash.manifest import read_manifest
from latenthash.proto import write_mean
from latenthash.train import make_plan, train
from latenthash.train.effective import snapshot_prefix
from latenthash.weights import read_weights, write_weights

TOOL = Path(__file__).parent.parent / "tools/train.py"
SHAPES = {"ip1": (6, 64), "latent": (8, 6), "classifier": (2, 8)}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    tiny.write_all(folder)
    return folder


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    """The working directory: a copy of a run that could start."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def weights_file(path, shapes=SHAPES):
    weights = {
        name: [np.ones(s, np.float32), np.ones(s[0], np.float32)] for name, s in shapes.items()
    }
    write_weights(weights, Path(path))
    return Path(path)


def plan(weights=None, resume=None, **settings):
    return make_plan(tiny.write_solver(Path(), **settings), weights, resume)


def refused(kind, match, weights=None, resume=None, **settings):
    """The plan is refused in one line with a remedy, and nothing is written."""
    with pytest.raises(kind, match=match) as caught:
        plan(weights, resume, **settings)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)
    assert not Path("run").exists()


# ---- what is checked


def test_plan(folder):
    found = plan()
    assert found.parameters == 64 * 6 + 6 + 6 * 8 + 8 + 8 * 2 + 2
    assert [(data.phase, len(data.labels)) for data in found.data] == [("TRAIN", 40), ("TEST", 20)]
    assert found.start == 0
    lines = "\n".join(found.describe())
    assert "train: 40 images (1, 8, 8)" in lines
    assert "fresh: ip1, latent, classifier" in lines


def test_paths_count_from_the_folder_of_the_file_too(folder, tmp_path_factory, monkeypatch):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    found = make_plan(folder / "solver.prototxt")
    assert found.nets == {"net": folder / "net.prototxt"}
    assert found.data[0].source == folder / "train_lmdb"
    # the working directory comes first, as in Caffe
    shutil.copytree(folder / "val_lmdb", "train_lmdb")
    assert len(make_plan(folder / "solver.prototxt").data[0].labels) == 20


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"net": '"nowhere.prototxt"'}, r"nowhere.prototxt: no such net .*looked in"),
        ({"net": None}, "must name its net"),
        ({"train_net": '"net.prototxt"'}, "must name its net, once"),
        ({"net": None, "net_param": '{ name: "x" }'}, "has net_param"),
        ({"max_iter": 0}, "max_iter is 0"),
        ({"test_interval": None}, "no test_interval"),
        ({"lr_policy": '"step"'}, "without stepsize"),
        ({"max_itre": "{ {"}, "solver.prototxt"),
    ],
)
def test_solver(folder, settings, match):
    refused(NetError, match, **settings)


def test_missing_solver(folder):
    with pytest.raises(NetError, match=r"none.prototxt"):
        make_plan(Path("none.prototxt"))


def test_net_without_data(folder):
    net = Path("net.prototxt")
    net.write_text(net.read_text().replace("phase: TRAIN", "phase: TEST", 1))
    refused(NetError, "net.prototxt")


def test_leveldb(folder):
    net = Path("net.prototxt")
    net.write_text(net.read_text().replace("backend: LMDB", "", 1))
    refused(NetError, "layer 'data' .TRAIN.: reads LevelDB")


def test_missing_lmdb(folder):
    shutil.rmtree("val_lmdb")
    refused(DataError, r"val_lmdb: no such LMDB \(named in .*net.prototxt")


def test_empty_lmdb(folder):
    shutil.rmtree("val_lmdb")
    tiny.write_lmdb(Path("val_lmdb"), 0)
    refused(DataError, "val_lmdb: is empty")


def test_lmdb_of_something_else(folder):
    (folder / "train_lmdb/data.mdb").write_bytes(b"no LMDB" * 1000)
    refused(DataError, "train_lmdb")


def test_lmdb_of_another_size(folder):
    shutil.rmtree("val_lmdb")
    tiny.write_lmdb(Path("val_lmdb"), 20, size=9)
    refused(NetError, r"layer 'ip1' has weights .*81.* in TEST, .*64.* in TRAIN")


def test_too_many_labels(folder):
    shutil.rmtree("train_lmdb")
    tiny.write_lmdb(Path("train_lmdb"), 40, classes=3)
    refused(DataError, r"train_lmdb: has labels 0 to 2, .*2 outputs - set num_output to 3")


def test_too_many_labels_for_a_classifier_of_another_name(folder):
    tiny.write_net(folder, tiny.body(classes=1))
    net = Path("net.prototxt")
    net.write_text(net.read_text().replace('"classifier"', '"fc8"'))
    refused(DataError, r"labels 0 to 1, 'fc8' .* has 1 outputs")


def test_crop_larger_than_the_images(folder):
    tiny.write_net(folder, transform="crop_size: 9")
    refused(DataError, "crop_size 9, its images are 8x8")


def test_mean(folder):
    write_mean(np.zeros((1, 8, 9), np.float32), Path("mean.binaryproto"))
    tiny.write_net(folder, transform='mean_file: "mean.binaryproto"')
    refused(DataError, r"mean.binaryproto: a mean of shape \(1, 8, 9\)")
    Path("mean.binaryproto").write_bytes(b"\xff\xff")
    refused(DataError, "mean.binaryproto")
    Path("mean.binaryproto").unlink()
    refused(DataError, r"mean.binaryproto: no such mean file \(named in")
    tiny.write_net(folder, transform="mean_value: 1 mean_value: 2")
    refused(NetError, "2 mean_value for 1 channels")


def test_mean_file_and_values(folder):
    write_mean(np.zeros((1, 8, 8), np.float32), Path("mean.binaryproto"))
    tiny.write_net(folder, transform='mean_file: "mean.binaryproto" mean_value: 1')
    refused(NetError, "mean_file and mean_value")


def test_weights(folder):
    found = plan(weights_file("w.caffemodel", {"ip1": (6, 64), "latent": (8, 6), "fc8": (5, 8)}))
    assert found.fit.taken == ["ip1", "latent"]
    assert "fresh: classifier" in found.describe()
    assert "unused: fc8" in found.describe()
    refused(
        NetError,
        r"latent: 9x6 \+ 9 in file, 8x6 \+ 8 in net - rename",
        weights=weights_file("x.caffemodel", {"ip1": (6, 64), "latent": (9, 6)}),
    )
    refused(NetError, "shares no layer", weights=weights_file("y.caffemodel", {"fc8": (5, 8)}))
    refused(NetError, "none.caffemodel", weights=Path("none.caffemodel"))
    refused(NetError, "at once", weights=Path("w.caffemodel"), resume=Path("x.solverstate"))


# ---- what a run writes


def test_effective_files(folder, caplog):
    text = Path("solver.prototxt").read_text()
    assert "net.prototxt" in text
    net = Path("net.prototxt")
    net.write_text(net.read_text() + "# kept\nlayer_of_a_fork { alpha: 1 }\n")
    solver = tiny.write_solver(
        folder, random_seed=None, display=0, solver_mode="GPU", max_iter=1000
    )
    result = train(solver, get_engine("fake"), output=Path("out"), seed=5)
    effective = Path("out/effective_solver.prototxt").read_text()
    for line in (
        f'net: "{folder}/out/effective_net.prototxt"',
        f'snapshot_prefix: "{folder}/out/tiny"',
        "random_seed: 5",
        "display: 5",
        "solver_mode: CPU",
        "snapshot_after_train: true",
        "base_lr: 0.1",
    ):
        assert line in effective.splitlines()
    text = Path("out/effective_net.prototxt").read_text()
    assert f'source: "{folder}/train_lmdb"' in text
    assert "# kept\nlayer_of_a_fork { alpha: 1 }" in text
    assert "asks for a GPU" in caplog.text
    assert read_manifest(result.manifest, "train")["seed"] == 5
    assert Path("solver.prototxt").read_text() == solver.read_text()


@pytest.mark.parametrize(
    ("stated", "output", "expected"),
    [
        ('"a/b"', None, "a/b"),
        ('"a/"', None, "a/net"),
        (None, None, "snapshots/net"),
        ('"a/b"', Path("c"), "c/b"),
        (None, Path("c"), "c/net"),
    ],
)
def test_snapshot_prefix(folder, stated, output, expected):
    found = plan(snapshot_prefix=stated, snapshot=0)
    assert snapshot_prefix(found, output) == folder / expected


def test_no_room(folder, monkeypatch):
    """Two snapshots before the end and one at it, weights and momentum each."""
    asked = []
    monkeypatch.setattr(
        "latenthash.train.plan.require_room", lambda path, needed: asked.append(needed)
    )
    train(tiny.write_solver(folder), get_engine("fake"))
    assert asked == [3 * 2 * 4 * plan().parameters]
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    monkeypatch.setattr("shutil.disk_usage", lambda path: shutil._ntuple_diskusage(10, 5, 5))
    with pytest.raises(StorageError, match="run/tiny: needs"):
        train(Path("solver.prototxt"), get_engine("fake"))


def test_manifest(folder):
    mean = np.random.default_rng(0).random((1, 8, 8)).astype(np.float32)
    write_mean(mean, Path("mean.binaryproto"))
    tiny.write_net(folder, transform='scale: 0.5 crop_size: 6 mean_file: "mean.binaryproto"')
    tiny.write_deploy(Path("deploy.prototxt"), size=6)
    weights = weights_file("w.caffemodel", {"latent": (8, 6)})
    result = train(Path("solver.prototxt"), get_engine("fake"), weights=weights)
    manifest = read_manifest(result.manifest, "train")
    assert result.manifest.name == result.caffemodel.name + ".json"
    assert manifest["caffemodel_sha256"] == sha256(result.caffemodel)
    assert manifest["weights"] == {"file": str(folder / weights), "sha256": sha256(weights)}
    assert manifest["nets"]["net"]["sha256"] == sha256(Path("net.prototxt"))
    assert manifest["solver"]["sha256"] == sha256(Path("solver.prototxt"))
    assert manifest["engine"] == "fake"
    assert manifest["final"]["test"] == {"accuracy": 0.9, "loss": 0.1}
    lmdb_manifest = json.loads(Path("val_lmdb/manifest.json").read_text())
    assert manifest["data"][1]["content_sha256"] == lmdb_manifest["sha256"]
    preprocess = Preprocess.from_json(manifest["preprocess"], result.manifest.parent)
    assert (preprocess.channels, preprocess.resize, preprocess.crop) == (1, (8, 8), (6, 6))
    assert preprocess.scale == 0.5
    np.testing.assert_array_equal(preprocess.mean, mean)
    assert Path("run/deploy.prototxt").read_text() == Path("deploy.prototxt").read_text()


def test_one_mean_value_counts_for_each_channel(folder):
    for name in ("train_lmdb", "val_lmdb"):
        shutil.rmtree(name)
        tiny.write_lmdb(Path(name), 20, channels=3)
    tiny.write_net(folder, transform="mean_value: 104")
    assert plan().data[1].preprocess.mean == (104.0, 104.0, 104.0)


class Scripted:
    """An engine whose training reports these steps and then fails, or not."""

    name = "scripted"

    def __init__(self, steps, error=None):
        self.steps, self.error = steps, error

    def train(self, solver, weights=None, resume=None, on_step=None):
        for step in self.steps:
            on_step(step)
        if self.error:
            raise self.error
        return weights_file(Path(solver).with_name("end.caffemodel"))


def test_caffemodel_that_was_cut_short(folder):
    class FullDisk(Scripted):
        def train(self, *args):
            path = super().train(*args)
            path.write_bytes(path.read_bytes()[:-50])
            return path

    with pytest.raises(StorageError, match=r"end.caffemodel: was not written whole"):
        train(Path("solver.prototxt"), FullDisk([]))
    assert train(Path("solver.prototxt"), Scripted([])).manifest.is_file()


def test_log_and_curves_of_a_run_that_fails(folder, caplog):
    steps = [Step(i, 20, "train", {"loss": v}, 0.1) for i, v in enumerate([1.0, float("nan")])]
    with pytest.raises(ZeroDivisionError):
        train(Path("solver.prototxt"), Scripted(steps, ZeroDivisionError()))
    lines = [json.loads(line) for line in Path("run/train_log.jsonl").read_text().splitlines()]
    assert [line["values"]["loss"] for line in lines] == [1.0, None]
    assert Path("run/training.png").stat().st_size > 1000
    assert "iteration 1: the loss is not finite; lower base_lr" in caplog.text


def test_a_resumed_log_drops_what_is_done_again(folder):
    from latenthash.train.record import StepLog

    log = StepLog(Path("log.jsonl"), 0)
    for iteration in (0, 5, 10, 15):
        log.add(Step(iteration, 20, "train", {"loss": 1.0}, 0.1))
    with Path("log.jsonl").open("a") as file:
        file.write('{"iteration": 20, "cut o')
    StepLog(Path("log.jsonl"), 10).add(Step(10, 20, "train", {"loss": 2.0}, 0.1))
    lines = [json.loads(line) for line in Path("log.jsonl").read_text().splitlines()]
    assert [(line["iteration"], line["values"]["loss"]) for line in lines] == [
        (0, 1.0),
        (5, 1.0),
        (10, 2.0),
    ]


# ---- real Caffe


@pytest.mark.caffe
def test_end_to_end(folder, caplog):
    caplog.set_level(logging.INFO)
    steps = []
    engine = get_engine("caffe", 1)
    result = train(Path("solver.prototxt"), engine, on_step=steps.append)
    assert result.caffemodel == folder / "run/tiny_iter_20.caffemodel"
    assert result.final["accuracy"] == 1.0
    assert result.iterations == 20
    assert len(result.log.read_text().splitlines()) == len(steps) == 21 + 3
    assert "fresh: ip1, latent, classifier" in caplog.text
    with engine.load(Path("run/deploy.prototxt"), result.caffemodel) as net:
        batch = np.zeros((2, 1, 8, 8), np.float32)
        assert net.forward(batch, ["codes"])["codes"].shape == (2, 8)


_DATA = """
import numpy as np, _caffe
net = _caffe.Net("net.prototxt", 1)
net._forward(0, 0)
np.save("fed.npy", net._blobs[0].data)
"""


@pytest.mark.caffe
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("encoding", ["raw", "png"])
@pytest.mark.parametrize("mean", ["file", "values", None])
def test_extraction_feeds_what_the_test_phase_fed(folder, channels, encoding, mean):
    """The preprocessing in the plan, on the LMDB's images, against Caffe's Data layer.

    Encoded images with a crop and a mean file need the check that our build lifts.
    """
    for name in ("train_lmdb", "val_lmdb"):
        shutil.rmtree(name)
        tiny.write_lmdb(Path(name), 10, channels=channels, encoding=encoding)
    image = np.random.default_rng(1).random((channels, 8, 8)).astype(np.float32) * 200
    write_mean(image, Path("mean.binaryproto"))
    means = {"file": 'mean_file: "mean.binaryproto"', "values": "mean_value: 9.5", None: ""}
    tiny.write_net(folder, transform=f"crop_size: 5 scale: 0.25 {means[mean]}")
    preprocess = plan().data[1].preprocess
    with DatumReader(Path("val_lmdb")) as reader:
        ours = [prepare(pixels.transpose(1, 2, 0), preprocess) for _, pixels, _ in reader]
    run_caffe(_DATA, cwd=folder)
    np.testing.assert_array_equal(np.stack(ours), np.load("fed.npy"))


@pytest.mark.caffe
def test_fine_tune_and_resume(folder):
    """Elsewhere than in the working directory, with weights that stay as they are given."""
    engine = get_engine("caffe", 1)
    weights = weights_file("w.caffemodel", {"ip1": (6, 64)})
    solver = tiny.write_solver(folder, base_lr=0)
    result = train(solver, engine, weights=weights, output=Path("one"))
    assert (read_weights(result.caffemodel)["ip1"][0] == 1).all()
    state = Path("one/tiny_iter_8.solverstate")
    resumed = train(solver, engine, resume=state, output=Path("two"))
    assert resumed.caffemodel.read_bytes() == result.caffemodel.read_bytes()
    first = json.loads(resumed.log.read_text().splitlines()[0])
    assert first["iteration"] == 8
    refuse = {"resume": Path("one/tiny_iter_20.solverstate")}
    refused(NetError, "is at iteration 20 of 20", **refuse)
    tiny.write_net(folder, tiny.body(bits=9))
    refused(NetError, "tiny_iter_8.caffemodel: latent: 8x6", resume=state)
    Path("one/tiny_iter_8.caffemodel").unlink()
    refused(DataError, r"tiny_iter_8.caffemodel: no such file .*put it back", resume=state)
    state.write_bytes(b"\xff\xff\xff")
    refused(NetError, "tiny_iter_8.solverstate", resume=state)


@pytest.mark.caffe
def test_hdf5_snapshots(folder):
    engine = get_engine("caffe", 1)
    solver = tiny.write_solver(folder, snapshot_format="HDF5")
    result = train(solver, engine)
    assert result.caffemodel.name == "tiny_iter_20.caffemodel.h5"
    resumed = train(solver, engine, resume=Path("run/tiny_iter_8.solverstate.h5"), output=Path("b"))
    for layer, arrays in read_weights(result.caffemodel).items():
        for one, other in zip(arrays, read_weights(resumed.caffemodel)[layer], strict=True):
            np.testing.assert_array_equal(one, other)
    Path("broken.h5").write_bytes(b"no HDF5")
    with pytest.raises(NetError, match=r"broken.h5: is no solver state"):
        make_plan(solver, resume=Path("broken.h5"))


def tool(*arguments):
    command = [sys.executable, str(TOOL), "--engine", "caffe", "--threads", "1", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.caffe
def test_tool(folder):
    done = tool("--solver", "solver.prototxt", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["final"]["accuracy"] == 1.0
    assert Path(report["caffemodel"]).is_file()
    assert "fresh: ip1, latent, classifier\nengine: caffe\n" in done.stderr
    assert "20/20" in done.stderr
    done = tool("--solver", "solver.prototxt")
    assert "accuracy   1.0000" in done.stdout


def test_tool_refuses_in_one_line(folder):
    done = tool("--solver", "none.prototxt")
    assert done.returncode == 2
    assert done.stderr.startswith("error: none.prototxt: No such file")
    assert done.stderr.count("\n") == 1


@pytest.mark.caffe
def test_ctrl_c_in_the_tool(folder):
    """Ctrl-C reaches the tool's whole process group, as a terminal sends it."""
    tiny.write_solver(
        folder, snapshot=0, max_iter=200_000_000, display=1000, test_interval=10_000_000
    )
    arguments = ["--engine", "caffe", "--threads", "1", "--solver", "solver.prototxt"]
    command = [sys.executable, str(TOOL), *arguments]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        log = Path("run/train_log.jsonl")
        while process.poll() is None and not (log.exists() and '"train"' in log.read_text()):
            pass
        os.killpg(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    last = stderr.splitlines()[-1]
    assert last.startswith("stopped at iteration ")
    resume = last.rpartition("--resume ")[2]
    assert Path(resume).is_file()
    assert Path("run/training.png").is_file()
    iteration = int(last.split()[3].rstrip(";"))
    tiny.write_solver(folder, max_iter=iteration + 20)
    assert tool("--solver", "solver.prototxt", "--resume", resume).returncode == 0


@pytest.mark.caffe
def test_interrupt_keeps_log_and_curves(folder):
    def on_step(step):
        if step.iteration >= 5:
            signal.raise_signal(signal.SIGINT)

    solver = tiny.write_solver(folder, max_iter=2_000_000, display=1, test_interval=1_000_000)
    with pytest.raises(TrainingStopped):
        train(solver, get_engine("caffe", 1), on_step=on_step)
    assert Path("run/training.png").is_file()
    assert not issubclass(TrainingStopped, LatentHashError)
