"""Image sets as they come: class folders, list files, MNIST, CIFAR-10, Caltech-101."""

from .base import Sample, Source
from .detect import open_source
from .export import write_class_folders

__all__ = ["Sample", "Source", "open_source", "write_class_folders"]
