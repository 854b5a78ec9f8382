"""A few coloured images and a tiny hash model, for the stages after training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from latenthash.manifest import new_manifest, write_manifest
from latenthash.model import FeatureModel, HashModel, open_features, open_model
from latenthash.netdef import load_netdef
from latenthash.weights import read_weights, write_weights

SIZE, BITS, DIM = 8, 12, 6
_DEPLOY = """
name: "small"
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "fc7" type: "InnerProduct" bottom: "data" top: "fc7"
  inner_product_param { num_output: 6 } }
layer { name: "latent" type: "InnerProduct" bottom: "fc7" top: "latent"
  inner_product_param { num_output: 12 } }
layer { name: "latent_sigmoid" type: "Sigmoid" bottom: "latent" top: "latent_sigmoid" }
"""


def write_images(folder: Path, per_class: int = 6, seed: int = 0) -> Path:
    """Class folders red and blue with noisy images."""
    rng = np.random.default_rng(seed)
    for channel, name in ((0, "red"), (2, "blue")):
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            pixels = rng.integers(0, 60, (SIZE, SIZE, 3), dtype=np.uint8)
            pixels[..., channel] += 150
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def write_model(folder: Path, seed: int = 0) -> HashModel:
    """Deploy net, random weights and the manifest that training would have written."""
    folder.mkdir(parents=True, exist_ok=True)
    deploy, weights = folder / "deploy.prototxt", folder / "small.caffemodel"
    deploy.write_text(_DEPLOY)
    rng = np.random.default_rng(seed)
    shapes = load_netdef(deploy, "TEST").param_shapes
    write_weights(
        {
            layer: [rng.normal(0, 0.01, shape).astype(np.float32) for shape in blobs]
            for layer, blobs in shapes.items()
        },
        weights,
    )
    preprocess = {"channels": 3, "resize": [SIZE, SIZE], "crop": [SIZE, SIZE],
                  "mean": [90.0, 80.0, 70.0], "scale": 1.0}  # fmt: skip
    write_manifest(
        new_manifest("train", preprocess=preprocess), weights.with_name("small.caffemodel.json")
    )
    return open_model(deploy, weights)


def write_published(folder: Path, seed: int = 0) -> FeatureModel:
    """A net without a latent layer; a readme beside its weights says how images are prepared."""
    model = write_model(folder, seed)
    latent = _DEPLOY.index('layer { name: "latent"')
    model.deploy.write_text(_DEPLOY[:latent])
    fc7 = {"fc7": read_weights(model.weights)["fc7"]}
    write_weights(fc7, model.weights)
    model.weights.with_name("small.caffemodel.json").unlink()
    (folder / "readme.md").write_text(
        f"---\nfile: small.caffemodel\ninput: {SIZE}\nmean: 90 80 70\nscale: 0.5\n"
        "feature: fc7\n---\n"
    )
    return open_features(model.deploy, model.weights)
