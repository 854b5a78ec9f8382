"""Shapes of layers without weights: neurons, pooling, losses, and those that rearrange."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import ceil, floor

from ..errors import NetError
from ..proto.caffe_pb2 import LayerParameter, PoolingParameter
from .rules import Shape, Shapes, canonical_axis, count, require, rule


@rule(
    *("ReLU", "ReLU6", "Sigmoid", "TanH", "ELU", "Power", "AbsVal", "Exp", "Log"),
    *("BNLL", "Threshold", "Dropout", "LRN", "MVN", "Softmax"),
)
def _same(layer: LayerParameter, bottoms: list[Shape]) -> Shapes:
    return Shapes([bottoms[0]])


@rule("Clip")
def _clip(layer: LayerParameter, bottoms: list[Shape]) -> Shapes:
    clip = layer.clip_param
    given = clip.HasField("min") and clip.HasField("max")
    require(given and clip.min <= clip.max, "has no min and max", "set clip_param")
    return Shapes([bottoms[0]])


@rule("Split")
def _split(layer: LayerParameter, bottoms: list[Shape]) -> Shapes:
    return Shapes([bottoms[0]] * len(layer.top))


@rule("Silence", many=True)
def _silence(layer: LayerParameter, bottoms: list[Shape]) -> Shapes:
    return Shapes([])


@rule("HDF5Output", bottoms=2)
def _output(layer: LayerParameter, bottoms: list[Shape]) -> Shapes:
    return Shapes([])


@rule("Pooling")
def _pooling(layer: LayerParameter, bottoms: list[Shape]) -> Shapes:
    (bottom,) = bottoms
    require(len(bottom) == 4, f"pools blobs of 4 axes, not of shape {bottom}")
    pool = layer.pooling_param
    if pool.global_pooling:
        return Shapes([(*bottom[:2], 1, 1)] * len(layer.top))
    kernel, stride, pad = _pair(pool, "kernel"), _pair(pool, "stride"), _pair(pool, "pad")
    padded = any(pad)
    sizes = [
        _pooled(bottom[2 + i], kernel[i], stride[i], pad[i], padded, pool.ceil_mode)
        for i in range(2)
    ]
    return Shapes([(*bottom[:2], *sizes)] * len(layer.top))


def _pair(pool: PoolingParameter, what: str) -> tuple[int, int]:
    """(height, width) of a setting that is given once or per axis."""
    if pool.HasField(f"{what}_h") and pool.HasField(f"{what}_w"):
        return getattr(pool, f"{what}_h"), getattr(pool, f"{what}_w")
    one = pool.kernel_size if what == "kernel" else getattr(pool, what)
    require(one > 0 or what == "pad", f"{what} is 0")
    return one, one


def _pooled(size: int, kernel: int, stride: int, pad: int, padded: bool, ceil_mode: bool) -> int:
    """Windows start inside the image or its left padding; a last one beyond is clipped."""
    require(pad < kernel, f"pad {pad} is not below the kernel's {kernel}")
    rounded = ceil if ceil_mode else floor
    pooled = rounded((size + 2 * pad - kernel) / stride) + 1
    if padded and (pooled - 1) * stride >= size + pad:
        pooled -= 1
    require(pooled > 0, f"kernel {kernel} is larger than the blob's {size}")
    return pooled


@rule("SoftmaxWithLoss", bottoms=2, most=3)
@rule("InfogainLoss", bottoms=2, most=3)
def _loss_with_prob(layer: LayerParameter, bottoms: list[Shape]) -> Shapes:
    _same_batch(bottoms)
    return Shapes([(), bottoms[0]])


@rule("SigmoidCrossEntropyLoss", "EuclideanLoss", bottoms=2)
def _elementwise_loss(layer: LayerParameter, bottoms: list[Shape]) -> Shapes:
    _same_batch(bottoms)
    require(
        count(bottoms[0], 1) == count(bottoms[1], 1),
        f"compares shapes {bottoms[0]} and {bottoms[1]}",
        "give predictions and targets of the same size",
    )
    return Shapes([(), bottoms[0]])


@rule("HingeLoss", "MultinomialLogisticLoss", bottoms=2)
@rule("ContrastiveLoss", bottoms=3)
def _loss(layer: LayerParameter, bottoms: list[Shape]) -> Shapes:
    _same_batch(bottoms)
    return Shapes([()])


def _same_batch(bottoms: list[Shape]) -> None:
    require(
        all(bottoms) and bottoms[0][0] == bottoms[1][0],
        f"batches differ: shapes {bottoms[0]} and {bottoms[1]}",
    )


@rule("Accuracy", bottoms=2)
def _accuracy(layer: LayerParameter, bottoms: list[Shape]) -> Shapes:
    scores, labels = bottoms
    axis = canonical_axis(layer.accuracy_param.axis, scores)
    top_k, classes = layer.accuracy_param.top_k, scores[axis]
    require(top_k <= classes, f"top_k {top_k} of {classes} classes", "lower top_k")
    require(
        count(scores) == count(labels) * classes,
        f"labels of shape {labels} for scores of shape {scores}",
    )
    return Shapes([(), (classes,)])


@rule("ArgMax")
def _argmax(layer: LayerParameter, bottoms: list[Shape]) -> Shapes:
    (bottom,) = bottoms
    argmax = layer.argmax_param
    if argmax.HasField("axis"):
        axis = canonical_axis(argmax.axis, bottom)
        return Shapes([(*bottom[:axis], argmax.top_k, *bottom[axis + 1 :])])
    more = (1,) * (len(bottom) - 3)
    return Shapes([(bottom[0], 2 if argmax.out_max_val else 1, argmax.top_k, *more)])


@rule("Concat", many=True)
def _concat(layer: LayerParameter, bottoms: list[Shape]) -> Shapes:
    first, concat = bottoms[0], layer.concat_param
    axis = concat.concat_dim if concat.HasField("concat_dim") else concat.axis
    axis = canonical_axis(axis, first)
    rests = {(*shape[:axis], *shape[axis + 1 :]) for shape in bottoms}
    require(len(rests) == 1, f"shapes {bottoms} differ beside axis {axis}")
    return Shapes([(*first[:axis], sum(shape[axis] for shape in bottoms), *first[axis + 1 :])])


@rule("Slice")
def _slice(layer: LayerParameter, bottoms: list[Shape]) -> Shapes:
    (bottom,) = bottoms
    setting, tops = layer.slice_param, len(layer.top)
    axis = setting.slice_dim if setting.HasField("slice_dim") else setting.axis
    axis = canonical_axis(axis, bottom)
    sizes = _slices(bottom[axis], list(setting.slice_point), tops)
    return Shapes([(*bottom[:axis], size, *bottom[axis + 1 :]) for size in sizes])


def _slices(size: int, points: list[int], tops: int) -> list[int]:
    if not points:
        require(tops > 0 and size % tops == 0, f"{size} does not divide into {tops} tops")
        return [size // tops] * tops
    require(len(points) == tops - 1, f"{len(points)} slice points for {tops} tops")
    ends = [0, *points, size]
    sizes = [end - start for start, end in pairwise(ends)]
    require(min(sizes) > 0, f"slice points {points} do not rise within {size}")
    return sizes


@rule("Eltwise", bottoms=2, many=True)
def _eltwise(layer: LayerParameter, bottoms: list[Shape]) -> Shapes:
    require(len(set(bottoms)) == 1, f"combines different shapes: {bottoms}")
    return Shapes([bottoms[0]])


@rule("Flatten")
def _flatten(layer: LayerParameter, bottoms: list[Shape]) -> Shapes:
    (bottom,) = bottoms
    start = canonical_axis(layer.flatten_param.axis, bottom)
    end = canonical_axis(layer.flatten_param.end_axis, bottom) + 1
    return Shapes([(*bottom[:start], count(bottom, start, end), *bottom[end:])])


@rule("Reshape")
def _reshape(layer: LayerParameter, bottoms: list[Shape]) -> Shapes:
    (bottom,) = bottoms
    setting = layer.reshape_param
    start = setting.axis if setting.axis >= 0 else len(bottom) + setting.axis + 1
    end = len(bottom) if setting.num_axes == -1 else start + setting.num_axes
    require(0 <= start <= end <= len(bottom), f"axes {start} to {end} of shape {bottom}")
    dims = _copied(list(setting.shape.dim), bottom[start:])
    rest = count(bottom, 0, start) * count(bottom, end)
    top = (*bottom[:start], *_inferred(dims, count(bottom), rest), *bottom[end:])
    require(count(top) == count(bottom), f"{bottom} does not reshape to {top}")
    return Shapes([top])


def _copied(dims: list[int], bottom: Shape) -> list[int]:
    """Replace each 0 by the bottom's size on that axis."""
    require(
        all(dim or i < len(bottom) for i, dim in enumerate(dims)),
        f"a 0 in {dims} has no axis to copy from",
    )
    return [dim or bottom[i] for i, dim in enumerate(dims)]


