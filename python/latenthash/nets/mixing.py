"""Training on pairs of images, mixed: a net of Caffe's own layers around another one.

Zhang, Cisse, Dauphin, Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", ICLR 2018,
with one share for all pairs instead of one that is drawn: image x of class y and image x'
of class y' give (1 - s) x + s x', whose loss is (1 - s) loss(y) + s loss(y'). The pairs are
the first and the second half of a batch, so both are seen twice, as x and as x'.
"""

from __future__ import annotations

from ..errors import NetError
from ..proto.caffe_pb2 import TEST, TRAIN, LayerParameter, NetParameter
from . import halves

_IMAGES, _LABELS, _INPUT, _OTHERS = "data", "label", "mixed", "label_others"


def mix(net: NetParameter, share: float) -> NetParameter:
    """A train_val net that trains on mixed pairs, and is tested as it was.

    Args:
        net: whose TRAIN data layer gives an even number of images.
        share: of the other image, in 0..0.5.

    Raises:
        NetError: a share that is none, an odd batch, or a loss other than SoftmaxWithLoss.
    """
    if not 0 < share <= 0.5:
        raise NetError(f"a share of {share:g} to mix in", "give more than 0, at most 0.5")
    data = [layer for layer in net.layer if layer.type == "Data"]
    rest = [layer for layer in net.layer if layer.type != "Data"]
    _require_pairs(data)
    losses = [layer for layer in rest if _LABELS in layer.bottom and layer.type != "Accuracy"]
    if [layer.type for layer in losses] != ["SoftmaxWithLoss"]:
        raise NetError(f"{net.name}: its loss takes no mixed images", "choose a net with softmax")
    mixed = NetParameter(name=net.name, layer=[*data, *_mixing(share)])
    for layer in rest:
        if layer in losses:
            mixed.layer.extend(_losses(layer, share))
        else:
            mixed.layer.append(layer)
            _rename(mixed.layer[-1])
    return mixed


def _require_pairs(data: list[LayerParameter]) -> None:
    for layer in data:
        batch = layer.data_param.batch_size
        if TRAIN in [rule.phase for rule in layer.include] and batch % 2:
            raise NetError(f"batches of {batch} images", "choose an even number, for pairs")


def _rename(layer: LayerParameter) -> None:
    layer.bottom[:] = [_INPUT if bottom == _IMAGES else bottom for bottom in layer.bottom]


def _mixing(share: float) -> list[LayerParameter]:
    """TRAIN: images of both halves mixed, and the labels the other way around."""
    images, labels = halves.cut(_IMAGES), halves.cut(_LABELS)
    first, second = images.top
    pairs = [
        halves.weigh(first, second, share, f"{first}_mixed"),
        halves.weigh(second, first, share, f"{second}_mixed"),
    ]
    mixed = halves.join([pair.top[0] for pair in pairs], _INPUT)
    made = [images, labels, *pairs, mixed, halves.join(labels.top[::-1], _OTHERS)]
    for layer in made:
        layer.include.add(phase=TRAIN)
    whole = LayerParameter(name="unmixed", type="Power", bottom=[_IMAGES], top=[_INPUT])
    whole.include.add(phase=TEST)
    return [*made, whole]


def _losses(loss: LayerParameter, share: float) -> list[LayerParameter]:
    """The loss of both labels in TRAIN, and the loss as it was in TEST."""
    own, others, tested = (LayerParameter() for _ in range(3))
    for made, phase in ((own, TRAIN), (others, TRAIN), (tested, TEST)):
        made.CopyFrom(loss)
        made.include.add(phase=phase)
    own.loss_weight[:] = [1 - share]
    others.loss_weight[:] = [share]
    others.name = others.top[0] = f"{loss.name}_others"
    others.bottom[1] = _OTHERS
    return [own, others, tested]
