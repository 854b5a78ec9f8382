"""A hash model: a deploy net, its weights, its preprocessing and the two blobs.

What makes two code sets comparable: equal deploy net, weights and preprocessing.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .engines import Net
from .errors import MismatchError, NetError
from .files import sha256
from .hamming import Codes, binarise, pack
from .images import Preprocess
from .manifest import read_manifest
from .netdef import NetDef, load_netdef

_FLOAT16 = np.finfo(np.float16)


@dataclass(frozen=True)
class HashModel:
    """A network that gives each image a feature and a code.

    Attributes:
        deploy: prototxt.
        weights: caffemodel.
        preprocess: from a file to the net's input.
        feature_blob: its values, flattened, are the feature.
        code_blob: the latent layer's sigmoid; thresholded at 0.5 it is the code.
        bits: width of the code.
        dim: values of the feature.
        mean_file: mean image of `preprocess`, if it has one.
    """

    deploy: Path
    weights: Path
    preprocess: Preprocess
    feature_blob: str
    code_blob: str
    bits: int
    dim: int
    mean_file: Path | None = None

    def describe(self) -> dict[str, Any]:
        """JSON for manifests; the keys in `manifest.IDENTITY` tell one model from another."""
        mean_file = str(self.mean_file.resolve()) if self.mean_file else None
        preprocess = self.preprocess.to_json(mean_file)
        return {
            "net": self.deploy.parent.name,
            "deploy": str(self.deploy.resolve()),
            "deploy_sha256": sha256(self.deploy),
            "weights": str(self.weights.resolve()),
            "weights_sha256": sha256(self.weights),
            "feature_blob": self.feature_blob,
            "code_blob": self.code_blob,
            "preprocess": preprocess,
            "preprocess_sha256": _hash_without_path(preprocess),
        }

    def encode(self, net: Net, batch: NDArray[np.float32]) -> tuple[NDArray[np.float16], Codes]:
        """Features and codes of preprocessed images.

        Args:
            net: this model, loaded by an engine.
            batch: (N, C, H, W) float32.

        Returns:
            (N, dim) float16, cut to its range, and (N, ceil(bits / 8)) uint8, packed.
        """
        blobs = net.forward(batch, [self.feature_blob, self.code_blob])
        features = blobs[self.feature_blob].reshape(len(batch), -1)
        activations = blobs[self.code_blob].reshape(len(batch), -1)
        clipped = np.clip(features, _FLOAT16.min, _FLOAT16.max)
        return clipped.astype(np.float16), pack(binarise(activations))


def _hash_without_path(preprocess: Mapping[str, Any]) -> str:
    mean = preprocess["mean"]
    settings = {**preprocess, "mean": mean["sha256"] if isinstance(mean, dict) else mean}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def open_model(
    deploy: Path, weights: Path, settings: Mapping[str, Any] | None = None, folder: Path = Path()
) -> HashModel:
    """Hash model from a deploy net and weights.

    Args:
        deploy: prototxt with the layers `latent` and `latent_sigmoid`.
        weights: caffemodel; beside it lies the manifest that training wrote.
        settings: preprocessing as JSON; None takes it from that manifest.
        folder: what a relative mean file in `settings` is relative to.

    Raises:
        NetError: no such file, no latent layer, or no manifest and no `settings`.
        MismatchError: the net's input has another shape than training's.
    """
    if not weights.is_file():
        raise NetError(f"{weights}: no such file", "train first, or check the path")
    if settings is None:
        settings, folder = trained_settings(weights), weights.parent
    preprocess = Preprocess.from_json(settings, folder)
    net = load_netdef(deploy, "TEST")
    _require_input(net, preprocess)
    mean = settings["mean"]
    return HashModel(
        deploy=deploy,
        weights=weights,
        preprocess=preprocess,
        feature_blob=net.feature_blob,
        code_blob=net.code_blob,
        bits=_values(net, net.code_blob),
        dim=_values(net, net.feature_blob),
        mean_file=folder / mean["file"] if isinstance(mean, dict) else None,
    )


def _values(net: NetDef, blob: str) -> int:
    """Values of a blob for one image."""
    return math.prod(net.blob_shapes[blob][1:])


def _require_input(net: NetDef, preprocess: Preprocess) -> None:
    expected = tuple(net.blob_shapes[net.data_layers[0].tops[0]][1:])
    if expected != preprocess.shape:
        raise MismatchError(
            f"{net.path}: takes images of {expected}, training gave {preprocess.shape}",
            "use the deploy net of the same network, or give its preprocessing",
        )


def trained_settings(weights: Path) -> dict[str, Any]:
    """Preprocessing, as JSON, of the TEST phase that `weights` were trained with.

    Raises:
        NetError: no manifest of training beside the weights.
    """
    manifest = weights.with_name(weights.name + ".json")
    if not manifest.is_file():
        raise NetError(
            f"{weights}: no {manifest.name} beside it says how its images are prepared",
            "train with train.py, or put the manifest back",
        )
    settings: dict[str, Any] = read_manifest(manifest, "train")["preprocess"]
    return settings


def stored_model(description: Mapping[str, Any], folder: Path) -> HashModel:
    """Model that a manifest describes, its deploy net and mean image in `folder`.

    Raises:
        MismatchError: the weights are gone or are others now.
    """
    weights = Path(description["weights"])
    if not weights.is_file():
        raise MismatchError(
            f"{weights}: the weights that made these codes are not there",
            "put them back, or extract and build the index again",
        )
    if sha256(weights) != description["weights_sha256"]:
        raise MismatchError(
            f"{weights}: changed since the codes were made", "extract and build the index again"
        )
    return open_model(folder / "deploy.prototxt", weights, description["preprocess"], folder)
