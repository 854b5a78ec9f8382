"""Weights of other libraries as Caffe's."""

from .base import Imported
from .efficientnet import import_efficientnet
from .fold import fold_weights
from .keras import import_keras_vgg
from .latent import learn_latent, set_latent, trained_hash
from .torchvision import import_torchvision_vgg

__all__ = [
    "Imported",
    "fold_weights",
    "import_efficientnet",
    "import_keras_vgg",
    "import_torchvision_vgg",
    "learn_latent",
    "set_latent",
    "trained_hash",
]
