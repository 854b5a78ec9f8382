"""Old prototxt syntax to today's, as Caffe upgrades it when it reads a file.

Old are `layers { type: CONVOLUTION blobs_lr: 1 }` (2014) and `input:` / `input_dim:` /
`input_shape` beside the layers (2015); `round_mode` of a pooling layer is BVLC's `ceil_mode`.
"""

from __future__ import annotations

from ..errors import NetError
from ..proto.caffe_pb2 import LayerParameter, NetParameter, PoolingParameter, V1LayerParameter

_ODD_TYPES = {
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "LRN": "LRN",
    "MVN": "MVN",
    "RELU": "ReLU",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
}
_SAME = ("bottom", "top", "include", "exclude", "blobs", "loss_weight")
_TRANSFORMED = ("data_param", "image_data_param", "window_data_param")


def upgrade(net: NetParameter) -> NetParameter:
    """Copy of a net without V1 layers and without input fields.

    Raises:
        NetError: the net mixes `layer` and `layers`, or its input fields do not add up.
    """
    new = NetParameter()
    new.CopyFrom(net)
    for field in ("layers", "layer", "input", "input_dim", "input_shape"):
        new.ClearField(field)
    if net.layer and net.layers:
        raise NetError("mixes `layer` and `layers`", "use `layer` throughout")
    new.layer.extend(_input_layers(net))
    new.layer.extend(net.layer)
    new.layer.extend(_upgrade_layer(layer) for layer in net.layers)
    for layer in new.layer:
        _upgrade_rounding(layer)
    return new


def _upgrade_rounding(layer: LayerParameter) -> None:
    """BVLC's name of the setting to that of the Caffe that is built here."""
    pool = layer.pooling_param
    if layer.HasField("pooling_param") and pool.HasField("round_mode"):
        pool.ceil_mode = pool.round_mode == PoolingParameter.CEIL
        pool.ClearField("round_mode")


def _input_layers(net: NetParameter) -> list[LayerParameter]:
    if not net.input_shape and not net.input_dim:
        return []
    layer = LayerParameter(name="input", type="Input", top=net.input)
    if net.input_shape:
        layer.input_param.shape.extend(net.input_shape)
    else:
        for start in range(0, len(net.input_dim), 4):
            layer.input_param.shape.add(dim=net.input_dim[start : start + 4])
    if len(layer.input_param.shape) != len(net.input) or len(net.input_dim) % 4:
        raise NetError(
            f"has {len(net.input)} inputs and shapes for {len(layer.input_param.shape)}",
            "give each `input` four `input_dim` or one `input_shape`",
        )
    return [layer]


def _upgrade_layer(old: V1LayerParameter) -> LayerParameter:
    new = LayerParameter(name=old.name, type=_type_name(old))
    for field in _SAME:
        getattr(new, field).extend(getattr(old, field))
    for descriptor, value in old.ListFields():
        if descriptor.name.endswith("_param"):
            getattr(new, descriptor.name).CopyFrom(value)
    _upgrade_params(old, new)
    _upgrade_transform(new)
    return new


def _type_name(old: V1LayerParameter) -> str:
    if old.type == V1LayerParameter.NONE:
        raise NetError(f"layer {old.name!r} has no type", "give it one")
    name = V1LayerParameter.LayerType.Name(old.type)
    return _ODD_TYPES.get(name, name.title().replace("_", ""))


def _upgrade_params(old: V1LayerParameter, new: LayerParameter) -> None:
    """Names, share modes, rates and decays lay in four parallel lists."""
    lists = (old.param, old.blob_share_mode, old.blobs_lr, old.weight_decay)
    for index in range(max(len(values) for values in lists)):
        spec = new.param.add()
        if index < len(old.param):
            spec.name = old.param[index]
        if index < len(old.blob_share_mode):
            spec.share_mode = int(old.blob_share_mode[index])  # type: ignore[assignment]
        if index < len(old.blobs_lr):
            spec.lr_mult = old.blobs_lr[index]
        if index < len(old.weight_decay):
            spec.decay_mult = old.weight_decay[index]


def _upgrade_transform(layer: LayerParameter) -> None:
    """Scale, mean, crop and mirror used to lie in the data layer's own parameters."""
    for name in _TRANSFORMED:
        if not layer.HasField(name):
            continue
        source = getattr(layer, name)
        for field in ("scale", "mean_file", "crop_size", "mirror"):
            if source.HasField(field):
                setattr(layer.transform_param, field, getattr(source, field))
                source.ClearField(field)
