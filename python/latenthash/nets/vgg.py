"""VGG with 16 and 19 layers (Simonyan and Zisserman 2014), names as in its Caffe release."""

from __future__ import annotations

from functools import partial
from math import ceil

from ..proto.caffe_pb2 import LayerParameter, SolverParameter
from . import dsl
from .family import Head, NetFamily, Task
from .heads import one_hot_head, softmax_head

BGR_MEAN = (103.939, 116.779, 123.68)
_OUTPUTS = (64, 128, 256, 512, 512)
_VGG16, _VGG19 = (2, 2, 3, 3, 3), (2, 2, 4, 4, 4)
_CALTECH101 = 8677  # images in its 101 classes, without the background class


def trunk(convs: tuple[int, ...], frozen: bool) -> list[LayerParameter]:
    """224 x 224 BGR to the 4096 values of fc7.

    Args:
        convs: convolutions in each of the five blocks.
        frozen: no layer learns; there is no dropout either, which would be mere noise.
    """
    rates = dsl.FROZEN if frozen else dsl.TWICE
    layers, bottom = [], "data"
    for block, (depth, outputs) in enumerate(zip(convs, _OUTPUTS, strict=True), start=1):
        for index in range(1, depth + 1):
            name = f"conv{block}_{index}"
            weight = dsl.xavier()
            layers.append(dsl.conv(name, bottom, outputs, 3, pad=1, weight=weight, rates=rates))
            layers.append(dsl.relu(f"relu{block}_{index}", name))
            bottom = name
        layers.append(dsl.pool(f"pool{block}", bottom, 2, 2))
        bottom = f"pool{block}"
    for number in (6, 7):
        name = f"fc{number}"
        layers.append(dsl.inner(name, bottom, 4096, weight=dsl.gaussian(0.005), rates=rates))
        layers.append(dsl.relu(f"relu{number}", name))
        if not frozen:
            layers.append(dsl.dropout(f"drop{number}", name))
        bottom = name
    return layers


def fine_tuned_head(task: Task) -> Head:
    """As on AlexNet."""
    return softmax_head(task, "fc7", dsl.gaussian(0.005), (10, 20))


def frozen_head(task: Task) -> Head:
    """Latent layer, dropout, classifier: the three layers that learn."""
    return one_hot_head(task, "fc7", dsl.xavier())


def fine_tuned_solver(task: Task) -> SolverParameter:
    """The paper's rates for AlexNet; batches of 32 in halves, for memory."""
    return SolverParameter(
        test_interval=1000,
        base_lr=0.001,
        lr_policy="step",
        gamma=0.1,
        stepsize=4000,
        momentum=0.9,
        weight_decay=0.0005,
        display=20,
        max_iter=10000,
        iter_size=2,
        snapshot=2500,
    )


def three_epochs(task: Task) -> SolverParameter:
    """Three epochs at a small, constant rate."""
    epoch = ceil(task.train_images / VGG19.batches[0])
    return SolverParameter(
        test_interval=epoch,
        base_lr=0.0001,
        lr_policy="fixed",
        momentum=0.9,
        weight_decay=0,
        display=20,
        max_iter=3 * epoch,
        snapshot=epoch,
    )


VGG16 = NetFamily(
    name="vgg16",
    summary="VGG with 16 layers, colour images of 224 x 224, fine-tuned",
    channels=3,
    resize=256,
    crop=224,
    data="caltech101",
    classes=101,
    train_images=_CALTECH101,
    val_images=1000,
    batches=(16, 10),
    trunk=partial(trunk, _VGG16, frozen=False),
    head=fine_tuned_head,
    solver=fine_tuned_solver,
    mean_values=BGR_MEAN,
    weights="vgg16",
)

VGG19 = NetFamily(
    name="vgg19",
    summary="VGG with 19 layers, frozen but for the new ones, colour images of 224 x 224",
    channels=3,
    resize=256,
    crop=224,
    data="caltech101",
    classes=101,
    train_images=_CALTECH101,
    val_images=1000,
    batches=(32, 10),
    trunk=partial(trunk, _VGG19, frozen=True),
    head=frozen_head,
    solver=three_epochs,
    mean_values=BGR_MEAN,
    weights="vgg19",
)
