"""Caffe's solver in its child process, without the checks of `latenthash.train`."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import tiny
from latenthash.engines import TrainingStopped, get_engine
from latenthash.errors import DataError, EngineError, NetError, StorageError
from latenthash.weights import read_weights, write_weights

pytestmark = pytest.mark.caffe


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    tiny.write_all(folder)
    return folder


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    """The working directory: data, net and solver of its own."""
    for name in ("train_lmdb", "val_lmdb"):
        (tmp_path / name).symlink_to(made / name)
    tiny.write_net(tmp_path)
    tiny.write_solver(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def solve(weights=None, resume=None, on_step=None, **settings):
    solver = tiny.write_solver(Path(), **settings)
    return get_engine("caffe", 1).train(solver, weights, resume, on_step)


def children():
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def assert_same_weights(one, other):
    first, second = read_weights(one), read_weights(other)
    assert first.keys() == second.keys()
    for layer in first:
        for a, b in zip(first[layer], second[layer], strict=True):
            np.testing.assert_array_equal(a, b)


def test_to_the_end(folder):
    steps = []
    assert solve(on_step=steps.append) == Path("run/tiny_iter_20.caffemodel")
    assert [step.iteration for step in steps if step.phase == "train"] == [0, 5, 10, 15, 20]
    tests = [step for step in steps if step.phase == "test"]
    assert [step.iteration for step in tests] == [0, 10, 20]
    assert tests[-1].values["accuracy"] == 1.0
    assert steps[1].learning_rate == pytest.approx(0.1)
    assert all(step.max_iter == 20 for step in steps)
    names = {path.name for path in Path("run").iterdir()}
    assert {f"tiny_iter_{i}.solverstate" for i in (8, 16, 20)} | {"caffe.log"} <= names
    assert "Optimization Done." in Path("run/caffe.log").read_text()
    assert not children()


def test_same_seed_same_bytes(folder):
    first = solve().read_bytes()
    assert solve().read_bytes() == first
    assert solve(random_seed=2).read_bytes() != first


def test_weights_are_taken(folder):
    """The tool of some forks ignores -weights without a word; ours must not."""
    given = read_weights(solve())
    given["ip1"][0][:] = 0.5
    del given["classifier"]
    write_weights(given, Path("given.caffemodel"))
    frozen = read_weights(solve(base_lr=0.0, weights=Path("given.caffemodel")))
    for layer, arrays in given.items():
        for array, expected in zip(frozen[layer], arrays, strict=True):
            np.testing.assert_array_equal(array, expected)
    assert len(frozen["classifier"]) == 2


def test_resume_equals_uninterrupted(folder):
    """At iteration 8 the 40 images were read twice, so that Caffe begins anew in both."""
    whole = solve().rename("whole.caffemodel")
    steps = []
    resumed = solve(resume=Path("run/tiny_iter_8.solverstate"), on_step=steps.append)
    assert steps[0].iteration == 10
    assert_same_weights(whole, resumed)


def interrupt_at(iteration):
    """Interrupts the main thread, as Ctrl-C does."""

    def on_step(step):
        if step.iteration >= iteration:
            signal.raise_signal(signal.SIGINT)

    return on_step


def test_interrupt_leaves_a_snapshot(folder):
    with pytest.raises(TrainingStopped) as caught:
        solve(on_step=interrupt_at(300), max_iter=2_000_000, display=100, test_interval=1_000_000)
    stopped = caught.value
    assert stopped.iteration >= 300
    assert stopped.state == Path(f"run/tiny_iter_{stopped.iteration}.solverstate")
    assert not children()
    steps = []
    more = stopped.iteration + 50
    caffemodel = solve(resume=stopped.state, on_step=steps.append, max_iter=more)
    assert steps[0].iteration >= stopped.iteration
    assert caffemodel == Path(f"run/tiny_iter_{more}.caffemodel")


def kill_trainer():
    [child] = children()
    os.kill(int(child), signal.SIGKILL)


def test_killed_at_work(folder):
    def on_step(step):
        if step.iteration == 300:
            kill_trainer()

    remedy = r"go on with --resume run/tiny_iter_\d+.solverstate$"
    with pytest.raises(EngineError, match=r"was killed .*" + remedy) as caught:
        solve(on_step=on_step, max_iter=2_000_000, snapshot=100, display=100)
    state = Path(str(caught.value).rpartition(" ")[2])
    iteration = int(state.stem.rpartition("_")[2])
    assert iteration >= 100
    assert solve(resume=state, max_iter=iteration + 10).is_file()
    assert not children()


def test_error_of_the_caller_ends_the_child(folder):
    def on_step(step):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        solve(on_step=on_step, max_iter=2_000_000)
    assert not children()


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (("train_lmdb", "none_lmdb"), DataError, "lmdb"),
        (('"InnerProduct"', '"Foo"'), NetError, "Unknown layer type: Foo"),
        (('bottom: "codes"', 'bottom: "nothing"'), NetError, "Unknown bottom blob 'nothing'"),
        (("name:", "nmae:"), NetError, "net.prototxt"),
    ],
)
def test_fatal_lines(folder, change, kind, message):
    net = Path("net.prototxt")
    net.write_text(net.read_text().replace(*change))
    with pytest.raises(kind, match=message) as caught:
        solve()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert not children()


def test_no_snapshot_at_all(folder):
    with pytest.raises(NetError, match="snapshot_after_train"):
        solve(snapshot=0, snapshot_after_train="false")


def test_prefix_that_cannot_be_written(folder):
    Path("run").write_text("a file")
    with pytest.raises(StorageError, match="run: something else is there"):
        solve()


def test_trainer_stops_when_its_parent_is_gone(folder):
    tiny.write_solver(Path(), max_iter=2_000_000_000, display=100, snapshot=0)
    script = (
        "from latenthash.engines import get_engine; from pathlib import Path; import os, signal\n"
        "def on_step(step):\n"
        "    if step.iteration: os.kill(os.getpid(), signal.SIGKILL)\n"
        "get_engine('caffe', 1).train(Path('solver.prototxt'), on_step=on_step)"
    )
    subprocess.run([sys.executable, "-c", script], timeout=60)
    for _ in range(100):
        if list(Path("run").glob("*.solverstate")):
            return
        time.sleep(0.05)
    raise AssertionError("no snapshot was made")
