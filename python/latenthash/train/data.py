"""What the data layers of a net read, checked before Caffe reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, NetError
from ..images import Preprocess
from ..lmdb_store import DatumReader
from ..netdef import NetDef
from ..netdef.phase import layers_of
from ..netdef.upgrade import upgrade
from ..proto import read_mean, read_net
from ..proto.caffe_pb2 import DataParameter, LayerParameter, TransformationParameter
from .paths import find

_LABEL_READERS = ("SoftmaxWithLoss", "Accuracy", "MultinomialLogisticLoss", "HingeLoss")


@dataclass(frozen=True)
class Data:
    """One Data layer and its LMDB.

    Attributes:
        name: the layer's.
        phase: "TRAIN" or "TEST".
        source: the LMDB, absolute.
        tops: blobs that it makes: images, labels.
        shape: (C, H, W) of the first image as stored.
        labels: (count,) int32.
        content_hash: of the LMDB's manifest; None without one.
        preprocess: what a centre crop of an image goes through.
    """

    name: str
    phase: str
    source: Path
    tops: tuple[str, ...]
    shape: tuple[int, int, int]
    labels: NDArray[np.int32]
    content_hash: str | None
    preprocess: Preprocess


def read_data(net: Path, phase: str) -> list[Data]:
    """Check and describe the Data layers of a net in one phase.

    Raises:
        NetError: the net is malformed, or a layer asks for what Caffe cannot do.
        DataError: an LMDB or mean file is missing, empty, damaged or does not fit.
    """
    layers = layers_of(upgrade(read_net(net)), phase)
    return [_read(layer, net, phase) for layer in layers if layer.type == "Data"]


def _read(layer: LayerParameter, net: Path, phase: str) -> Data:
    param, transform = layer.data_param, layer.transform_param
    where = f"{net}: layer {layer.name!r} ({phase})"
    if param.backend != DataParameter.LMDB:
        raise NetError(f"{where}: reads LevelDB", "set backend: LMDB in data_param")
    source = find(param.source, net, "LMDB")
    with DatumReader(source, _channels(transform)) as reader:
        shape, labels = reader.shape, reader.labels()
        content_hash = reader.content_hash
    mean_file = find(transform.mean_file, net, "mean file") if transform.mean_file else None
    return Data(
        name=layer.name,
        phase=phase,
        source=source,
        tops=tuple(layer.top),
        shape=shape,
        labels=labels,
        content_hash=content_hash,
        preprocess=_preprocess(transform, shape, mean_file, where),
    )


def _channels(transform: TransformationParameter) -> int | None:
    """Channels that encoded images are decoded to; None leaves them as they are."""
    if transform.force_color:
        return 3
    return 1 if transform.force_gray else None


def _preprocess(
    transform: TransformationParameter,
    shape: tuple[int, int, int],
    mean_file: Path | None,
    where: str,
) -> Preprocess:
    channels, height, width = shape
    crop = transform.crop_size
    if crop > min(height, width):
        raise DataError(
            f"{where}: crop_size {crop}, its images are {width}x{height}",
            "lower crop_size, or build the LMDB with larger images",
        )
    mean = _mean(transform, shape, mean_file, where)
    size = (crop, crop) if crop else (height, width)
    return Preprocess(channels, (height, width), size, mean, transform.scale)


def _mean(
    transform: TransformationParameter, shape: tuple[int, int, int], file: Path | None, where: str
) -> tuple[float, ...] | NDArray[np.float32] | None:
    values = tuple(transform.mean_value)
    if file is not None:
        mean = read_mean(file)
        if values:
            raise NetError(f"{where}: has mean_file and mean_value", "keep one of them")
        if mean.shape != shape:
            raise DataError(
                f"{file}: a mean of shape {mean.shape}, the images of {where} are {shape}",
                "give the mean that was built with this LMDB",
            )
        return mean
    if len(values) not in (0, 1, shape[0]):
        raise NetError(
            f"{where}: {len(values)} mean_value for {shape[0]} channels",
            "give one, or one per channel",
        )
    return (values * shape[0])[: shape[0]] or None


def require_labels(net: NetDef, data: Data) -> None:
    """Raise `DataError` unless the classifier has an output for every label.

    The outputs are those of each loss or accuracy that reads the labels, and of the
    layer `classifier`.
    """
    if len(data.tops) < 2:
        return
    low, high = int(data.labels.min()), int(data.labels.max())
    for classes, layer in _classifiers(net, data.tops[1]).items():
        if low < 0 or high >= classes:
            raise DataError(
                f"{data.source}: has labels {low} to {high}, "
                f"{layer} of {net.path} has {classes} outputs",
                f"set num_output to {high + 1} at least" if low >= 0 else "build the LMDB again",
            )


def _classifiers(net: NetDef, label: str) -> Mapping[int, str]:
    """Number of classes and who says so."""
    found = {}
    for layer in net.layers:
        ignoring = layer.param.loss_param.HasField("ignore_label")
        if layer.type in _LABEL_READERS and layer.bottoms[1:2] == (label,) and not ignoring:
            scores = net.blob_shapes[layer.bottoms[0]]
            found[scores[1]] = repr(layer.bottoms[0])
    if net.classes is not None:
        found[net.classes] = "'classifier'"
    return found
