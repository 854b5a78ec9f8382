"""LeNet-5 as in Caffe's MNIST example, with codes between ip1 and the classifier."""

from __future__ import annotations

from ..proto.caffe_pb2 import LayerParameter, SolverParameter
from . import dsl
from .family import Head, NetFamily, Task
from .heads import softmax_head


def trunk() -> list[LayerParameter]:
    """28 x 28 gray to the 500 values of ip1."""
    return [
        dsl.conv("conv1", "data", 20, 5, weight=dsl.xavier()),
        dsl.pool("pool1", "conv1", 2, 2),
        dsl.conv("conv2", "pool1", 50, 5, weight=dsl.xavier()),
        dsl.pool("pool2", "conv2", 2, 2),
        dsl.inner("ip1", "pool2", 500, weight=dsl.xavier()),
        dsl.relu("relu1", "ip1"),
    ]


def head(task: Task) -> Head:
    """Trained from scratch, so all layers start and learn alike."""
    return softmax_head(task, "ip1", dsl.xavier(), dsl.TWICE)


def solver(task: Task) -> SolverParameter:
    """About 16 epochs of 4,000 digits; ten times the example's rate, which is cut at the end."""
    return SolverParameter(
        test_interval=100,
        base_lr=0.1,
        lr_policy="step",
        gamma=0.1,
        stepsize=800,
        momentum=0.9,
        weight_decay=0.0005,
        display=20,
        max_iter=1000,
        snapshot=500,
    )


LENET = NetFamily(
    name="lenet",
    summary="LeNet-5, gray digits of 28 x 28, from scratch",
    channels=1,
    resize=28,
    crop=28,
    data="mnist",
    classes=10,
    train_images=4000,
    val_images=1000,
    batches=(64, 100),
    trunk=trunk,
    head=head,
    solver=solver,
    scale=1 / 256,
    mirror=False,
)
