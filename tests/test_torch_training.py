"""Training with the torch engine: whole runs, and the parts of its solver by themselves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import tiny
from latenthash.engines import OnStep, Step, TrainingStopped, get_engine
from latenthash.errors import DataError, LatentHashError, NetError, StorageError
from latenthash.manifest import read_manifest
from latenthash.netdef import load_netdef
from latenthash.proto import read_binary
from latenthash.proto.caffe_pb2 import SolverState
from latenthash.train import train
from latenthash.weights import read_weights, write_weights

torch = pytest.importorskip("torch")

from latenthash.engines.torch import TorchEngine  # noqa: E402
from latenthash.engines.torch.graph import Graph  # noqa: E402
from latenthash.engines.torch.parameters import learnable_parameters  # noqa: E402
from latenthash.engines.torch.settings import read_settings  # noqa: E402

ROOT = Path(__file__).parent.parent
DROPOUT = 'layer { name: "drop" type: "Dropout" bottom: "codes" top: "codes" }\n'


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    tiny.write_lmdb(folder / "train_lmdb", tiny.TRAIN)
    tiny.write_lmdb(folder / "val_lmdb", tiny.VAL)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    for name in ("train_lmdb", "val_lmdb"):
        (tmp_path / name).symlink_to(made / name)
    monkeypatch.chdir(tmp_path)
    tiny.write_net(tmp_path)
    tiny.write_solver(tmp_path)
    return tmp_path


def solve(
    weights: Path | None = None,
    resume: Path | None = None,
    on_step: OnStep | None = None,
    precision: str = "float32",
    **settings: object,
) -> Path:
    solver = tiny.write_solver(Path(), **settings)
    return TorchEngine(1, precision).train(solver, weights, resume, on_step)


def interrupt_at(iteration: int) -> OnStep:
    """Interrupts the main thread, as Ctrl-C does."""

    def on_step(step: Step) -> None:
        if step.iteration == iteration and step.phase == "train":
            signal.raise_signal(signal.SIGINT)

    return on_step


# ---- whole runs


def write_lenet(folder: Path) -> Path:
    """The shipped LeNet with little data and few iterations; returns the solver."""
    tiny.write_lmdb(folder / "train_lmdb", 200, size=28)
    tiny.write_lmdb(folder / "val_lmdb", 40, size=28)
    shipped = ROOT / "prototxt/lenet_48"
    net = (shipped / "train_val.prototxt").read_text().replace("data/mnist/", "")
    net = net.replace("batch_size: 64", "batch_size: 20").replace(
        "batch_size: 100", "batch_size: 20"
    )
    (folder / "train_val.prototxt").write_text(net)
    (folder / "deploy.prototxt").write_text((shipped / "deploy.prototxt").read_text())
    return tiny.write_solver(
        folder, net='"train_val.prototxt"', base_lr=0.05, max_iter=60, snapshot=30,
        test_interval=30, snapshot_prefix='"run/lenet"',
    )  # fmt: skip


def test_lenet_from_lmdb_to_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    steps: list[Step] = []
    result = train(write_lenet(tmp_path), get_engine("torch", 2), on_step=steps.append)
    assert result.caffemodel == tmp_path / "run/lenet_iter_60.caffemodel"
    manifest = read_manifest(result.manifest, "train")
    assert (manifest["engine"], manifest["iterations"]) == ("torch", 60)
    lines = [json.loads(line) for line in result.log.read_text().splitlines()]
    assert [line["iteration"] for line in lines if line["phase"] == "test"] == [0, 30, 60]
    assert result.curves.stat().st_size > 1000
    losses = [step.values["loss"] for step in steps if step.phase == "train"]
    assert losses[-1] < 0.1 * losses[0]
    assert result.final["accuracy"] == 1.0
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {
        f"lenet_iter_{n}.{kind}" for n in (30, 60) for kind in ("caffemodel", "solverstate")
    } <= names
    assert not [name for name in names if name.endswith((".partial", ".probe"))]


def test_an_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    solver = write_lenet(tmp_path)
    with pytest.raises(TrainingStopped) as caught:
        train(solver, get_engine("torch", 2), on_step=interrupt_at(10))
    stopped = caught.value
    assert (stopped.iteration, stopped.state.name) == (11, "lenet_iter_11.solverstate")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    steps: list[Step] = []
    result = train(solver, get_engine("torch", 2), resume=stopped.state, on_step=steps.append)
    assert steps[0].iteration == 11
    assert result.iterations == 60
    assert read_manifest(result.manifest, "train")["resumed"] == str(stopped.state)


def test_ctrl_c_on_the_tool(tmp_path: Path) -> None:
    tiny.write_all(tmp_path)
    tiny.write_solver(tmp_path, max_iter=1_000_000, display=100, test_interval=1_000_000)
    command = [sys.executable, ROOT / "tools/train.py", "--solver", "solver.prototxt"]
    process = subprocess.Popen(
        [*command, "--engine", "torch", "--threads", "1"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = tmp_path / "run/train_log.jsonl"
    for _ in range(600):
        if log.exists() and len(log.read_text().splitlines()) > 2:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    state = errors.split("--resume ")[-1].split()[0]
    assert (tmp_path / state).is_file()


def test_same_seed_same_weights(folder: Path) -> None:
    tiny.write_net(
        folder,
        tiny.body().replace('layer { name: "classifier"', DROPOUT + 'layer { name: "classifier"'),
    )
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = solve().read_bytes()
    assert torch.equal(torch.random.get_rng_state(), before), "the caller's numbers changed"
    assert solve().read_bytes() == first
    assert solve(random_seed=2).read_bytes() != first


def test_weights_are_taken_and_the_rest_is_fresh(folder: Path) -> None:
    given = read_weights(solve())
    given["ip1"][0][:] = 0.5
    del given["classifier"]
    write_weights(given, Path("given.caffemodel"))
    frozen = read_weights(solve(Path("given.caffemodel"), base_lr=0.0))
    for layer, arrays in given.items():
        for array, expected in zip(frozen[layer], arrays, strict=True):
            np.testing.assert_array_equal(array, expected)
    assert frozen["classifier"][0].std() > 0


def test_resume_equals_uninterrupted(folder: Path) -> None:
    """At iteration 8 the 40 images were read twice, so that both read from the start."""
    whole = solve().read_bytes()
    assert solve(resume=Path("run/tiny_iter_8.solverstate")).read_bytes() == whole


def test_two_test_nets(folder: Path) -> None:
    """The second has a layer of its own, which starts from its filler."""
    text = Path("net.prototxt").read_text()
    own = tiny.inner_product("own", "codes", 3).replace(
        "inner_product_param", "include { phase: TEST } inner_product_param", 1
    )
    Path("test.prototxt").write_text(text + own)
    steps: list[Step] = []
    solve(on_step=steps.append, test_net='"test.prototxt"', test_iter="[2, 1]", snapshot=0)
    [first, *_, last] = [step for step in steps if step.phase == "test"]
    assert "net1/accuracy" in last.values or "accuracy" in last.values
    tests = [step for step in steps if step.phase == "test" and step.iteration == 20]
    assert [sorted(step.values)[0] for step in tests] == ["accuracy", "net1/accuracy"]
    assert "own[1]" in tests[0].values
    assert tests[0].values["accuracy"] > first.values["accuracy"] - 1e-6
    assert tests[1].values["net1/accuracy"] == 1.0


def test_bfloat16_learns_too_and_keeps_float32_weights(folder: Path) -> None:
    found = {}
    for precision in ("float32", "bfloat16"):
        steps: list[Step] = []
        end = read_weights(solve(on_step=steps.append, precision=precision, max_iter=30))
        found[precision] = ([s.values["loss"] for s in steps if s.phase == "train"], end)
    (exact, weights), (near, others) = found["float32"], found["bfloat16"]
    np.testing.assert_allclose(near, exact, rtol=0.1, atol=0.02)
    assert near != exact
    for layer, blobs in weights.items():
        np.testing.assert_allclose(others[layer][0], blobs[0], atol=0.1 * np.abs(blobs[0]).max())
    bits = others["ip1"][0].view(np.uint32)
    assert np.any(bits & 0xFFFF), "weights were cut to bfloat16"


# ---- what is interrupted or fails


def test_keyboard_interrupt_of_the_caller(folder: Path) -> None:
    def on_step(step: Step) -> None:
        if step.iteration == 5:
            raise KeyboardInterrupt

    with pytest.raises(TrainingStopped) as caught:
        solve(on_step=on_step)
    assert (caught.value.iteration, caught.value.state) == (6, Path("run/tiny_iter_6.solverstate"))
    assert solve(resume=caught.value.state).is_file()


def test_a_second_ctrl_c_does_not_wait(folder: Path) -> None:
    def on_step(step: Step) -> None:
        signal.raise_signal(signal.SIGINT)
        assert threading.active_count() > 1, "the loader's threads"
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
        raise AssertionError("was not interrupted")

    with pytest.raises(KeyboardInterrupt):
        solve(on_step=on_step)


def test_stopped_in_the_first_test(folder: Path) -> None:
    def on_step(step: Step) -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(TrainingStopped) as caught:
        solve(on_step=on_step)
    assert caught.value.iteration == 0
    assert solve(resume=caught.value.state).is_file()


def test_in_another_thread(folder: Path) -> None:
    found: list[Path] = []
    thread = threading.Thread(target=lambda: found.append(solve()))
    thread.start()
    thread.join()
    assert found == [Path("run/tiny_iter_20.caffemodel")]


def test_error_of_the_caller_ends_all_threads(folder: Path) -> None:
    before = threading.active_count()

    def on_step(step: Step) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        solve(on_step=on_step)
    assert threading.active_count() == before


@pytest.fixture
def disk(folder: Path) -> Iterator[Path]:
    """A file system of 64 KiB for the snapshots."""
    place = folder / "run"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("form", ["BINARYPROTO", "HDF5"])
def test_a_full_disk_leaves_the_last_snapshot_whole(disk: Path, form: str) -> None:
    with pytest.raises(StorageError, match="the disk is full"):
        solve(snapshot=1, max_iter=60, snapshot_format=form)
    states = sorted(disk.glob("*.solverstate*"), key=lambda path: path.stat().st_mtime_ns)
    assert states
    assert not list(disk.glob("*.partial"))
    for path in states[:-1]:
        path.unlink()
    iteration = int(states[-1].name.split("_")[-1].split(".")[0])
    end = solve(resume=states[-1], max_iter=iteration + 1, snapshot_prefix='"other/tiny"')
    assert end.is_file()


def test_prefix_that_cannot_be_written(folder: Path) -> None:
    Path("run").write_text("a file")
    with pytest.raises(StorageError, match="something else is there"):
        solve()


@pytest.mark.parametrize(
    ("change", "kind", "match"),
    [
        (("train_lmdb", "none_lmdb"), DataError, "none_lmdb: no such folder"),
        (('"InnerProduct"', '"Foo"'), NetError, "'Foo' is not supported"),
        (('bottom: "codes"', 'bottom: "nothing"'), NetError, "bottom 'nothing'"),
        (('"xavier"', '"zavier"'), NetError, "no filler named 'zavier' - choose one of const"),
        (('top: "loss"', 'top: "loss" loss_weight: [1, 2]'), NetError, "2 loss_weight, 1 tops"),
        (('top: "loss"', 'top: "loss" loss_weight: 0'), NetError, "no loss in phase TRAIN"),
        (
            ('type: "Data" top: "data" top: "label" include { phase: TRAIN }',
             'type: "DummyData" top: "data" top: "label" include { phase: TRAIN } '
             "dummy_data_param { shape { dim: [10, 1, 8, 8] } shape { dim: 10 } }"),
            NetError,
            "brings data in as DummyData",
        ),
    ],
)  # fmt: skip
def test_bad_nets(
    folder: Path, change: tuple[str, str], kind: type[LatentHashError], match: str
) -> None:
    net = Path("net.prototxt")
    assert change[0] in net.read_text()
    net.write_text(net.read_text().replace(*change))
    with pytest.raises(kind, match=match) as caught:
        solve()
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"type": '"SDG"'}, r"no solver type named 'SDG' - choose one of SGD, .*Adam"),
        ({"type": '"SGD"', "solver_type": "ADAM"}, "solver_type and type"),
        ({"lr_policy": '"stepp"'}, "no lr_policy named 'stepp'"),
        ({"lr_policy": None}, "no lr_policy named ''"),
        ({"lr_policy": '"step"'}, "without stepsize"),
        ({"type": '"AdaGrad"'}, "AdaGrad with momentum 0.9"),
        ({"type": '"RMSProp"', "momentum": 0, "rms_decay": 1}, "rms_decay is 1"),
        ({"weight_decay": 0.1, "regularization_type": '"L3"'}, "regularization_type named 'L3'"),
        ({"max_itre": 3}, "no field named .max_itre"),
        ({"net_param": '{ name: "x" }'}, "has net_param"),
        ({"test_state": '{ stage: "x" }'}, "has test_state"),
        ({"snapshot_diff": "true"}, "has snapshot_diff"),
        ({"debug_info": "true"}, "has debug_info"),
        ({"net": None}, "must name its net, once"),
        ({"iter_size": 0}, "iter_size is 0"),
        ({"test_interval": None}, "test_iter but no test_interval"),
        ({"test_net": '["a", "b"]'}, "2 test nets and 1 test_iter"),
        ({"snapshot": 0, "snapshot_after_train": "false"}, "makes no snapshot"),
    ],
)
def test_settings_that_cannot_be_honoured(
    folder: Path, settings: dict[str, object], match: str
) -> None:
    with pytest.raises(NetError, match=match) as caught:
        solve(**settings)
    assert "solver.prototxt" in str(caught.value)


def test_the_old_way_to_name_a_solver(folder: Path) -> None:
    assert (
        read_settings(tiny.write_solver(folder, solver_type="RMSPROP", momentum=0)).type
        == "RMSProp"
    )
    assert read_settings(tiny.write_solver(folder)).type == "SGD"


def test_states_that_do_not_fit(folder: Path) -> None:
    solve()
    state = Path("run/tiny_iter_8.solverstate")
    with pytest.raises(NetError, match="does not fit the net or solver type Adam"):
        solve(resume=state, type='"Adam"')
    Path("run/tiny_iter_8.caffemodel").unlink()
    with pytest.raises(NetError, match=r"tiny_iter_8\.caffemodel: No such file"):
        solve(resume=state)
    Path("bad.solverstate.h5").write_bytes(b"no HDF5")
    with pytest.raises(NetError, match="is no solver state"):
        solve(resume=Path("bad.solverstate.h5"))
    with pytest.raises(NetError, match=r"none\.solverstate\.h5: no such file"):
        solve(resume=Path("none.solverstate.h5"))


def test_weights_that_do_not_fit(folder: Path) -> None:
    write_weights({"ip1": [np.zeros((5, 64), np.float32)]}, Path("w.caffemodel"))
    with pytest.raises(NetError, match=r"w\.caffemodel: ip1: 5x64 in file, 6x64 \+ 6 in net"):
        solve(Path("w.caffemodel"))


# ---- parts


def test_the_state_holds_what_caffe_puts_there(folder: Path) -> None:
    solve(type='"Adam"', lr_policy='"step"', stepsize=6, gamma=0.5)
    state = read_binary(Path("run/tiny_iter_20.solverstate"), SolverState())
    assert (state.iter, state.current_step) == (20, 3)
    assert state.learned_net == "run/tiny_iter_20.caffemodel"
    shapes = [tuple(blob.shape.dim) for blob in state.history]
    assert shapes == [(6, 64), (6,), (8, 6), (8,), (2, 8), (2,)] * 2


def net_of(folder: Path, layers: str) -> Graph:
    return Graph(load_netdef(tiny.write_deploy(folder / "net.prototxt", layers), "TEST"))


def test_what_is_frozen_costs_no_backward_pass(tmp_path: Path) -> None:
    frozen = tiny.body().replace(
        '"ip1" type', '"ip1" param { lr_mult: 0 } param { lr_mult: 0 } type'
    )
    graph = net_of(tmp_path, frozen)
    assert [one.lr_mult for one in learnable_parameters(graph)] == [0, 0, 1, 1, 1, 1]
    blobs = graph({"data": torch.rand(2, 1, 8, 8)}, ["ip1", "codes"])
    assert not blobs["ip1"].requires_grad
    assert blobs["codes"].requires_grad


def test_propagate_down_stops_the_gradient(tmp_path: Path) -> None:
    graph = net_of(
        tmp_path, tiny.body().replace('"latent" type', '"latent" propagate_down: false type')
    )
    learnable_parameters(graph)
    graph({"data": torch.rand(2, 1, 8, 8)}, ["classifier"])["classifier"].sum().backward()
    assert graph.blobs["ip1"][0].grad is None
    assert graph.blobs["latent"][0].grad is not None


def shared(first: str, second: str) -> str:
    return "".join(
        f'layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{name}" '
        f'param {{ name: "w" {more} }} '
        "inner_product_param { num_output: 64 bias_term: false } }\n"
        for name, bottom, more in (("a", "data", first), ("b", "a", second))
    )


def test_shared_parameters_are_one(tmp_path: Path) -> None:
    [one] = learnable_parameters(net_of(tmp_path, shared("", "lr_mult: 2 decay_mult: 3")))
    assert (one.lr_mult, one.decay_mult) == (2, 3)
    with pytest.raises(NetError, match=r"'b' has lr_mult 2.0 .* another layer 1.0"):
        learnable_parameters(net_of(tmp_path, shared("lr_mult: 1", "lr_mult: 2")))


def test_shared_parameters_of_two_shapes(tmp_path: Path) -> None:
    with pytest.raises(NetError, match=r"layer 'b' has weights \[\(9, 64\)\], what it shares"):
        net_of(tmp_path, shared("", "").replace("64", "9").replace("9", "64", 1))


def test_first_values_of_other_layers(folder: Path) -> None:
    layers = (
        'layer { name: "p" type: "PReLU" bottom: "data" top: "p" }\n'
        'layer { name: "s" type: "Scale" bottom: "p" top: "s" scale_param { bias_term: true } }\n'
        'layer { name: "b" type: "Bias" bottom: "s" top: "b" '
        "bias_param { filler { value: 2 } } }\n"
        'layer { name: "n" type: "BatchNorm" bottom: "b" top: "n" }\n'
    ) + tiny.body().replace('bottom: "data"', 'bottom: "n"')
    tiny.write_net(folder, layers)
    weights = read_weights(solve(base_lr=0.0, max_iter=1, snapshot=0, display=0))
    first = {name: [float(blob.ravel()[0]) for blob in weights[name]] for name in "psb"}
    assert first == {"p": [0.25], "s": [1.0, 0.0], "b": [2.0]}
    assert weights["n"][2] == 1  # one batch was seen
