"""Layers as one-line calls. Each returns Caffe's message; names are the blobs they make."""

from __future__ import annotations

from collections.abc import Iterable

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
    bias: float | None = 0,
    stride: int = 1,
    pad: int = 0,
    group: int = 1,
    rates: Rates = TWICE,
) -> LayerParameter:
    """Convolution with square kernels; it has no bias where `bias` is None."""
    layer = _layer(name, "Convolution", [bottom])
    layer.param.extend(specs(rates)[: 1 if bias is None else 2])
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
    if bias is None:
        setting.bias_term = False
    else:
        setting.bias_filler.CopyFrom(constant(bias))
    return layer


def batch_norm(blob: str, *, epsilon: float, kept: float) -> list[LayerParameter]:
    """BatchNorm and the Scale that follows it, in place, named `<blob>_bn` and `<blob>_scale`.

    Args:
        blob: what is normalised.
        epsilon: added to the variances.
        kept: share of the moving averages that one more batch leaves in place.
    """
    norm = LayerParameter(name=f"{blob}_bn", type="BatchNorm", bottom=[blob], top=[blob])
    norm.batch_norm_param.eps = epsilon
    norm.batch_norm_param.moving_average_fraction = kept
    scale = LayerParameter(name=f"{blob}_scale", type="Scale", bottom=[blob], top=[blob])
    scale.param.extend([ParamSpec(lr_mult=1, decay_mult=0)] * 2)
    scale.scale_param.filler.CopyFrom(constant(1))
    scale.scale_param.bias_term = True
    return [norm, scale]


def fix_statistics(layers: Iterable[LayerParameter]) -> None:
    """Make training normalise by the moving averages too, and leave them as they are."""
    for layer in layers:
        if layer.type == "BatchNorm":
            layer.batch_norm_param.use_global_stats = True


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


def relu6(blob: str, top: str) -> list[LayerParameter]:
    """min(max(x, 0), 6) as 6 - max(6 - max(x, 0), 0), in layers that every Caffe has.

    Caffe's Power cannot learn in place, as it overwrites the gradient that it reads, nor
    can a rectifier whose output another layer overwrites. So training needs a `top` of its
    own; a net that only runs gives `blob` again and needs no more memory.
    """
    middle = blob if top == blob else f"{blob}_left"
    return [
        relu(f"{blob}_relu", blob),
        _six_minus(f"{blob}_left", blob, middle),
        relu(f"{blob}_relu_left", middle),
        _six_minus(f"{blob}_relu6", middle, top),
    ]


def _six_minus(name: str, bottom: str, top: str) -> LayerParameter:
    layer = LayerParameter(name=name, type="Power", bottom=[bottom], top=[top])
    layer.power_param.scale = -1
    layer.power_param.shift = 6
    return layer


def add(name: str, first: str, second: str) -> LayerParameter:
    """Sum of two blobs of one shape."""
    return _layer(name, "Eltwise", [first, second])


def global_average(name: str, bottom: str) -> LayerParameter:
    """Mean of each channel over all places, (N, C, 1, 1)."""
    layer = _layer(name, "Pooling", [bottom])
    layer.pooling_param.pool = PoolingParameter.AVE
    layer.pooling_param.global_pooling = True
    return layer


def dropout(name: str, blob: str, top: str | None = None, ratio: float = 0.5) -> LayerParameter:
    """Dropout of a share of the values, in place unless `top` is given."""
    layer = LayerParameter(name=name, type="Dropout", bottom=[blob], top=[top or blob])
    layer.dropout_param.dropout_ratio = ratio
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
    if bare.HasField("scale_param"):
        bare.scale_param.ClearField("filler")
    return bare


def _layer(name: str, kind: str, bottoms: list[str]) -> LayerParameter:
    return LayerParameter(name=name, type=kind, bottom=bottoms, top=[name])
