"""Shapes of layers that bring data into the net."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import NetError
from ..proto.caffe_pb2 import LayerParameter, TransformationParameter
from .rules import Shape, require

SOURCES = ("Input", "Data", "ImageData", "HDF5Data", "MemoryData", "WindowData", "DummyData")


def source_shapes(layer: LayerParameter, data_shapes: Mapping[str, Shape]) -> list[Shape]:
    """Shapes of a source layer's tops.

    Args:
        layer: one of the types in `SOURCES`.
        data_shapes: shape of one stored item by top; see `load_netdef`.
    """
    if layer.type == "Input":
        return _repeated(layer, [tuple(shape.dim) for shape in layer.input_param.shape])
    if layer.type == "DummyData":
        return _dummy(layer)
    if layer.type == "MemoryData":
        memory = layer.memory_data_param
        shape = (memory.batch_size, memory.channels, memory.height, memory.width)
        require(min(shape) > 0, f"a batch of shape {shape}")
        return [shape, (memory.batch_size,)]
    if layer.type == "HDF5Data":
        batch = layer.hdf5_data_param.batch_size
        return [(batch, *_known(top, data_shapes)) for top in layer.top]
    return _images(layer, data_shapes)


def _repeated(layer: LayerParameter, shapes: list[Shape]) -> list[Shape]:
    """One shape for all tops, or one for each."""
    require(len(shapes) in (1, len(layer.top)), f"{len(shapes)} shapes for {len(layer.top)} tops")
    return shapes * len(layer.top) if len(shapes) == 1 else shapes


def _dummy(layer: LayerParameter) -> list[Shape]:
    dummy = layer.dummy_data_param
    if not dummy.num:
        return _repeated(layer, [tuple(shape.dim) for shape in dummy.shape])
    lists = (dummy.num, dummy.channels, dummy.height, dummy.width)
    tops = range(len(layer.top))
    require(all(len(v) in (1, len(tops)) for v in lists), "dims are not given once or per top")
    return [tuple(v[0] if len(v) == 1 else v[top] for v in lists) for top in tops]


def _images(layer: LayerParameter, data_shapes: Mapping[str, Shape]) -> list[Shape]:
    batch = _batch_size(layer)
    require(batch > 0, "batch_size is missing")
    return [(batch, *_image_shape(layer, data_shapes)), (batch,)]


def _batch_size(layer: LayerParameter) -> int:
    if layer.type == "ImageData":
        return layer.image_data_param.batch_size
    if layer.type == "WindowData":
        return layer.window_data_param.batch_size
    return layer.data_param.batch_size


def _image_shape(layer: LayerParameter, data_shapes: Mapping[str, Shape]) -> Shape:
    """(C, H, W) after the crop; without knowledge of the data, colour if it is cropped."""
    transform, top = layer.transform_param, layer.top[0]
    crop = transform.crop_size
    if top in data_shapes:
        channels, height, width = _image(top, data_shapes)
        require(
            crop <= min(height, width),
            f"crops {crop} pixels from images of {height} x {width}",
            "lower crop_size or build the data at a larger size",
        )
    elif layer.type == "ImageData" and layer.image_data_param.new_height:
        image = layer.image_data_param
        channels, height, width = 3 if image.is_color else 1, image.new_height, image.new_width
    else:
        _known(top, {top: ()} if crop else {})
        channels, height, width = _channels(transform), crop, crop
    return (channels, crop, crop) if crop else (channels, height, width)


def _image(top: str, data_shapes: Mapping[str, Shape]) -> tuple[int, int, int]:
    shape = data_shapes[top]
    require(len(shape) == 3, f"data of shape {shape} instead of (channels, height, width)")
    return shape[0], shape[1], shape[2]


def _channels(transform: TransformationParameter) -> int:
    return 1 if transform.force_gray else 3


def _known(top: str, data_shapes: Mapping[str, Shape]) -> Shape:
    if top not in data_shapes:
        raise NetError(
            f"the file does not say the shape of {top!r}",
            "set crop_size, or load it together with its data",
        )
    return data_shapes[top]