def _inferred(dims: list[int], total: int, rest: int) -> list[int]:
    """Replace one -1 by what is left of `total`."""
    if -1 not in dims:
        return dims
    known = rest
    for dim in dims:
        known *= dim if dim != -1 else 1
    require(dims.count(-1) == 1, f"more than one -1 in {dims}")
    require(known > 0 and total % known == 0, f"{total} values do not fill {dims}")
    return [total // known if dim == -1 else dim for dim in dims]


@rule("Tile")
def _tile(layer: LayerParameter, bottoms: list[Shape]) -> Shapes:
    (bottom,) = bottoms
    axis, tiles = canonical_axis(layer.tile_param.axis, bottom), layer.tile_param.tiles
    require(tiles > 0, "tiles is 0")
    return Shapes([(*bottom[:axis], bottom[axis] * tiles, *bottom[axis + 1 :])])


@rule("Reduction")
def _reduction(layer: LayerParameter, bottoms: list[Shape]) -> Shapes:
    return Shapes([bottoms[0][: canonical_axis(layer.reduction_param.axis, bottoms[0])]])


@rule("Crop", bottoms=2)
def _crop(layer: LayerParameter, bottoms: list[Shape]) -> Shapes:
    data, like = bottoms
    axis = canonical_axis(layer.crop_param.axis, data)
    require(len(like) == len(data), f"crops {data} to {like}")
    offsets = _offsets(list(layer.crop_param.offset), len(data) - axis)
    for i, offset in enumerate(offsets, start=axis):
        require(like[i] + offset <= data[i], f"crop of axis {i} leaves {data}")
    return Shapes([(*data[:axis], *like[axis:])])


def _offsets(given: Sequence[int], axes: int) -> list[int]:
    if len(given) <= 1:
        return [given[0] if given else 0] * axes
    if len(given) != axes:
        raise NetError(f"{len(given)} offsets for {axes} axes", "give one, or one per axis")
    return list(given)
