"""Trained weights on disk, and how they fit a net.

Caffe keeps weights in two forms: a binary NetParameter (`.caffemodel`) and HDF5
(`.caffemodel.h5`, one data set `/data/<layer>/<index>` a blob).
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from .errors import NetError
from .files import atomic_file
from .netdef import NetDef
from .proto import array_from_blob, fill_blob, read_binary, write_binary
from .proto.caffe_pb2 import BlobProto, LayerParameter, NetParameter, V1LayerParameter

Weights = dict[str, list[NDArray[np.float32]]]
"""The blobs of each layer that has some, in Caffe's order: weight, then bias."""

# The high bytes of floats are much alike, so they lie side by side.
_HALF: dict[str, Any] = {"compression": "gzip", "compression_opts": 9, "shuffle": True}


def read_weights(path: Path) -> Weights:
    """Read `.h5` as HDF5, anything else as a binary caffemodel.

    Blobs of files written before 2015 keep their 4-d shapes, e.g. (1, 1, 1, N) for a
    bias. Of layers that share a name the last with blobs counts, as in Caffe.

    Raises:
        NetError: the file is missing, truncated or holds no weights.
    """
    weights = _read_hdf5(path) if path.suffix == ".h5" else _read_caffemodel(path)
    if not weights:
        raise NetError(f"{path}: holds no weights", "give a caffemodel")
    return weights


def _read_caffemodel(path: Path) -> Weights:
    net = read_binary(path, NetParameter())
    layers: list[LayerParameter | V1LayerParameter] = [*net.layers, *net.layer]
    weights: Weights = {}
    for layer in layers:
        if layer.blobs:
            weights[layer.name] = list(_arrays(layer.blobs, f"{path}: layer {layer.name!r}"))
        layer.ClearField("blobs")  # large nets: keep each value once
    return weights


def _arrays(blobs: Iterable[BlobProto], where: str) -> Iterator[NDArray[np.float32]]:
    for blob in blobs:
        try:
            yield array_from_blob(blob)
        except ValueError as error:
            raise NetError(f"{where}: {error}", "fetch or train the weights again") from error


def _read_hdf5(path: Path) -> Weights:
    if not path.is_file():
        raise NetError(f"{path}: no such file", "check the path")
    try:
        with h5py.File(path, "r") as file:
            return {name: _datasets(group) for name, group in _groups(file) if len(group)}
    except (OSError, ValueError, TypeError) as error:
        raise NetError(
            f"{path}: is no whole HDF5 file of Caffe's weights ({error})",
            "fetch or train the weights again",
        ) from error


def _groups(file: h5py.File) -> list[tuple[str, h5py.Group]]:
    data = file.get("data")
    if not isinstance(data, h5py.Group):
        raise ValueError("no group /data")
    if strange := [name for name, item in data.items() if not isinstance(item, h5py.Group)]:
        raise ValueError(f"/data/{strange[0]} is no group")
    return list(data.items())


def _datasets(group: h5py.Group) -> list[NDArray[np.float32]]:
    return [np.asarray(group[index], np.float32) for index in sorted(group, key=int)]


def write_weights(weights: Weights, path: Path, name: str = "", half: bool = False) -> None:
    """Write weights that Caffe loads: HDF5 if `path` ends in .h5, else a caffemodel.

    Args:
        weights: float arrays by layer.
        path: appears whole or not at all.
        name: the net's name, kept by a caffemodel.
        half: float16, compressed, which HDF5 alone can hold: half the size or less.

    Raises:
        StorageError: the disk is full or the path cannot be written.
        NetError: HDF5 cannot hold a layer's name, or a value is too large for float16.
    """
    if half and path.suffix != ".h5":
        raise NetError(f"{path}: a caffemodel is float32", "name it .caffemodel.h5")
    if path.suffix == ".h5":
        _write_hdf5(weights, path, half)
    else:
        write_binary(_message(weights, name), path)


def _message(weights: Weights, name: str) -> NetParameter:
    net = NetParameter(name=name)
    for layer_name, arrays in weights.items():
        layer = net.layer.add(name=layer_name)
        for array in arrays:
            fill_blob(layer.blobs.add(), array)
    return net


def _write_hdf5(weights: Weights, path: Path, half: bool) -> None:
    if nested := [layer for layer in weights if "/" in layer]:
        raise NetError(
            f"{path}: Caffe's HDF5 holds no layer with a slash in its name, as {nested[0]!r} has",
            "write a .caffemodel",
        )
    made = io.BytesIO()  # in memory: HDF5 dies of a disk that fills up
    with h5py.File(made, "w") as file:
        data = file.create_group("data")
        for layer, arrays in weights.items():
            group = data.create_group(layer)
            for index, array in enumerate(arrays):
                filters = _HALF if half and array.ndim else {}
                values = _values(array, half, f"{path}: layer {layer!r}")
                group.create_dataset(str(index), data=values, **filters)
    with atomic_file(path) as partial:
        partial.write_bytes(made.getbuffer())


def _values(array: NDArray[np.float32], half: bool, where: str) -> NDArray[np.floating]:
    if not half:
        return np.asarray(array, np.float32)
    if np.abs(array).max(initial=0) > np.finfo(np.float16).max:
        raise NetError(f"{where}: holds values too large for float16", "write float32")
    return np.asarray(array, np.float16)


@dataclass(frozen=True)
class Fit:
    """How weights fit a net, by layer name.

    Attributes:
        taken: layers that take their weights from the file.
        fresh: layers of the net that the file does not have; they start from their fillers.
        unused: layers of the file that the net does not have.
        conflicting: texts, one a layer that both have in different shapes. Caffe refuses
            such weights.
    """

    taken: list[str] = field(default_factory=list)
    fresh: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    conflicting: list[str] = field(default_factory=list)


def fit(net: NetDef, weights: Weights) -> Fit:
    """Match weights with a net's layers by name, as Caffe does when it loads them."""
    result = Fit()
    for name in net.param_shapes:
        if name not in weights:
            result.fresh.append(name)
    in_net = {layer.name for layer in net.layers}
    for name, arrays in weights.items():
        shapes = [array.shape for array in arrays]
        expected = list(net.param_shapes.get(name, ()))
        if name not in in_net:
            result.unused.append(name)
        elif len(shapes) == len(expected) and all(map(_fits, shapes, expected)):
            result.taken.append(name)
        else:
            result.conflicting.append(f"{name}: {_text(shapes)} in file, {_text(expected)} in net")
    return result


def _fits(found: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Equal, or equal behind the leading ones of the old 4-d shapes."""
    return found == expected or (len(found) == 4 and found == (1,) * (4 - len(expected)) + expected)


def _text(shapes: Iterable[tuple[int, ...]]) -> str:
    return " + ".join("x".join(map(str, shape)) or "scalar" for shape in shapes) or "no weights"
