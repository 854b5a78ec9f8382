"""The layers that make codes, and the losses that train them."""

from __future__ import annotations

from ..proto.caffe_pb2 import FillerParameter, LayerParameter
from . import dsl
from .family import Head, Task


def latent(task: Task, feature: str, weight: FillerParameter) -> list[LayerParameter]:
    """The latent layer and its sigmoid.

    Weights around 0 and no bias make it a random projection at first, half of its bits
    set; the paper starts it at random too, and says nothing of its learning rate, so it
    learns like the layers below it.
    """
    return [
        dsl.inner("latent", feature, task.bits, weight=weight),
        dsl.unary("Sigmoid", "latent_sigmoid", "latent"),
    ]


def softmax_head(
    task: Task, feature: str, weight: FillerParameter, classifier_rates: dsl.Rates
) -> Head:
    """Codes to classes, trained by a softmax loss.

    Args:
        task: bits and classes.
        feature: blob that the latent layer reads.
        weight: filler of both new layers.
        classifier_rates: the classifier's learning rate multipliers.
    """
    classifier = dsl.inner(
        "classifier", "latent_sigmoid", task.classes, weight=weight, rates=classifier_rates
    )
    training = [
        dsl.accuracy("classifier", "label"),
        dsl.loss("SoftmaxWithLoss", "classifier", "label"),
    ]
    prob = dsl.unary("Softmax", "prob", "classifier")
    return Head([*latent(task, feature, weight), classifier], training, prob)


def one_hot_head(task: Task, feature: str, weight: FillerParameter) -> Head:
    """Codes to classes, each class a yes or no of its own: sigmoid cross-entropy.

    Dropout follows the codes in a blob of its own: the sigmoid's gradient is computed
    from its output, which dropout in place would overwrite.

    Caffe sums the loss over the classes where Keras takes the mean, so that the same
    base_lr takes steps as many times larger as there are classes.
    """
    hashing = [
        *latent(task, feature, weight),
        dsl.dropout("latent_drop", "latent_sigmoid", top="latent_drop"),
        dsl.inner("classifier", "latent_drop", task.classes, weight=weight),
    ]
    training = [
        dsl.accuracy("classifier", "label"),
        *dsl.one_hot("label", task.classes),
        dsl.loss("SigmoidCrossEntropyLoss", "classifier", "one_hot"),
    ]
    return Head(hashing, training, dsl.unary("Sigmoid", "prob", "classifier"))
