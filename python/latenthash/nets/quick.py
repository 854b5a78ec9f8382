"""A small colour net for a folder of one's own images, trained on a CPU in minutes.

Images of 64 x 64 keep what tells most things apart. Cropping 56 at random, and the
mirror, make a few hundred images go further. The first convolution's stride of 2 and
overlapping pooling bring it to 7.3 million multiplications an image, so that the fixed
number of iterations takes about two minutes on two cores whatever the folder's size.
"""

from __future__ import annotations

from ..proto.caffe_pb2 import LayerParameter, SolverParameter
from . import dsl
from .family import Head, NetFamily, Task
from .heads import softmax_head


def trunk() -> list[LayerParameter]:
    """56 x 56 BGR to the 256 values of ip1."""
    return [
        dsl.conv("conv1", "data", 32, 5, stride=2, pad=2, weight=dsl.msra()),
        dsl.relu("relu1", "conv1"),
        dsl.pool("pool1", "conv1", 3, 2),
        dsl.conv("conv2", "pool1", 64, 3, pad=1, weight=dsl.msra()),
        dsl.relu("relu2", "conv2"),
        dsl.pool("pool2", "conv2", 3, 2),
        dsl.conv("conv3", "pool2", 64, 3, pad=1, weight=dsl.msra()),
        dsl.relu("relu3", "conv3"),
        dsl.pool("pool3", "conv3", 3, 2),
        dsl.inner("ip1", "pool3", 256, weight=dsl.msra()),
        dsl.relu("relu4", "ip1"),
        dsl.dropout("drop1", "ip1"),
    ]


def head(task: Task) -> Head:
    """Trained from scratch, so all layers start and learn alike."""
    return softmax_head(task, "ip1", dsl.xavier(), dsl.TWICE)


def solver(task: Task) -> SolverParameter:
    """Adam, which needs no tuning to a folder's own pixels; a fixed time, not epochs."""
    return SolverParameter(
        type="Adam",
        test_interval=250,
        base_lr=0.001,
        lr_policy="multistep",
        gamma=0.2,
        stepvalue=[1000, 1300],
        momentum=0.9,
        momentum2=0.999,
        weight_decay=0.0005,
        display=50,
        max_iter=1500,
        snapshot=500,
    )


QUICK = NetFamily(
    name="quick",
    summary="a small net for your own folder, colour images of 64 x 64, from scratch",
    channels=3,
    resize=64,
    crop=56,
    data="images",
    classes=10,
    train_images=4000,
    val_images=1000,
    batches=(64, 50),
    trunk=trunk,
    head=head,
    solver=solver,
    mean_file=True,
    scale=1 / 64,  # pixels of unit spread, as msra's fillers expect
)
