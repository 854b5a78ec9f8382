"""Lines as real Caffe wrote them, of this build and of BVLC's."""

import math
from pathlib import Path

import pytest

from latenthash.engines import Step
from latenthash.engines.caffe_log import (
    Evaluation,
    Fatal,
    Loss,
    Output,
    Rate,
    Snapshot,
    StepReader,
    death_error,
    fatal_error,
    parse,
)
from latenthash.errors import DataError, EngineError, NetError, StorageError

HEAD = "I20261121 20:12:13.230746 19214 solver.cpp:346] "


@pytest.mark.parametrize(
    ("message", "event"),
    [
        ("Iteration 10, loss = 0.508401", Loss(10, 0.508401)),
        ("Iteration 100 (12.5 iter/s, 8s/100 iters), loss = 1e-05", Loss(100, 1e-05)),
        ("Iteration 10, lr = 0.1", Rate(10, 0.1)),
        ("Iteration 0, Testing net (#1)", Evaluation(0, 1)),
        ("    Test net output #0: accuracy = 0.5", Output("test", "accuracy", 0.5)),
        (
            "    Train net output #1: loss = 0.74 (* 1 = 0.74 loss)",
            Output("train", "loss", 0.74),
        ),
        ("Snapshotting to binary proto file a b/t_iter_2.caffemodel",
         Snapshot(Path("a b/t_iter_2.caffemodel"))),
        ("Snapshotting solver state to HDF5 file t_iter_2.solverstate.h5",
         Snapshot(Path("t_iter_2.solverstate.h5"))),
        ("Optimization Done.", None),
        ("Solving tiny", None),
    ],
)  # fmt: skip
def test_parse(message, event):
    assert parse(HEAD + message + "\n") == event
    assert parse("I1121 12:00:00.123456   42 solver.cpp:266] " + message) == event


def test_parse_nan_and_noise():
    event = parse(HEAD + "Iteration 7, loss = -nan")
    assert isinstance(event, Loss)
    assert math.isnan(event.value)
    for noise in ("", "layer {", "*** Check failure stack trace: ***", "Iteration 3, loss = 1"):
        assert parse(noise) is None


def test_parse_fatal():
    line = "F20261121 20:10:40.881937 17975 layer_factory.hpp:81] Check failed: a == b (0 vs. 1) no"
    assert parse(line) == Fatal("layer_factory.hpp:81", "Check failed: a == b (0 vs. 1) no")


def read(messages, max_iter=20):
    reader = StepReader(max_iter)
    steps = [step for message in messages for step in reader.read(parse(HEAD + message))]
    return steps + list(reader.end())


def test_steps():
    assert read(
        [
            "Iteration 0, Testing net (#0)",
            "Data layer prefetch queue empty",
            "    Test net output #0: accuracy = 0.5",
            "    Test net output #1: loss = 0.7 (* 1 = 0.7 loss)",
            "Iteration 0, loss = 0.75",
            "    Train net output #0: loss = 0.8 (* 1 = 0.8 loss)",
            "    Train net output #1: aux = 3",
            "Iteration 0, lr = 0.1",
            "Snapshotting to binary proto file t_iter_20.caffemodel",
            "Iteration 20, loss = 0.2",
            "Iteration 20, Testing net (#0)",
            "    Test net output #0: accuracy = 1",
            "Optimization Done.",
        ]
    ) == [
        Step(0, 20, "test", {"accuracy": 0.5, "loss": 0.7}),
        Step(0, 20, "train", {"loss": 0.75, "aux": 3.0}, 0.1),  # the smoothed loss
        Step(20, 20, "train", {"loss": 0.2}),
        Step(20, 20, "test", {"accuracy": 1.0}),
    ]


def test_steps_of_vectors_and_second_net():
    [first, second] = read(
        [
            "Iteration 5, Testing net (#0)",
            "    Test net output #0: per_class = 0.1",
            "    Test net output #1: per_class = 0.2",
            "    Test net output #2: per_class = 0.3",
            "Iteration 5, Testing net (#1)",
            "    Test net output #0: accuracy = 1",
        ]
    )
    assert first.values == {"per_class": 0.1, "per_class[1]": 0.2, "per_class[2]": 0.3}
    assert second.values == {"net1/accuracy": 1.0}


def test_interrupted_test_is_no_step():
    assert read(["Iteration 5, Testing net (#0)", "Test interrupted."]) == []


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Cannot copy param 0 weights from layer 'ip'; shape mismatch.  Source ...", NetError),
        ("Check failed: registry.count(type) == 1 (0 vs. 1) Unknown layer type: Foo", NetError),
        ("Cannot write to snapshot prefix 'x'.  Make sure ...", StorageError),
        ("Check failed: mdb_status == 0 (2 vs. 0) No such file or directory", DataError),
        ("Check failed: fd != -1 (-1 vs. -1) File not found: x", DataError),
        ("Check failed: something nobody foresaw", EngineError),
    ],
)
def test_fatal_error(message, kind):
    error = fatal_error(Fatal("net.cpp:1", message), "net.prototxt")
    assert type(error) is kind
    assert "net.prototxt" in str(error)
    assert error.remedy
    assert "\n" not in str(error)


def test_long_list_of_types_is_cut():
    message = "Unknown layer type: Foo (known types: AbsVal, Accuracy, ArgMax)"
    assert "AbsVal" not in str(fatal_error(Fatal("a.cpp:1", message), "n"))


def test_death_error():
    log = ["I20261121 20:12:13.2 1 a.cpp:1] fine", "F20261121 20:12:13.2 1 b.cpp:2] Unknown bottom"]
    log += ["*** Check failure stack trace: ***", "    @ 0x7f"]
    assert isinstance(death_error(log, -6, "n"), NetError)
    assert "memory" in str(death_error([], -9, "n"))
    error = death_error(["Traceback", "ImportError: libcaffe.so.1"], 1, "n")
    assert "exit code 1: ImportError: libcaffe.so.1" in str(error)
    assert "signal 11" in str(death_error([], -11, "n"))
