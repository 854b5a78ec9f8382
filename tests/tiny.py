"""A training run on 8 x 8 images that takes a fraction of a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from latenthash.lmdb_store import DatumWriter, Encoding

TRAIN, VAL = 40, 20

_NET = """
name: "tiny"
layer {{ name: "data" type: "Data" top: "data" top: "label" include {{ phase: TRAIN }}
  transform_param {{ {transform} }}
  data_param {{ source: "train_lmdb" batch_size: 10 backend: LMDB }} }}
layer {{ name: "data" type: "Data" top: "data" top: "label" include {{ phase: TEST }}
  transform_param {{ {transform} }}
  data_param {{ source: "val_lmdb" batch_size: 10 backend: LMDB }} }}
{body}
layer {{ name: "accuracy" type: "Accuracy" bottom: "classifier" bottom: "label" top: "accuracy"
  include {{ phase: TEST }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "classifier" bottom: "label" top: "loss" }}
"""
_DEPLOY = """
name: "tiny"
layer {{ name: "data" type: "Input" top: "data"
  input_param {{ shape {{ dim: 1 dim: {channels} dim: {size} dim: {size} }} }} }}
{body}
"""
_SOLVER = {
    "net": '"net.prototxt"  # of this folder',
    "test_iter": 2,
    "test_interval": 10,
    "base_lr": 0.1,
    "lr_policy": '"fixed"',
    "momentum": 0.9,
    "display": 5,
    "max_iter": 20,
    "snapshot": 8,
    "snapshot_prefix": '"run/tiny"',
    "solver_mode": "CPU",
    "random_seed": 1,
}


def inner_product(name: str, bottom: str, outputs: int) -> str:
    return (
        f'layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{name}" '
        f"inner_product_param {{ num_output: {outputs} "
        'weight_filler { type: "xavier" } } }\n'
    )


def body(hidden: int = 6, bits: int = 8, classes: int = 2) -> str:
    """Layers between the data and the loss."""
    return (
        inner_product("ip1", "data", hidden)
        + inner_product("latent", "ip1", bits)
        + 'layer { name: "latent_sigmoid" type: "Sigmoid" bottom: "latent" top: "codes" }\n'
        + inner_product("classifier", "codes", classes)
    )


def write_lmdb(
    path: Path,
    count: int,
    size: int = 8,
    channels: int = 1,
    classes: int = 2,
    encoding: Encoding = "raw",
) -> None:
    """Noise, brighter the higher the label; labels go round."""
    random = np.random.default_rng(count)
    with DatumWriter(path) as writer:
        for index in range(count):
            label = index % classes
            pixels = random.integers(0, 100, (size, size, channels)) + 100 * label // (classes - 1)
            writer.put(f"{index:08d}", pixels.astype(np.uint8), label, encoding)


def write_net(folder: Path, layers: str | None = None, transform: str = "scale: 0.01") -> None:
    layers = body() if layers is None else layers
    text = _NET.format(body=layers, transform=transform)
    (folder / "net.prototxt").write_text(text)


def write_deploy(path: Path, layers: str | None = None, size: int = 8, channels: int = 1) -> Path:
    layers = body() if layers is None else layers
    path.write_text(_DEPLOY.format(body=layers, size=size, channels=channels))
    return path


def write_solver(folder: Path, **changes: object) -> Path:
    """Solver with some fields changed; None takes a field out."""
    path = folder / "solver.prototxt"
    fields = {name: value for name, value in {**_SOLVER, **changes}.items() if value is not None}
    path.write_text("".join(f"{name}: {value}\n" for name, value in fields.items()))
    return path


def write_all(folder: Path) -> Path:
    """LMDBs, net, deploy net and solver; returns the solver."""
    write_lmdb(folder / "train_lmdb", TRAIN)
    write_lmdb(folder / "val_lmdb", VAL)
    write_net(folder)
    write_deploy(folder / "deploy.prototxt")
    return write_solver(folder)
