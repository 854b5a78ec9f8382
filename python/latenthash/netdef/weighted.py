"""Shapes of layers with weights."""

from __future__ import annotations

from ..proto.caffe_pb2 import ConvolutionParameter, LayerParameter
from .rules import Shape, Shapes, canonical_axis, count, require, rule


@rule("Convolution", many=True)
def _convolution(layer: LayerParameter, bottoms: list[Shape]) -> Shapes:
    return _convolve(layer, bottoms, transposed=False)


@rule("Deconvolution", many=True)
def _deconvolution(layer: LayerParameter, bottoms: list[Shape]) -> Shapes:
    return _convolve(layer, bottoms, transposed=True)


def _convolve(layer: LayerParameter, bottoms: list[Shape], transposed: bool) -> Shapes:
    conv, bottom = layer.convolution_param, bottoms[0]
    require(set(bottoms) == {bottom}, f"convolves different shapes: {bottoms}")
    axis = canonical_axis(conv.axis, bottom)
    channels, spatial = bottom[axis], bottom[axis + 1 :]
    _check_groups(conv, channels)
    kernel, sizes = _windows(conv, spatial, transposed)
    outer, inner = (channels, conv.num_output) if transposed else (conv.num_output, channels)
    params = [(outer, inner // conv.group, *kernel)] + [(conv.num_output,)] * conv.bias_term
    return Shapes([(*bottom[:axis], conv.num_output, *sizes)] * len(bottoms), params)


def _check_groups(conv: ConvolutionParameter, channels: int) -> None:
    require(conv.num_output > 0, "num_output is missing")
    require(
        channels % conv.group == 0 and conv.num_output % conv.group == 0,
        f"{channels} channels to {conv.num_output} do not divide into {conv.group} groups",
    )


def _windows(
    conv: ConvolutionParameter, spatial: Shape, transposed: bool
) -> tuple[list[int], list[int]]:
    """Kernel and output size of each spatial axis."""
    kernel = _per_axis(conv, "kernel", list(conv.kernel_size), len(spatial), 0)
    stride = _per_axis(conv, "stride", list(conv.stride), len(spatial), 1)
    pad = _per_axis(conv, "pad", list(conv.pad), len(spatial), 0)
    dilation = _per_axis(conv, "dilation", list(conv.dilation), len(spatial), 1)
    require(all(k > 0 for k in kernel) and all(s > 0 for s in stride), "kernel or stride is 0")
    sizes = []
    for i, size in enumerate(spatial):
        extent = dilation[i] * (kernel[i] - 1) + 1
        if transposed:
            sizes.append(stride[i] * (size - 1) + extent - 2 * pad[i])
        else:
            sizes.append((size + 2 * pad[i] - extent) // stride[i] + 1)
        require(sizes[-1] > 0, f"kernel {extent} is larger than the blob's {size}")
    return kernel, sizes


def _per_axis(
    conv: ConvolutionParameter, what: str, given: list[int], axes: int, default: int
) -> list[int]:
    """A setting for each spatial axis: given once, once per axis, or as _h and _w."""
    if what != "dilation" and (conv.HasField(f"{what}_h") or conv.HasField(f"{what}_w")):
        require(axes == 2 and not given, f"{what}_h and {what}_w are for 2 axes without {what}")
        return [getattr(conv, f"{what}_h"), getattr(conv, f"{what}_w")]
    values = given or [default]
    require(len(values) in (1, axes), f"{len(values)} values of {what} for {axes} axes")
    return values * axes if len(values) == 1 else values


@rule("InnerProduct")
def _inner_product(layer: LayerParameter, bottoms: list[Shape]) -> Shapes:
    (bottom,) = bottoms
    inner = layer.inner_product_param
    require(inner.num_output > 0, "num_output is missing")
    axis = canonical_axis(inner.axis, bottom)
    weight = (inner.num_output, count(bottom, axis))
    params = [weight[::-1] if inner.transpose else weight]
    return Shapes(
        [(*bottom[:axis], inner.num_output)],
        params + [(inner.num_output,)] * inner.bias_term,
    )


@rule("Embed")
def _embed(layer: LayerParameter, bottoms: list[Shape]) -> Shapes:
    embed = layer.embed_param
    require(embed.num_output > 0 and embed.input_dim > 0, "num_output or input_dim is missing")
    params: list[Shape] = [(embed.input_dim, embed.num_output)]
    return Shapes(
        [(*bottoms[0], embed.num_output)], params + [(embed.num_output,)] * embed.bias_term
    )


@rule("PReLU")
def _prelu(layer: LayerParameter, bottoms: list[Shape]) -> Shapes:
    (bottom,) = bottoms
    require(len(bottom) >= 2, f"takes blobs of 2 axes or more, not of shape {bottom}")
    return Shapes([bottom], [() if layer.prelu_param.channel_shared else (bottom[1],)])


@rule("BatchNorm")
def _batch_norm(layer: LayerParameter, bottoms: list[Shape]) -> Shapes:
    (bottom,) = bottoms
    channels = bottom[1] if len(bottom) > 1 else 1
    return Shapes([bottom], [(channels,), (channels,), (1,)])


@rule("Scale", most=2)
def _scale(layer: LayerParameter, bottoms: list[Shape]) -> Shapes:
    scale = layer.scale_param
    if len(bottoms) == 2:
        return Shapes([bottoms[0]], [bottoms[1]] * scale.bias_term)
    shape = _spanned(bottoms[0], scale.axis, scale.num_axes)
    return Shapes([bottoms[0]], [shape] + [shape] * scale.bias_term)


@rule("Bias", most=2)
def _bias(layer: LayerParameter, bottoms: list[Shape]) -> Shapes:
    bias = layer.bias_param
    learned = [_spanned(bottoms[0], bias.axis, bias.num_axes)] if len(bottoms) == 1 else []
    return Shapes([bottoms[0]], learned)


def _spanned(bottom: Shape, axis: int, num_axes: int) -> Shape:
    """Sizes of `num_axes` axes from `axis` on; -1 means all the rest."""
    start = canonical_axis(axis, bottom)
    end = len(bottom) if num_axes == -1 else start + num_axes
    require(start <= end <= len(bottom), f"axes {start} to {end} of shape {bottom}")
    return bottom[start:end]


@rule("Parameter", bottoms=0)
def _parameter(layer: LayerParameter, bottoms: list[Shape]) -> Shapes:
    shape = tuple(layer.parameter_param.shape.dim)
    return Shapes([shape], [shape])
