"""A hash model: a deploy net, its weights, its preprocessing, and what makes codes of it.

Codes come from the net's latent layer, or from a hash function learned on its features.
What makes two code sets comparable: equal deploy net, weights, preprocessing and hash.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .engines import Net
from .errors import MismatchError, NetError
from .files import sha256
from .hamming import Codes, binarise, pack
from .hashing import HashFunction, read_hash
from .images import Preprocess
from .netdef import NetDef, load_netdef
from .netdef.net import LATENT
from .pretrained import known_settings

_FLOAT16 = np.finfo(np.float16)
_TINY = np.finfo(np.float32).tiny


@dataclass(frozen=True, kw_only=True)
class FeatureModel:
    """A network that gives each image a feature of length 1.

    Of one length, because few layers but those before a latent layer were trained to be
    compared by Euclidean distance: short features would be near to everything.

    Attributes:
        deploy: prototxt.
        weights: caffemodel.
        preprocess: from a file to the net's input.
        feature_blob: its values, flattened, are the feature.
        dim: values of the feature.
        mean_file: mean image of `preprocess`, if it has one.
    """

    deploy: Path
    weights: Path
    preprocess: Preprocess
    feature_blob: str
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
            "preprocess": preprocess,
            "preprocess_sha256": _hash_without_path(preprocess),
        }

    def features(self, net: Net, batch: NDArray[np.float32]) -> NDArray[np.float16]:
        """Features of preprocessed images.

        Args:
            net: this model, loaded by an engine.
            batch: (N, C, H, W) float32.

        Returns:
            (N, dim) float16, each row of length 1, or zero.
        """
        blob = net.forward(batch, [self.feature_blob])[self.feature_blob]
        rows = blob.reshape(len(batch), -1).astype(np.float64)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        unit: NDArray[np.float16] = (rows / np.maximum(lengths, _TINY)).astype(np.float16)
        return unit


@dataclass(frozen=True, kw_only=True)
class HashModel(FeatureModel):
    """A network that gives each image a feature and a code.

    Features are those of the net as they are if it has a latent layer.

    Attributes:
        bits: width of the code.
        code_blob: the latent layer's sigmoid; thresholded at 0.5 it is the code. None: the
            code is made of the feature, by `hash`.
        hash: function of the feature.
        hash_file: where it is stored.
    """

    bits: int
    code_blob: str | None = None
    hash: HashFunction | None = None
    hash_file: Path | None = None

    def describe(self) -> dict[str, Any]:
        """JSON for manifests; the keys in `manifest.IDENTITY` tell one model from another."""
        learned = None
        if self.hash is not None and self.hash_file is not None:
            learned = {"file": str(self.hash_file.resolve()), "method": self.hash.method}
        return {
            **super().describe(),
            "code_blob": self.code_blob,
            "hash": learned,
            "hash_sha256": self.hash.identity if self.hash else None,
        }

    def encode(self, net: Net, batch: NDArray[np.float32]) -> tuple[NDArray[np.float16], Codes]:
        """Features and codes of preprocessed images.

        Args:
            net: this model, loaded by an engine.
            batch: (N, C, H, W) float32.

        Returns:
            (N, dim) float16, cut to its range, and (N, ceil(bits / 8)) uint8, packed.
        """
        if self.code_blob is None:
            assert self.hash is not None  # one of the two makes the codes
            features = self.features(net, batch)
            return features, self.hash.encode(features)
        blobs = net.forward(batch, [self.feature_blob, self.code_blob])
        activations = blobs[self.code_blob].reshape(len(batch), -1)
        values = blobs[self.feature_blob].reshape(len(batch), -1)
        clipped = np.clip(values, _FLOAT16.min, _FLOAT16.max)
        return clipped.astype(np.float16), pack(binarise(activations))


def _hash_without_path(preprocess: Mapping[str, Any]) -> str:
    mean = preprocess["mean"]
    settings = {**preprocess, "mean": mean["sha256"] if isinstance(mean, dict) else mean}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def with_hash(model: FeatureModel, function: HashFunction, file: Path) -> HashModel:
    """The model whose codes `function` makes of its features; `file` is where it is stored.

    Raises:
        MismatchError: the function is for features of another size.
    """
    if function.dim != model.dim:
        raise MismatchError(
            f"{file}: takes features of {function.dim} values, {model.feature_blob!r} of "
            f"{model.deploy} has {model.dim}",
            "give the hash that was learned with this network",
        )
    return HashModel(**_values_of(model), bits=function.bits, hash=function, hash_file=file)


def _values_of(model: FeatureModel) -> dict[str, Any]:
    return {field.name: getattr(model, field.name) for field in fields(FeatureModel)}


def open_model(
    deploy: Path,
    weights: Path,
    settings: Mapping[str, Any] | None = None,
    folder: Path = Path(),
    *,
    feature: str | None = None,
) -> HashModel:
    """Hash model from a deploy net with a latent layer, and its weights.

    Args:
        deploy: prototxt with the layers `latent` and `latent_sigmoid`.
        weights: caffemodel; beside it lies the manifest that training wrote.
        settings: preprocessing as JSON; None takes it from that manifest.
        folder: what a relative mean file in `settings` is relative to.
        feature: blob; None takes the latent layer's bottom.

    Raises:
        NetError: no such file, no latent layer, or no manifest and no `settings`.
        MismatchError: the net's input has another shape than training's.
    """
    model = open_features(deploy, weights, settings, folder, feature=feature)
    net = load_netdef(deploy, "TEST")
    bits = _size(net, net.code_blob)
    return HashModel(**_values_of(model), bits=bits, code_blob=net.code_blob)


def open_features(
    deploy: Path,
    weights: Path,
    settings: Mapping[str, Any] | None = None,
    folder: Path = Path(),
    *,
    feature: str | None = None,
) -> FeatureModel:
    """Any net as a source of features; `with_hash` makes a hash model of it.

    Args:
        deploy: prototxt.
        weights: caffemodel; beside it lies training's manifest, or a readme.md whose front
            matter names it and says how its images are prepared.
        settings: preprocessing as JSON; None takes it from there.
        folder: what a relative mean file in `settings` is relative to.
        feature: blob; None takes the latent layer's bottom, else what the readme names.

    Raises:
        NetError: no such file or blob, or nothing says how images are prepared.
        MismatchError: the net's input has another shape than training's.
    """
    if not weights.is_file():
        raise NetError(f"{weights}: no such file", "train first, or check the path")
    net = load_netdef(deploy, "TEST")
    named = None
    if settings is None:
        settings, named = known_settings(weights)
        folder = weights.parent
    preprocess = Preprocess.from_json(settings, folder)
    _require_input(net, preprocess)
    blob = feature or _latent_bottom(net) or named or net.feature_blob
    mean = settings["mean"]
    return FeatureModel(
        deploy=deploy,
        weights=weights,
        preprocess=preprocess,
        feature_blob=blob,
        dim=_size(net, blob),
        mean_file=folder / mean["file"] if isinstance(mean, dict) else None,
    )


def _latent_bottom(net: NetDef) -> str | None:
    has_latent = any(layer.name == LATENT for layer in net.layers)
    return net.feature_blob if has_latent else None


def _size(net: NetDef, blob: str) -> int:
    """Values of a blob for one image."""
    if blob not in net.blob_shapes:
        known = ", ".join(net.blob_shapes)
        raise NetError(f"{net.path}: has no blob {blob!r}", f"there are {known}")
    return math.prod(net.blob_shapes[blob][1:])


def _require_input(net: NetDef, preprocess: Preprocess) -> None:
    expected = tuple(net.blob_shapes[net.data_layers[0].tops[0]][1:])
    if expected != preprocess.shape:
        raise MismatchError(
            f"{net.path}: takes images of {expected}, training gave {preprocess.shape}",
            "use the deploy net of the same network, or give its preprocessing",
        )


def stored_model(description: Mapping[str, Any], folder: Path) -> HashModel:
    """Model that a manifest describes; its deploy net, mean image and hash are in `folder`.

    Raises:
        MismatchError: the weights are gone or are others now, or the hash is another one.
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
    deploy, settings = folder / "deploy.prototxt", description["preprocess"]
    feature = description["feature_blob"]
    if description.get("hash") is None:
        return open_model(deploy, weights, settings, folder, feature=feature)
    model = open_features(deploy, weights, settings, folder, feature=feature)
    return with_hash(model, _stored_hash(description, folder), folder / "hash.h5")


def _stored_hash(description: Mapping[str, Any], folder: Path) -> HashFunction:
    function = read_hash(folder / "hash.h5")
    if function.identity != description["hash_sha256"]:
        raise MismatchError(
            f"{folder / 'hash.h5'}: is not the hash that made these codes",
            "put the right one back, or build the index again",
        )
    return function
