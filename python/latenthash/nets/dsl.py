"""Layers as one-line calls. Each returns Caffe's message; names are the blobs they make."""

from __future__ import annotations

from ..proto.caffe_pb2 import (
    TEST,
    TRAIN,
    BlobProto,
    DataParameter,
    FillerParameter,
    LayerParameter,
    ParamSpec,
    PoolingParameter,
    TransformationParameter,
)

Rates = tuple[float, float]
"""Learning rate multipliers of weights and bias."""

TWICE: Rates = (1, 2)  # biases learn twice as fast, as in BVLC's nets
FROZEN: Rates = (0, 0)


def gaussian(std: float) -> FillerParameter:
    """Normal values around 0."""
    return FillerParameter(type="gaussian", std=std)


def constant(value: float) -> FillerParameter:
    """One value."""
    return FillerParameter(type="constant", value=value)


def xavier() -> FillerParameter:
    """Uniform values, scaled by the number of inputs."""
    return FillerParameter(type="xavier")


def msra() -> FillerParameter:
    """Normal values scaled for rectifiers (He et al. 2015)."""
    return FillerParameter(type="msra")


def data_layers(
    source: str, batches: tuple[int, int], transform: TransformationParameter
) -> list[LayerParameter]:
    """Data layers of TRAIN and TEST over `source`/train_lmdb and `source`/val_lmdb.

    Args:
        source: folder of the data set.
        batches: images a batch in TRAIN and in TEST.
        transform: of TRAIN; TEST is never mirrored.
    """
    layers = []
    for phase, split, batch in ((TRAIN, "train", batches[0]), (TEST, "val", batches[1])):
        layer = LayerParameter(name="data", type="Data", top=["data", "label"])
        layer.include.add(phase=phase)
        layer.transform_param.CopyFrom(transform)
        if phase == TEST:
            layer.transform_param.ClearField("mirror")
        layer.data_param.source = f"{source}/{split}_lmdb"
        layer.data_param.batch_size = batch
        layer.data_param.backend = DataParameter.LMDB
        layers.append(layer)
    return layers


def input_layer(channels: int, size: int) -> LayerParameter:
    """Input of a deploy net: one square image; whoever runs it reshapes the batch."""
    layer = LayerParameter(name="data", type="Input", top=["data"])
    layer.input_param.shape.add(dim=[1, channels, size, size])
    return layer


def conv(
    name: str,
    bottom: str,
    outputs: int,
    kernel: int,
    *,
    weight: FillerParameter,
    bias: float = 0,
    stride: int = 1,
    pad: int = 0,
    group: int = 1,
    rates: Rates = TWICE,
) -> LayerParameter:
    """Convolution with square kernels."""
    layer = _layer(name, "Convolution", [bottom])
    layer.param.extend(specs(rates))
    setting = layer.convolution_param
    setting.num_output = outputs
    setting.kernel_size.append(kernel)
    if pad:
        setting.pad.append(pad)
    if stride > 1:
        setting.stride.append(stride)
    if group > 1:
        setting.group = group
    setting.weight_filler.CopyFrom(weight)
    setting.bias_filler.CopyFrom(constant(bias))
    return layer


def inner(
    name: str,
    bottom: str,
    outputs: int,
    *,
    weight: FillerParameter,
    bias: float = 0,
    rates: Rates = TWICE,
) -> LayerParameter:
    """Inner product over all of an image's values."""
    layer = _layer(name, "InnerProduct", [bottom])
    layer.param.extend(specs(rates))
    layer.inner_product_param.num_output = outputs
    layer.inner_product_param.weight_filler.CopyFrom(weight)
    layer.inner_product_param.bias_filler.CopyFrom(constant(bias))
    return layer


def specs(rates: Rates) -> list[ParamSpec]:
    """Weights decay, biases do not; what is frozen does neither."""
    weights, biases = rates
    return [
        ParamSpec(lr_mult=weights, decay_mult=1 if weights else 0),
        ParamSpec(lr_mult=biases, decay_mult=0),
    ]


def pool(name: str, bottom: str, kernel: int, stride: int) -> LayerParameter:
    """Max pooling."""
    layer = _layer(name, "Pooling", [bottom])
    layer.pooling_param.pool = PoolingParameter.MAX
    layer.pooling_param.kernel_size = kernel
    layer.pooling_param.stride = stride
    return layer


def lrn(name: str, bottom: str) -> LayerParameter:
    """Response normalisation over 5 channels, as in AlexNet."""
    layer = _layer(name, "LRN", [bottom])
    layer.lrn_param.local_size = 5
    layer.lrn_param.alpha = 1e-4
    layer.lrn_param.beta = 0.75
    return layer


def relu(name: str, blob: str) -> LayerParameter:
    """Rectifier, in place."""
    return LayerParameter(name=name, type="ReLU", bottom=[blob], top=[blob])


def dropout(name: str, blob: str, top: str | None = None) -> LayerParameter:
    """Dropout of one half, in place unless `top` is given."""
    layer = LayerParameter(name=name, type="Dropout", bottom=[blob], top=[top or blob])
    layer.dropout_param.dropout_ratio = 0.5
    return layer


def unary(kind: str, name: str, bottom: str) -> LayerParameter:
    """Layer of one bottom and no settings: Sigmoid, Softmax, AbsVal, ReLU."""
    return _layer(name, kind, [bottom])


def loss(kind: str, scores: str, targets: str) -> LayerParameter:
    """Loss named `loss`."""
    return _layer("loss", kind, [scores, targets])


def accuracy(scores: str, labels: str) -> LayerParameter:
    """Share of images whose best score is their label's, in TEST."""
    layer = _layer("accuracy", "Accuracy", [scores, labels])
    layer.include.add(phase=TEST)
    return layer


def one_hot(labels: str, classes: int) -> list[LayerParameter]:
    """Layers from labels (N,) to the blob `one_hot` (N, classes), in stock Caffe.

    BVLC has no one-hot layer and no identity filler. For integers
    max(0, 1 - |label - class|) is 1 at the label and 0 elsewhere, and the row of class
    numbers to subtract is a frozen bias whose values stand in the prototxt.
    """
    column = _layer("label_column", "Reshape", [labels])
    column.reshape_param.shape.dim.extend([-1, 1])
    tiled = _layer("label_tiled", "Tile", ["label_column"])
    tiled.tile_param.tiles = classes
    minus = _layer("label_minus_class", "Bias", ["label_tiled"])
    minus.param.add(lr_mult=0, decay_mult=0)
    row = BlobProto(data=[-c for c in range(classes)])
    row.shape.dim.append(classes)
    minus.blobs.append(row)
    distance = unary("AbsVal", "label_distance", "label_minus_class")
    flipped = _layer("label_closeness", "Power", ["label_distance"])
    flipped.power_param.scale = -1
    flipped.power_param.shift = 1
    return [column, tiled, minus, distance, flipped, unary("ReLU", "one_hot", "label_closeness")]


def for_deploy(layer: LayerParameter) -> LayerParameter:
    """Copy without what only training reads: rates and fillers."""
    bare = LayerParameter()
    bare.CopyFrom(layer)
    bare.ClearField("param")
    for field in ("convolution_param", "inner_product_param"):
        if bare.HasField(field):
            getattr(bare, field).ClearField("weight_filler")
            getattr(bare, field).ClearField("bias_filler")
    return bare


def _layer(name: str, kind: str, bottoms: list[str]) -> LayerParameter:
    return LayerParameter(name=name, type=kind, bottom=bottoms, top=[name])
