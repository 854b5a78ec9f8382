"""CaffeNet, BVLC's reference AlexNet, which the paper fine-tunes.

Pooling comes before normalisation. Names, sizes, fillers and rates up to fc7 are
BVLC's, so that its weights load; fc8 gives way to the latent layer and the classifier.
"""

from __future__ import annotations

from ..proto.caffe_pb2 import LayerParameter, SolverParameter
from . import dsl
from .family import Head, NetFamily, Task
from .heads import softmax_head


def trunk() -> list[LayerParameter]:
    """227 x 227 BGR to the 4096 values of fc7."""
    g01, g005 = dsl.gaussian(0.01), dsl.gaussian(0.005)
    return [
        dsl.conv("conv1", "data", 96, 11, stride=4, weight=g01),
        dsl.relu("relu1", "conv1"),
        dsl.pool("pool1", "conv1", 3, 2),
        dsl.lrn("norm1", "pool1"),
        dsl.conv("conv2", "norm1", 256, 5, pad=2, group=2, weight=g01, bias=1),
        dsl.relu("relu2", "conv2"),
        dsl.pool("pool2", "conv2", 3, 2),
        dsl.lrn("norm2", "pool2"),
        dsl.conv("conv3", "norm2", 384, 3, pad=1, weight=g01),
        dsl.relu("relu3", "conv3"),
        dsl.conv("conv4", "conv3", 384, 3, pad=1, group=2, weight=g01, bias=1),
        dsl.relu("relu4", "conv4"),
        dsl.conv("conv5", "conv4", 256, 3, pad=1, group=2, weight=g01, bias=1),
        dsl.relu("relu5", "conv5"),
        dsl.pool("pool5", "conv5", 3, 2),
        dsl.inner("fc6", "pool5", 4096, weight=g005, bias=1),
        dsl.relu("relu6", "fc6"),
        dsl.dropout("drop6", "fc6"),
        dsl.inner("fc7", "fc6", 4096, weight=g005, bias=1),
        dsl.relu("relu7", "fc7"),
        dsl.dropout("drop7", "fc7"),
    ]


def head(task: Task) -> Head:
    """The classifier learns ten times as fast as the layers with BVLC's weights."""
    return softmax_head(task, "fc7", dsl.gaussian(0.005), (10, 20))


def solver(task: Task) -> SolverParameter:
    """As in the paper: 50,000 iterations, a tenth of the rate after 25,000."""
    return SolverParameter(
        test_interval=2500,
        base_lr=0.001,
        lr_policy="step",
        gamma=0.1,
        stepsize=25000,
        momentum=0.9,
        weight_decay=0.0005,
        display=20,
        max_iter=50000,
        snapshot=10000,
    )


ALEXNET = NetFamily(
    name="alexnet",
    summary="CaffeNet as in the paper, colour images of 227 x 227, fine-tuned",
    channels=3,
    resize=256,
    crop=227,
    data="cifar10",
    classes=10,
    train_images=50000,
    val_images=10000,
    batches=(32, 50),
    trunk=trunk,
    head=head,
    solver=solver,
    mean_file=True,
    weights="caffenet",
)
