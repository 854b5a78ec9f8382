"""The torch engine's solver beside Caffe's: the same weights after the same steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tiny
from latenthash.engines import OnStep, Step, get_engine
from latenthash.netdef import load_netdef
from latenthash.weights import Weights, read_weights, write_weights

pytest.importorskip("torch")
pytestmark = pytest.mark.caffe

STEPS, TOLERANCE = 50, 1e-3


def conv(name: str, bottom: str, more: str = "") -> str:
    return (
        f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" {more} '
        "convolution_param { num_output: 6 kernel_size: 3 } }\n"
    )


def pool(bottom: str) -> str:
    return (
        f'layer {{ name: "pool" type: "Pooling" bottom: "{bottom}" top: "pool" '
        "pooling_param { kernel_size: 2 stride: 2 } }\n"
    )


def relu(blob: str) -> str:
    return f'layer {{ name: "relu" type: "ReLU" bottom: "{blob}" top: "{blob}" }}\n'


PLAIN = (
    conv("conv", "data", "param { lr_mult: 1 } param { lr_mult: 2 decay_mult: 0 }")
    + pool("conv")
    + relu("pool")
    + tiny.inner_product("ip", "pool", 8)
    + 'layer { name: "sigmoid" type: "Sigmoid" bottom: "ip" top: "codes" }\n'
    + tiny.inner_product("classifier", "codes", 2)
)
# no bias before the mean is taken out: its gradient is noise, which Adam makes a step of
NORMALISED = (
    conv("conv", "data").replace("kernel_size", "bias_term: false kernel_size")
    + 'layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "bn" }\n'
    + 'layer { name: "scale" type: "Scale" bottom: "bn" top: "bn" scale_param '
    + "{ bias_term: true } }\n"
    + relu("bn")
    + pool("bn")
    + tiny.inner_product("classifier", "pool", 2)
)
SHARED = tiny.inner_product("a", "data", 8) + "".join(
    f'layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{name}" '
    f'param {{ name: "w" {more} }} param {{ name: "b" decay_mult: 0 }} '
    "inner_product_param { num_output: 8 } }\n"
    for name, bottom, more in (("b", "a", ""), ("c", "b", "lr_mult: 0.5"))
)
SHARED += tiny.inner_product("classifier", "c", 2)
FROZEN = PLAIN.replace(
    'layer { name: "ip" ', 'layer { name: "ip" param { lr_mult: 0 } param { lr_mult: 0 } '
).replace("param { lr_mult: 1 }", "param { lr_mult: 0 }")

SGD = {"base_lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}
CASES: dict[str, tuple[str, dict[str, object]]] = {
    "sgd": (PLAIN, SGD),
    "nesterov": (PLAIN, SGD | {"type": '"Nesterov"'}),
    "adagrad": (PLAIN, SGD | {"type": '"AdaGrad"', "momentum": None, "base_lr": 0.02}),
    "rmsprop": (
        PLAIN,
        {"type": '"RMSProp"', "momentum": None, "base_lr": 0.002, "rms_decay": 0.9},
    ),
    "adadelta": (PLAIN, SGD | {"type": '"AdaDelta"', "delta": 1e-6, "base_lr": 1.0}),
    "adam": (PLAIN, SGD | {"type": '"Adam"', "base_lr": 0.005, "delta": 1e-6}),
    "old type": (PLAIN, SGD | {"solver_type": "NESTEROV"}),
    "step": (PLAIN, SGD | {"lr_policy": '"step"', "gamma": 0.5, "stepsize": 12}),
    "exp": (PLAIN, SGD | {"lr_policy": '"exp"', "gamma": 0.97}),
    "inv": (PLAIN, SGD | {"lr_policy": '"inv"', "gamma": 0.1, "power": 0.75}),
    "multistep": (
        PLAIN,
        SGD | {"lr_policy": '"multistep"', "gamma": 0.3, "stepvalue": "[10, 11, 30]"},
    ),
    "poly": (PLAIN, SGD | {"lr_policy": '"poly"', "power": 2}),
    "sigmoid": (PLAIN, SGD | {"lr_policy": '"sigmoid"', "gamma": -0.2, "stepsize": 25}),
    "iter_size": (PLAIN, SGD | {"iter_size": 3, "clip_gradients": 0.3}),
    "clip": (PLAIN, SGD | {"clip_gradients": 0.02}),
    "L1": (PLAIN, SGD | {"regularization_type": '"L1"'}),
    # the Caffe that is built here forgets that BatchNorm's statistics are not to decay
    "batch norm": (NORMALISED, SGD | {"weight_decay": 0}),
    "shared": (SHARED, SGD | {"base_lr": 0.02, "clip_gradients": 1}),
    "frozen": (FROZEN, SGD),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    tiny.write_lmdb(folder / "train_lmdb", tiny.TRAIN + 3)  # batches do not divide it
    tiny.write_lmdb(folder / "val_lmdb", tiny.VAL)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    for name in ("train_lmdb", "val_lmdb"):
        (tmp_path / name).symlink_to(made / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def start(layers: str) -> Path:
    """The net, and weights to start from."""
    tiny.write_net(Path(), layers, "scale: 0.01")
    deploy = tiny.write_deploy(Path("deploy.prototxt"), layers)
    random = np.random.default_rng(3)
    shapes = load_netdef(deploy, "TEST").param_shapes
    weights = {
        name: [random.normal(0, 0.15, shape).astype(np.float32) for shape in blobs]
        for name, blobs in shapes.items()
    }
    weights |= {"bn": [np.zeros(shape, np.float32) for shape in shapes.get("bn", ())]}
    write_weights({name: blobs for name, blobs in weights.items() if blobs}, Path("w.caffemodel"))
    return Path("w.caffemodel")


def train(
    engine: str,
    weights: Path | None = None,
    resume: Path | None = None,
    on_step: OnStep | None = None,
    **settings: object,
) -> Path:
    defaults = {"max_iter": STEPS, "snapshot": 0, "snapshot_prefix": f'"{engine}/run"'}
    solver = tiny.write_solver(Path(), **(defaults | settings))
    return get_engine(engine, 1).train(solver, weights, resume, on_step)


def assert_close(found: Weights, expected: Weights, tolerance: float = TOLERANCE) -> None:
    assert found.keys() == expected.keys()
    for layer, blobs in expected.items():
        for own, blob in zip(found[layer], blobs, strict=True):
            assert own.shape == blob.shape
            scale = max(float(np.abs(blob).max()), 1e-6)
            np.testing.assert_allclose(own / scale, blob / scale, atol=tolerance, err_msg=layer)


@pytest.mark.parametrize("case", CASES)
def test_fifty_steps_end_at_caffes_weights(folder: Path, case: str) -> None:
    layers, settings = CASES[case]
    weights = start(layers)
    reports: dict[str, list[Step]] = {"caffe": [], "torch": []}
    ends = {
        name: read_weights(train(name, weights, None, reports[name].append, **settings))
        for name in reports
    }
    assert_close(ends["torch"], ends["caffe"])
    before = read_weights(weights)
    moved = [
        float(np.abs(end - first).max() / np.abs(first).max())
        for layer in before
        if layer != "bn"
        for end, first in zip(ends["torch"][layer], before[layer], strict=True)
    ]
    assert max(moved) > 0.02, "a test of steps that change nothing"
    assert_same_reports(reports["torch"], reports["caffe"])


def assert_same_reports(found: list[Step], expected: list[Step]) -> None:
    assert [(s.iteration, s.phase, s.max_iter) for s in found] == [
        (s.iteration, s.phase, s.max_iter) for s in expected
    ]
    for own, step in zip(found, expected, strict=True):
        assert list(own.values) == list(step.values)
        np.testing.assert_allclose(
            list(own.values.values()), list(step.values.values()), rtol=2e-3, atol=1e-4
        )
        if step.learning_rate is None:
            assert own.learning_rate is None
        else:
            assert own.learning_rate == pytest.approx(step.learning_rate, rel=1e-4, abs=1e-9)


def test_reports_are_caffes(folder: Path) -> None:
    """Average of losses, no test before the first iteration, outputs that are vectors."""
    weights = start(
        PLAIN + 'layer { name: "m" type: "Power" bottom: "codes" top: "more" '
        "power_param { scale: 2 } }\n"
        'layer { name: "r" type: "Reduction" bottom: "more" top: "rows" loss_weight: 0.001 '
        "reduction_param { axis: 1 operation: MEAN } }\n"
    )
    reports: dict[str, list[Step]] = {"caffe": [], "torch": []}
    for name, steps in reports.items():
        train(
            name, weights, None, steps.append, average_loss=4, test_initialization="false",
            test_iter=3, display=3, base_lr=0.05, max_iter=30,
        )  # fmt: skip
    assert "rows[9]" in reports["torch"][0].values
    assert_same_reports(reports["torch"], reports["caffe"])


@pytest.mark.parametrize("form", ["BINARYPROTO", "HDF5"])
@pytest.mark.parametrize("solver", ["SGD", "Adam"])
@pytest.mark.parametrize(("first", "then"), [("caffe", "torch"), ("torch", "caffe")])
def test_a_snapshot_of_one_resumes_in_the_other(
    folder: Path, first: str, then: str, solver: str, form: str
) -> None:
    """40 images in batches of 10, so that both read from the start at iteration 20."""
    weights = start(NORMALISED if form == "HDF5" else PLAIN)
    Path("train_lmdb").unlink()
    tiny.write_lmdb(Path("train_lmdb"), 40)
    settings: dict[str, object] = {
        "type": f'"{solver}"', "base_lr": 0.01, "snapshot_format": form, "max_iter": 40,
        "lr_policy": '"multistep"', "gamma": 0.5, "stepvalue": "[8, 30]",
    }  # fmt: skip
    whole = read_weights(train("caffe", weights, **settings))
    train(first, weights, **(settings | {"snapshot": 20}))
    suffix = ".h5" if form == "HDF5" else ""
    state = Path(f"{first}/run_iter_20.solverstate{suffix}")
    assert Path(f"{first}/run_iter_20.caffemodel{suffix}").is_file()
    end = train(then, None, state, **settings)
    assert end == Path(f"{then}/run_iter_40.caffemodel{suffix}")
    assert_close(read_weights(end), whole)


def test_inline_blobs_are_the_first_values(folder: Path) -> None:
    blob = "blobs { shape { dim: 2 dim: 8 } " + " ".join(f"data: {n / 16}" for n in range(16))
    layers = PLAIN.replace(
        'name: "classifier"', 'name: "classifier" ' + blob + " } blobs { data: [1, -1] "
        "shape { dim: 2 } }",
    )  # fmt: skip
    start(layers)
    values = {
        name: read_weights(train(name, base_lr=0.0, max_iter=1))["classifier"]
        for name in ("caffe", "torch")
    }
    for own, expected in zip(values["torch"], values["caffe"], strict=True):
        np.testing.assert_array_equal(own, expected)
    np.testing.assert_array_equal(values["torch"][1], [1, -1])
