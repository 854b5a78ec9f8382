"""The latent layer set anew: by a hash that was learned on the features of its own net.

Training makes features and a latent layer together. Once the features are there, a hash
learned on all of them with their labels, as ITQ-CCA, can be better than what the last steps
of training left in the layer. It is planes, so the layer can hold it, and Caffe runs it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..codes import CodeSet
from ..errors import MismatchError, NetError
from ..hashing import SAMPLE, HashFunction, HashSettings, learn, sample_rows
from ..netdef.net import LATENT, LATENT_SIGMOID
from ..nets import dsl
from ..nets.renaming import renamed
from ..proto.caffe_pb2 import NetParameter
from ..weights import Weights

TRAINED = "trained_"
"""What the names of the layers that training left begin with."""
_SPREAD = 4.0  # of what the sigmoid reads: most activations are near 0 or 1


def learn_latent(codes: CodeSet, settings: HashSettings) -> tuple[HashFunction, float]:
    """A hash of the features and labels of a code file, and how far they lie from its planes.

    Args:
        codes: of the net whose layer it is for; a seeded sample of `hashing.SAMPLE` is used.
        settings: itq, itq-cca, latent, lsh or pca.

    Raises:
        DataError: too few images, or some without a label where labels are needed.
    """
    rows = sample_rows(len(codes), settings.seed, SAMPLE)
    features = codes.features()[rows]
    function = learn(features, settings, codes.labels[rows])
    return function, float(function.project(features).std())


def set_latent(
    net: NetParameter, weights: Weights, function: HashFunction, spread: float
) -> tuple[NetParameter, Weights]:
    """A deploy net whose codes are those of a hash, and its weights.

    The layers that training left stay under names that begin with `TRAINED`, as the
    classifier reads them.

    Args:
        net: with a latent layer.
        weights: of the net.
        function: planes across the features that the latent layer reads.
        spread: of `function.project` over typical features.

    Raises:
        NetError: no latent layer.
        MismatchError: a hash that is no planes, or of other features.
    """
    if function.kernel is not None or function.phase is not None:
        raise MismatchError(
            f"{function.method} cannot be a layer: it is no planes", "choose itq-cca"
        )
    names = {LATENT: TRAINED + LATENT, LATENT_SIGMOID: TRAINED + LATENT_SIGMOID}
    layers = {layer.name: layer for layer in net.layer}
    if LATENT not in layers or LATENT not in weights:
        raise NetError(f"{net.name}: no latent layer with weights", "give a hash net and its own")
    dim = weights[LATENT][0].shape[-1]
    if function.dim != dim:
        raise MismatchError(
            f"a hash of features of {function.dim} values, the latent layer reads {dim}",
            "learn it on codes of this net",
        )
    feature = layers[LATENT].bottom[0]
    made = NetParameter(name=net.name)
    for layer in net.layer:
        made.layer.add().CopyFrom(renamed(layer, names, names))
    head = dsl.inner(LATENT, feature, function.bits, weight=dsl.constant(0))
    made.layer.extend(map(dsl.for_deploy, [head, dsl.unary("Sigmoid", LATENT_SIGMOID, LATENT)]))
    kept = {names.get(name, name): blobs for name, blobs in weights.items()}
    return made, {**kept, LATENT: _blobs(function, _SPREAD / spread)}


def trained_hash(weights: Weights) -> HashFunction | None:
    """What training left of a latent layer that was set anew; None: it was not."""
    if TRAINED + LATENT not in weights:
        return None
    planes, offset = (np.asarray(blob, np.float32) for blob in weights[TRAINED + LATENT])
    mean = np.zeros(planes.shape[1], np.float32)
    return HashFunction("latent", 0, 0, mean, planes, offset=offset)


def _blobs(function: HashFunction, factor: float) -> list[NDArray[np.float32]]:
    planes = factor * function.projection.astype(np.float64)
    offset = -planes @ function.mean.astype(np.float64)
    if function.offset is not None:
        offset += factor * function.offset
    return [planes.astype(np.float32), offset.astype(np.float32)]
