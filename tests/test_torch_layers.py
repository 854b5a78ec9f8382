"""Every layer of the torch engine against real Caffe, forward and backward."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffe_layers import Arrays, run_nets
from latenthash.errors import NetError
from latenthash.netdef import NetDef, load_netdef
from latenthash.weights import Weights, write_weights

torch = pytest.importorskip("torch")

from latenthash.engines.torch.graph import Graph  # noqa: E402
from latenthash.engines.torch.registry import OPERATIONS  # noqa: E402

INPUT = """force_backward: true
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: [2, 6, 9, 7] } } }
"""
SECOND = INPUT.splitlines()[1].replace('"in"', '"in2"').replace('"x"', '"x2"') + "\n"
LABELS = """layer { name: "l" type: "Input" top: "label" input_param { shape { dim: [2, 9, 7] } } }
"""
IGNORED = 3


def layer(kind: str, more: str = "", bottoms: str = "x", tops: str = "y") -> str:
    """A net of one layer."""
    fields = [f'bottom: "{name}"' for name in bottoms.split()]
    fields += [f'top: "{name}"' for name in tops.split()]
    return f'layer {{ name: "it" type: "{kind}" {" ".join(fields)} {more} }}\n'


def conv(more: str, kind: str = "Convolution") -> str:
    return INPUT + layer(kind, f"convolution_param {{ {more} }}")


def pool(more: str) -> str:
    return INPUT + layer("Pooling", f"pooling_param {{ {more} }}")


def inner(more: str) -> str:
    return INPUT + layer("InnerProduct", f"inner_product_param {{ num_output: 5 {more} }}")


def loss(kind: str, more: str = "", bottoms: str = "x x2") -> str:
    second = LABELS if "label" in bottoms else SECOND
    return INPUT + second + layer(kind, more, bottoms)


def one(kind: str, more: str = "") -> str:
    return INPUT + layer(kind, more)


def two(kind: str, more: str = "", bottoms: str = "x x2") -> str:
    return INPUT + SECOND + layer(kind, more, bottoms)


CASES = {
    "conv": conv("num_output: 4 kernel_size: 3"),
    "conv stride and pad": conv(
        "num_output: 4 kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 1 pad_h: 1 pad_w: 0"
    ),
    "conv groups": conv("num_output: 4 kernel_size: 1 group: 2 bias_term: false"),
    "conv depthwise": conv("num_output: 6 kernel_size: 3 pad: 1 group: 6"),
    "conv dilated": conv("num_output: 6 kernel_size: [3, 2] dilation: 2 pad: 1 stride: 2"),
    "deconv": conv("num_output: 9 kernel_size: 3 stride: 2 pad: 1 group: 3", "Deconvolution"),
    "inner product": inner(""),
    "inner product transposed": inner("axis: -1 transpose: true bias_term: false"),
    "inner product axis 2": inner("axis: 2"),
    "relu": one("ReLU"),
    "leaky relu": one("ReLU", "relu_param { negative_slope: 0.1 }"),
    "prelu": one("PReLU"),
    "prelu shared": one("PReLU", "prelu_param { channel_shared: true }"),
    "elu": one("ELU", "elu_param { alpha: 0.7 }"),
    "sigmoid": one("Sigmoid"),
    "tanh": one("TanH"),
    "absolute": one("AbsVal"),
    "bnll": one("BNLL"),
    "power": one("Power", "power_param { power: 2 scale: 0.5 shift: 3 }"),
    "power 1": one("Power", "power_param { scale: 0.5 shift: 3 }"),
    "exp": one("Exp", "exp_param { base: 2 scale: 0.5 shift: 0.1 }"),
    "exp e": one("Exp"),
    "log": one("Log", "log_param { base: 10 scale: 0.1 shift: 3 }"),
    "dropout": one("Dropout"),
    "max pool": pool("kernel_size: 3 stride: 2"),
    "max pool pad": pool("kernel_size: 3 stride: 2 pad: 1"),
    "max pool uneven": pool("kernel_h: 2 kernel_w: 3 stride_h: 2 stride_w: 3 pad_h: 1 pad_w: 0"),
    "average pool": pool("pool: AVE kernel_size: 3 stride: 2"),
    "average pool pad": pool("pool: AVE kernel_size: 3 stride: 2 pad: 1"),
    "average pool 4": pool("pool: AVE kernel_size: 4 stride: 3 pad: 2"),
    "global max": pool("global_pooling: true"),
    "global average": pool("pool: AVE global_pooling: true"),
    "lrn": one("LRN", "lrn_param { local_size: 5 alpha: 0.1 beta: 0.75 k: 2 }"),
    "lrn wide": one("LRN", "lrn_param { local_size: 9 alpha: 0.5 beta: 0.5 }"),
    "lrn within": one("LRN", "lrn_param { local_size: 3 alpha: 0.3 norm_region: WITHIN_CHANNEL }"),
    "mvn": one("MVN"),
    "mvn across": one("MVN", "mvn_param { across_channels: true normalize_variance: false }"),
    "batch norm": one("BatchNorm"),
    "scale": one("Scale", "scale_param { bias_term: true }"),
    "scale axis": one("Scale", "scale_param { axis: 0 num_axes: -1 }"),
    "scale two": two("Scale", "scale_param { axis: 0 }"),
    "bias": one("Bias", "bias_param { axis: 1 num_axes: 2 }"),
    "bias two": two("Bias", "bias_param { axis: 0 }"),
    "concat": two("Concat"),
    "concat 2": two("Concat", "concat_param { axis: -2 }"),
    "slice": INPUT + layer("Slice", tops="y z w"),
    "slice points": INPUT + layer("Slice", "slice_param { axis: 2 slice_point: 4 }", tops="y z"),
    "split": INPUT + layer("Split", tops="y z"),
    "sum": two("Eltwise"),
    "weighted sum": two("Eltwise", "eltwise_param { coeff: 0.5 coeff: -2 }"),
    "product": two("Eltwise", "eltwise_param { operation: PROD }"),
    "maximum": two("Eltwise", "eltwise_param { operation: MAX }"),
    "flatten": one("Flatten"),
    "flatten axes": one("Flatten", "flatten_param { axis: 1 end_axis: 2 }"),
    "reshape": one("Reshape", "reshape_param { shape { dim: [0, 3, -1] } }"),
    "reshape axes": one("Reshape", "reshape_param { shape { dim: [7, 9] } axis: 2 }"),
    "tile": one("Tile", "tile_param { axis: 2 tiles: 3 }"),
    "reduce": one("Reduction", "reduction_param { operation: SUM axis: 1 coeff: 2 }"),
    "reduce absolute": one("Reduction", "reduction_param { operation: ASUM axis: 2 }"),
    "reduce squares": one("Reduction", "reduction_param { operation: SUMSQ axis: -1 }"),
    "reduce mean": one("Reduction", "reduction_param { operation: MEAN }"),
    "softmax": one("Softmax"),
    "softmax axis": one("Softmax", "softmax_param { axis: 2 }"),
    "euclidean loss": loss("EuclideanLoss"),
    "sigmoid loss": loss("SigmoidCrossEntropyLoss"),
    "softmax loss": loss("SoftmaxWithLoss", bottoms="x label"),
    "softmax loss ignore": loss(
        "SoftmaxWithLoss", f"loss_param {{ ignore_label: {IGNORED} }}", "x label"
    ),
    **{
        f"softmax loss {mode}": loss(
            "SoftmaxWithLoss",
            f"loss_param {{ ignore_label: {IGNORED} normalization: {mode} }}",
            "x label",
        )
        for mode in ("FULL", "BATCH_SIZE", "NONE")
    },
    "softmax loss old": loss("SoftmaxWithLoss", "loss_param { normalize: false }", "x label"),
    "softmax loss weighted": loss("SoftmaxWithLoss", "loss_weight: 0.3", "x label"),
    "accuracy": loss("Accuracy", bottoms="x label"),
    "accuracy top 3": loss(
        "Accuracy", f"accuracy_param {{ top_k: 3 ignore_label: {IGNORED} }}", "x label"
    ),
}
LOSSES = ("Loss", "Accuracy")  # what Caffe seeds the backward pass of by itself


def random_weights(net: NetDef, rng: np.random.Generator) -> Weights:
    """Weights for every layer; variances and factors positive."""
    found: Weights = {}
    for name, shapes in net.param_shapes.items():
        values = [rng.normal(0, 0.5, shape).astype(np.float32) for shape in shapes]
        positive = net.layer(name).type == "BatchNorm"
        found[name] = [np.abs(value) + 0.5 for value in values] if positive else values
    return found


def given_to(net: NetDef, rng: np.random.Generator) -> Arrays:
    """Inputs, and gradients for the outputs of what is no loss."""
    given: Arrays = {}
    for source in net.data_layers:
        [top] = source.tops
        shape = net.blob_shapes[top]
        values = rng.integers(0, 6, shape) if top == "label" else rng.normal(size=shape)
        given[f"blob {top}"] = values.astype(np.float32)
    last = net.layers[-1]
    if not last.type.endswith(LOSSES):
        for top in last.tops:
            values = rng.normal(size=net.blob_shapes[top])
            given[f"diff {top}"] = values.astype(np.float32)
    return given


def run_torch(net: NetDef, weights: Weights, given: Arrays, phase: str) -> Arrays:
    """The same as `run_nets`, by the torch engine."""
    graph = Graph(net)
    graph.take(weights)
    inputs = {
        name[5:]: torch.from_numpy(values).requires_grad_(name != "blob label")
        for name, values in given.items()
        if name.startswith("blob ")
    }
    last = net.layers[-1]
    tops = graph(inputs, last.tops)
    found = {f"blob {name}": value.detach().numpy() for name, value in tops.items()}
    if last.type == "Accuracy":
        return found
    if last.type.endswith(LOSSES):
        weight = last.param.loss_weight[0] if last.param.loss_weight else 1.0
        (tops[last.tops[0]] * weight).backward()
    else:
        diffs = [torch.from_numpy(given[f"diff {name}"]) for name in tops]
        torch.autograd.backward(list(tops.values()), diffs)
    for name, value in inputs.items():
        if value.grad is not None:
            found[f"diff {name}"] = value.grad.numpy()
    for number, parameter in enumerate(graph.blobs.get("it", ())):
        if parameter.grad is not None:
            found[f"param {number} it"] = parameter.grad.numpy()
        found[f"value {number} it"] = parameter.detach().numpy()
    return found


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], tuple[Arrays, Arrays]]:
    """What both make of every case, in both phases."""
    folder = tmp_path_factory.mktemp("layers")
    jobs, ours = [], {}
    for number, (name, text) in enumerate(CASES.items()):
        path = folder / f"{number}.prototxt"
        path.write_text(text)
        for phase in ("TRAIN", "TEST"):
            if name == "dropout" and phase == "TRAIN":
                continue
            rng = np.random.default_rng(number)
            net = load_netdef(path, phase)
            weights, given = random_weights(net, rng), given_to(net, rng)
            file = folder / f"{number}.caffemodel"
            if weights:
                write_weights(weights, file)
            backward = net.layers[-1].type != "Accuracy"
            jobs.append((path, file if weights else None, given, phase, backward))
            ours[name, phase] = run_torch(net, weights, given, phase)
    theirs = run_nets(jobs, folder)
    return {key: (ours[key], caffe) for key, caffe in zip(ours, theirs, strict=True)}


@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
@pytest.mark.parametrize("name", CASES)
def test_a_layer_is_caffes(
    both: dict[tuple[str, str], tuple[Arrays, Arrays]], name: str, phase: str
) -> None:
    if (name, phase) not in both:
        pytest.skip("random in this phase")
    ours, theirs = both[name, phase]
    for key, values in ours.items():
        expected = theirs[key].reshape(values.shape)
        scale = max(1e-3, float(np.abs(expected).max()))
        np.testing.assert_allclose(values / scale, expected / scale, atol=1e-5, err_msg=key)


def test_every_layer_type_has_a_case() -> None:
    shown = {part.split('"')[0] for text in CASES.values() for part in text.split('type: "')[1:]}
    other = {"Silence", "Embed", "Parameter", "ReLU6", "Threshold", "Crop", "ArgMax", "Clip"}
    assert set(OPERATIONS) == shown - {"Input"} | other


def test_clip_is_its_formula(tmp_path: Path) -> None:
    """BVLC's layer, which the built Caffe has not: the gradient passes on both ends, too."""
    path = tmp_path / "net.prototxt"
    path.write_text(INPUT + layer("Clip", "clip_param { min: -0.5 max: 1 }"))
    rng = np.random.default_rng(0)
    net = load_netdef(path, "TRAIN")
    given = given_to(net, rng)
    values, diffs = given["blob x"], given["diff y"]
    values.reshape(-1)[:4] = (-0.5, 1, -0.500001, 1.000001)
    found = run_torch(net, {}, given, "TRAIN")
    np.testing.assert_array_equal(found["blob y"], np.maximum(-0.5, np.minimum(values, 1)))
    np.testing.assert_array_equal(found["diff x"], diffs * ((values >= -0.5) & (values <= 1)))


def test_an_unknown_layer_is_named(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(INPUT + layer("HingeLoss", bottoms="x x"))
    with pytest.raises(NetError, match=r"layer 'it'.*no layer type 'HingeLoss' - it has .*Conv"):
        Graph(load_netdef(path, "TEST"))
