"""EfficientNet-Lite0 (Google 2020): ImageNet weights of 14 MB, fast on a CPU.

As published, in layers that BVLC's Caffe has: no squeezing, ReLU6 throughout (`dsl.relu6`).

TensorFlow pads a stride of 2 by one row and column less at the top and left than at the
bottom and right; Caffe pads all sides alike. A row and a column of zeros before a kernel
shift it by one, so that a 4 x 4 kernel with pad 1 is the 3 x 3 kernel with pads 0 and 1,
and a 6 x 6 one with pad 2 is the 5 x 5 one with pads 1 and 2: the same sums for 3% more
work, no layer more, in every engine. Fine-tuning may fill the zeros. TensorFlow pads odd
sides evenly, so sides are multiples of 32, which stay even at each stride.
"""

from __future__ import annotations

from functools import partial
from math import ceil
from typing import NamedTuple

from ..proto.caffe_pb2 import LayerParameter, SolverParameter
from . import dsl
from .family import Head, NetFamily, Task
from .heads import softmax_head

FEATURE = "pool"
EPSILON = 1e-3  # TensorFlow's, of every BatchNorm
KEPT = 0.99  # likewise
_EPOCHS = 10


class Stage(NamedTuple):
    """Blocks of one kind; only the first has the stride."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    outputs: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


class _Trunk:
    """The layers so far; `top` is the blob that comes next."""

    def __init__(self, in_place: bool) -> None:
        self.in_place = in_place
        self.layers: list[LayerParameter] = []
        self.top = "data"

    def unit(
        self, name: str, outputs: int, kernel: int, *, stride: int = 1, group: int = 1,
        active: bool = True,
    ) -> None:  # fmt: skip
        """Convolution, normalisation and, where `active`, ReLU6."""
        self.layers.append(
            dsl.conv(
                name, self.top, outputs, kernel + (stride == 2), stride=stride, pad=kernel // 2,
                group=group, weight=dsl.msra(), bias=None,
            )
        )  # fmt: skip
        self.layers += dsl.batch_norm(name, epsilon=EPSILON, kept=KEPT)
        self.top = name
        if active:
            self.top = name if self.in_place else f"{name}_relu6"
            self.layers += dsl.relu6(name, self.top)

    def block(self, name: str, inputs: int, stage: Stage, stride: int) -> None:
        """Widen, look around, narrow; added to its input where the shapes agree."""
        start, wide = self.top, inputs * stage.expansion
        if stage.expansion > 1:
            self.unit(f"{name}_expand", wide, 1)
        self.unit(f"{name}_depthwise", wide, stage.kernel, stride=stride, group=wide)
        self.unit(f"{name}_project", stage.outputs, 1, active=False)
        if stride == 1 and inputs == stage.outputs:
            self.layers.append(dsl.add(f"{name}_add", start, self.top))
            self.top = f"{name}_add"


def trunk(in_place: bool) -> list[LayerParameter]:
    """BGR images, each side a multiple of 32, to the 1280 values of `pool`.

    Args:
        in_place: a net that only runs, in a third of the memory.
    """
    net = _Trunk(in_place)
    net.unit("stem", 32, 3, stride=2)
    inputs, number = 32, 0
    for stage in STAGES:
        for index in range(stage.blocks):
            net.block(f"block{number}", inputs, stage, 1 if index else stage.stride)
            inputs, number = stage.outputs, number + 1
    net.unit("head", 1280, 1)
    net.layers.append(dsl.global_average(FEATURE, net.top))
    net.layers.append(dsl.dropout("drop", FEATURE, ratio=0.2))
    return net.layers


def head(task: Task) -> Head:
    """The classifier learns as fast as the trunk: Adam sees to each layer's scale."""
    return softmax_head(task, FEATURE, dsl.xavier(), (1, 2))


def solver(task: Task) -> SolverParameter:
    """Ten epochs, the rate falling to nothing on a line.

    Adam, as SGD treats depthwise layers too unevenly: after one epoch of CIFAR-10 its
    test accuracy was 0.74, Adam's 0.84, at the same training loss.
    """
    epoch = ceil(task.train_images / EFFICIENTNET_LITE0.batches[0])
    return SolverParameter(
        type="Adam",
        test_interval=_EPOCHS // 2 * epoch,
        base_lr=0.001,
        lr_policy="poly",
        power=1,
        momentum=0.9,
        momentum2=0.999,
        weight_decay=0.0001,
        display=20,
        average_loss=20,
        max_iter=_EPOCHS * epoch,
        snapshot=epoch,
    )


EFFICIENTNET_LITE0 = NetFamily(
    name="efficientnet_lite0",
    summary="EfficientNet-Lite0, small and fast, colour images, fine-tuned",
    channels=3,
    resize=144,
    crop=128,
    size_step=32,
    data="cifar10",
    classes=10,
    train_images=50000,
    val_images=10000,
    batches=(64, 50),
    trunk=partial(trunk, in_place=False),
    deploy_trunk=partial(trunk, in_place=True),
    head=head,
    solver=solver,
    mean_values=(127, 127, 127),
    scale=1 / 128,
    weights="efficientnet_lite0",
)
