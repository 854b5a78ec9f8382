"""What a family of nets is: one trunk, any number of bits and classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ..errors import NetError
from ..proto.caffe_pb2 import LayerParameter, SolverParameter, TransformationParameter


@dataclass(frozen=True)
class Task:
    """What a net is built for.

    Attributes:
        bits: width of the codes.
        classes: number of classes.
        train_images: images in the training LMDB.
        val_images: images in the validation LMDB.
    """

    bits: int
    classes: int
    train_images: int
    val_images: int


@dataclass(frozen=True)
class Head:
    """Layers from the feature blob on.

    Attributes:
        hashing: the latent layer to the classifier, in train_val and deploy.
        training: loss and accuracy, only in train_val.
        prob: scores to probabilities, only in deploy.
    """

    hashing: list[LayerParameter]
    training: list[LayerParameter]
    prob: LayerParameter


@dataclass(frozen=True)
class NetFamily:
    """A trunk with its preprocessing, its usual data and its solver.

    Attributes:
        name: as in `--net`.
        summary: one line for people.
        channels: 1 for gray, 3 for BGR images.
        resize: side to which images are resized before the crop.
        crop: side of the net's input.
        mean_file: the data set's mean image is subtracted.
        mean_values: one value a channel (BGR) is subtracted instead.
        scale: factor on the pixels after the mean is subtracted.
        mirror: train on mirrored images too.
        weights: folder under caffe_models/ of the weights to start from, None for scratch.
        size_step: `crop` may be any multiple of this; None where the trunk fixes it.
        deploy_trunk: the trunk of a net that only runs, where it differs.
        data: usual data set, a folder under data/, whose size the defaults below give.
        classes: usual number of classes.
        train_images: usual number of training images.
        val_images: usual number of validation images.
        batches: images a batch in TRAIN and in TEST.
        trunk: layers from `data` to the feature.
        head: layers from the feature on.
        solver: settings of the solver but its paths and test_iter.
    """

    name: str
    summary: str
    channels: int
    resize: int
    crop: int
    data: str
    classes: int
    train_images: int
    val_images: int
    batches: tuple[int, int]
    trunk: Callable[[], list[LayerParameter]]
    head: Callable[[Task], Head]
    solver: Callable[[Task], SolverParameter]
    mean_file: bool = False
    mean_values: tuple[float, ...] = ()
    scale: float = 1
    mirror: bool = True
    weights: str | None = None
    size_step: int | None = None
    deploy_trunk: Callable[[], list[LayerParameter]] | None = None

    def sized(self, size: int) -> NetFamily:
        """The family with another `crop`, `resize` in proportion.

        Raises:
            NetError: the trunk takes no such size.
        """
        if size == self.crop:
            return self
        if self.size_step is None or size < self.size_step or size % self.size_step:
            rule = f"a multiple of {self.size_step}" if self.size_step else f"{self.crop}"
            raise NetError(f"{self.name} for images of {size} x {size}", f"give {rule}")
        return replace(self, crop=size, resize=round(size * self.resize / self.crop))

    def transform(self, source: str) -> TransformationParameter:
        """Preprocessing of the TRAIN phase; the mean image lies in `source`."""
        transform = TransformationParameter()
        if self.scale != 1:
            transform.scale = self.scale
        if self.mirror:
            transform.mirror = True
        if self.crop != self.resize:
            transform.crop_size = self.crop
        if self.mean_file:
            transform.mean_file = f"{source}/mean.binaryproto"
        transform.mean_value.extend(self.mean_values)
        return transform
