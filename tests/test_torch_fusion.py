"""Fused steps give what the layers give one by one, forward, backward and in their weights."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from caffe_layers import Arrays
from latenthash.netdef import NetDef, load_netdef

torch = pytest.importorskip("torch")

from latenthash.engines.torch.fusion import Step, fuse  # noqa: E402
from latenthash.engines.torch.graph import Graph  # noqa: E402
from latenthash.engines.torch.registry import Call, find  # noqa: E402

CHANNELS = [4, 16]  # 16: our own kernels normalise


def relu6(blobs: str, limit: float = 6, slope: float = 0) -> str:
    """ReLU, Power, ReLU, Power between five blobs."""
    kinds = [
        ("ReLU", f"relu_param {{ negative_slope: {slope} }}"),
        ("Power", "power_param { scale: -1 shift: 6 }"),
        ("ReLU", ""),
        ("Power", f"power_param {{ scale: -1 shift: {limit} }}"),
    ]
    names = blobs.split()
    return "".join(
        f'layer {{ name: "l{i}" type: "{kind}" bottom: "{a}" top: "{b}" {more} }}\n'
        for i, ((kind, more), (a, b)) in enumerate(zip(kinds, pairwise(names), strict=True))
    )


def norm(blobs: str, bn: str = "", scale: str = "bias_term: true") -> str:
    x, y, z = blobs.split()
    return (
        f'layer {{ name: "bn" type: "BatchNorm" bottom: "{x}" top: "{y}" '
        f"batch_norm_param {{ moving_average_fraction: 0.9 eps: 0.01 {bn} }} }}\n"
        f'layer {{ name: "scale" type: "Scale" bottom: "{y}" top: "{z}" '
        f"scale_param {{ {scale} }} }}\n"
    )


def relu(blob: str, slope: float = 0) -> str:
    return (
        f'layer {{ name: "relu" type: "ReLU" bottom: "{blob}" top: "{blob}" '
        f"relu_param {{ negative_slope: {slope} }} }}\n"
    )


def reading(blob: str) -> str:
    return f'layer {{ name: "reads" type: "Sigmoid" bottom: "{blob}" top: "seen" }}\n'


FUSED = {
    "clamp in place": (relu6("x x x x x"), None),
    "clamp in training": (relu6("x x y y z"), ["z"]),
    "clamp out of place": (relu6("x a b c z"), []),
    "norm in place": (norm("x x x"), None),
    "norm out of place": (norm("x y z"), ["z"]),
    "norm with fixed statistics": (norm("x x x", "use_global_stats: true"), None),
    "norm and clamp": (norm("x x x") + relu6("x x x x x"), None),
    "norm and clamp out of place": (norm("x y z") + relu6("z a b c d"), ["d"]),
    "norm and clamp, fixed": (norm("x x x", "use_global_stats: true") + relu6("x x x x x"), None),
    "norm and rectify": (norm("x x x") + relu("x"), None),
    "norm and leak": (norm("x x x") + relu("x", 0.1), None),
    "clamp that is read": (relu6("x x y y z") + reading("z"), ["seen"]),
}
MERGED = {"norm and clamp": 5, "norm and rectify": 2, "norm": 1, "clamp": 3}
LEFT = {
    "clamp with a blob that is kept": (relu6("x x y y z"), ["y"]),
    "clamp when all blobs may be asked for": (relu6("x x y y z"), None),
    "clamp with a blob that is read": (relu6("x x y y z") + reading("y"), ["seen"]),
    "leaky": (relu6("x x x x x", slope=0.1), None),
    "two limits": (relu6("x x x x x", limit=5), None),
    "scale without shift": (norm("x x x", scale=""), None),
    "scale of all axes": (norm("x x x", scale="bias_term: true axis: 1 num_axes: 3"), None),
    "norm that is read": (norm("x y z") + reading("y"), ["seen", "z"]),
}


def net_of(text: str, folder: Path, phase: str, channels: int = 4) -> NetDef:
    dims = " ".join(f"dim: {size}" for size in (5, channels, 3, 2))
    path = folder / "net.prototxt"
    path.write_text(
        f'layer {{ name: "in" type: "Input" top: "x" input_param {{ shape {{ {dims} }} }} }}\n'
        + text
    )
    return load_netdef(path, phase)


def steps_of(net: NetDef) -> list[Step]:
    return [(layer, find(layer.type, layer.name)) for layer in net.layers if layer.bottoms]


def run(net: NetDef, steps: list[Step], graph: Graph) -> Arrays:
    """Last blob, gradients of input and weights, and the weights afterwards."""
    random = np.random.default_rng(3)
    for name, blobs in graph.blobs.items():
        for blob in blobs:
            values = np.abs(random.normal(1, 0.3, blob.shape)) + 0.1
            blob.detach().copy_(torch.from_numpy(values.astype(np.float32)))
            assert name in ("bn", "scale")
    [shape] = [net.blob_shapes[top] for layer in net.data_layers for top in layer.tops]
    x = torch.from_numpy(random.normal(3, 5, shape).astype(np.float32))
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    blobs = {"x": x}
    for layer, operation in steps:
        bottoms = [blobs[name] for name in layer.bottoms]
        call = Call(layer.param, bottoms, graph.blobs.get(layer.name, ()), net.phase == "TRAIN")
        blobs |= zip(layer.tops, operation(call), strict=True)
    top = blobs[steps[-1][0].tops[0]]
    (top * torch.from_numpy(random.normal(size=top.shape).astype(np.float32))).sum().backward()
    found = {"top": top.detach().numpy(), "dx": x.grad.numpy()}
    for name, own in graph.blobs.items():
        for number, blob in enumerate(own):
            found[f"{name} {number}"] = blob.detach().numpy().copy()
            if blob.grad is not None:
                found[f"d {name} {number}"] = blob.grad.numpy().copy()
                blob.grad = None
    return found


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
@pytest.mark.parametrize("name", FUSED)
def test_fused_steps_give_the_same(name: str, phase: str, channels: int, tmp_path: Path) -> None:
    text, keep = FUSED[name]
    net = net_of(text, tmp_path, phase, channels)
    graph, steps = Graph(net), steps_of(net)
    fused = fuse(steps, graph.blobs, keep)
    merged = len(steps) - len(fused)
    assert merged == next(count for begin, count in MERGED.items() if name.startswith(begin))
    expected, found = run(net, steps, graph), run(net, fused, graph)
    assert set(found) == set(expected)
    for key, values in expected.items():
        np.testing.assert_allclose(found[key], values, rtol=1e-4, atol=2e-5, err_msg=key)


@pytest.mark.parametrize("name", LEFT)
def test_what_somebody_sees_or_differs_is_left(name: str, tmp_path: Path) -> None:
    text, keep = LEFT[name]
    net = net_of(text, tmp_path, "TRAIN")
    steps = steps_of(net)
    assert fuse(steps, Graph(net).blobs, keep) == steps


@pytest.mark.parametrize("channels", CHANNELS)
def test_one_value_a_channel(channels: int, tmp_path: Path) -> None:
    """Caffe takes its variance as 0."""
    net = net_of(norm("x x x"), tmp_path, "TRAIN", channels)
    graph = Graph(net)
    [(layer, operation)] = fuse(steps_of(net), graph.blobs)
    for blob in graph.blobs["scale"]:
        blob.detach().fill_(2)
    call = Call(layer.param, [torch.full((1, channels, 1, 1), 7.0)], graph.blobs["bn"], True)
    assert operation(call)[0].flatten().tolist() == [2] * channels
    mean, variance, seen = (blob.tolist() for blob in graph.blobs["bn"])
    assert (mean, variance, seen) == ([7] * channels, [0] * channels, [1])


def test_gradients_at_the_clamps_ends_are_caffes(tmp_path: Path) -> None:
    net = net_of(relu6("x x x x x"), tmp_path, "TRAIN")
    [(layer, operation)] = fuse(steps_of(net), {})
    x = torch.tensor([-1.0, 0, 3, 6, 7], requires_grad=True)
    [top] = operation(Call(layer.param, [x], (), True))
    top.sum().backward()
    assert top.tolist() == [0, 0, 3, 6, 6]
    assert x.grad.tolist() == [0, 0, 1, 0, 0]
