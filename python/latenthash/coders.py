"""Where an extraction's codes come from: the model at once, or a hash learned at the end."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .codes import CodeSet, Parts, Skipped
from .engines import Net
from .errors import NetError
from .hamming import Codes
from .hashing import SAMPLE, HashFunction, HashSettings, learn, sample_rows, write_hash
from .model import FeatureModel, HashModel, with_hash

_log = logging.getLogger(__name__)
Features = NDArray[np.float16]


class Coder(Protocol):
    """Gives images features and codes.

    Attributes:
        bits: of the codes in the end.
        part_bits: of the codes in the parts.
    """

    bits: int
    part_bits: int

    def encode(self, net: Net, batch: NDArray[np.float32]) -> tuple[Features, Codes]:
        """Features and codes of preprocessed images, for the parts; see `HashModel.encode`."""
        ...

    def join(self, parts: Parts) -> tuple[HashModel, Skipped]:
        """Make the code file of the parts.

        Returns:
            What made the codes; (name, reason) of every image left out.
        """
        ...


def coder_of(model: FeatureModel, learning: HashSettings | None, images: int) -> Coder:
    """The coder that fits; what it cannot do is an error now, not after hours.

    Args:
        model: the network.
        learning: the hash to learn; None: the model has codes of its own.
        images: at most.

    Raises:
        NetError: the model has no codes and none are to be learned.
        DataError: more bits than values of a feature, or than images; a hash of labels.
        EngineError: what the hash needs is not installed.
    """
    if learning is None:
        if isinstance(model, HashModel):
            return _OwnCodes(model)
        raise NetError(f"{model.deploy}: gives features, no codes", "say which hash to learn")
    learning.require_label_free()
    learning.require_installed()
    learning.require_dim(model.dim)
    learning.require_count(images)
    return _LearnedCodes(model, learning)


class _OwnCodes:
    def __init__(self, model: HashModel) -> None:
        self._model = model
        self.bits = self.part_bits = model.bits

    def encode(self, net: Net, batch: NDArray[np.float32]) -> tuple[Features, Codes]:
        return self._model.encode(net, batch)

    def join(self, parts: Parts) -> tuple[HashModel, Skipped]:
        return self._model, parts.join()


class _LearnedCodes:
    """Parts hold zeros for codes, so that another hash can be learned on the same parts."""

    part_bits = 1

    def __init__(self, model: FeatureModel, settings: HashSettings) -> None:
        self._model, self._settings = model, settings
        self.bits = settings.bits

    def encode(self, net: Net, batch: NDArray[np.float32]) -> tuple[Features, Codes]:
        return self._model.features(net, batch), np.zeros((len(batch), 1), np.uint8)

    def join(self, parts: Parts) -> tuple[HashModel, Skipped]:
        features = sample(parts.files(), self._settings.seed)
        if not len(features):
            parts.join()  # raises, with the reason of the first image
        function = learn(features, self._settings)
        _log.info("%s of %d bits, learned on %d images",
                  function.method, function.bits, function.learned_from)  # fmt: skip
        model = self._stored(function, parts.output.with_name(parts.output.name + ".hash.h5"))
        manifest = {**parts.plan, "model": model.describe(), "bits": model.bits}
        return model, parts.join(manifest, function.encode)

    def _stored(self, function: HashFunction, path: Path) -> HashModel:
        write_hash(function, path)
        return with_hash(self._model, function, path)


def sample(files: Sequence[Path], seed: int, most: int = SAMPLE) -> Features:
    """Features of at most `most` random images of code files, in the files' order.

    Memory holds these, and those of one file.
    """
    counts = []
    for file in files:
        with CodeSet(file) as codes:
            counts.append(len(codes))
    chosen = sample_rows(sum(counts), seed, most)
    ends = np.cumsum(counts)
    of_each = np.split(chosen, np.searchsorted(chosen, ends[:-1]))
    taken = []
    for file, rows, start in zip(files, of_each, ends - counts, strict=True):
        with CodeSet(file) as codes:
            taken.append(codes.features()[rows - start])
    return np.concatenate(taken)
