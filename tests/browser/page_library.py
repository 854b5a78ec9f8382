"""A library whose pictures a person can tell apart, for tests of the page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from latenthash.codes import CodeSet
from latenthash.engines import get_engine
from latenthash.extract import extract
from latenthash.index import build_index
from latenthash.manifest import new_manifest, write_manifest
from latenthash.model import HashModel, open_model
from latenthash.netdef import load_netdef
from latenthash.sources import open_source
from latenthash.weights import write_weights

CLASSES = ("circle", "square", "triangle", "stripes", "rings", "cross")
PER_CLASS = 60
COPIES = 3  # of the first picture of each class
SIDE = 96
_DEPLOY = """
name: "page"
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 16 dim: 16 } } }
layer { name: "fc7" type: "InnerProduct" bottom: "data" top: "fc7"
  inner_product_param { num_output: 96 } }
layer { name: "latent" type: "InnerProduct" bottom: "fc7" top: "latent"
  inner_product_param { num_output: 32 } }
layer { name: "latent_sigmoid" type: "Sigmoid" bottom: "latent" top: "latent_sigmoid" }
"""


def build(folder: Path) -> Path:
    """The index of 378 pictures of six classes, 18 of them near-copies; returns its folder."""
    images = _write_images(folder / "images")
    extract(open_source(images), _write_model(folder), get_engine("fake"), folder / "codes.h5")
    with CodeSet(folder / "codes.h5") as codes:
        build_index(codes, folder / "index")
    return folder / "index"


def _write_images(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for number in range(PER_CLASS):
            picture = _draw(name, rng)
            picture.save(folder / name / f"{name}_{number:02}.png")
            for copy in range(COPIES if number == 0 else 0):
                path = folder / name / f"{name}_{number:02}_copy_{copy}.jpg"
                picture.save(path, quality=95 - copy)
    return folder


def _draw(name: str, rng: np.random.Generator) -> Image.Image:
    ground, ink = (tuple(rng.integers(low, low + 96, 3).tolist()) for low in (150, 10))
    picture = Image.new("RGB", (SIDE, SIDE), ground)
    pen = ImageDraw.Draw(picture)
    x, y = rng.integers(8, 30, 2).tolist()
    side = int(rng.integers(36, 56))
    box = (x, y, x + side, y + side)
    if name == "circle":
        pen.ellipse(box, fill=ink)
    elif name == "square":
        pen.rectangle(box, fill=ink)
    elif name == "triangle":
        pen.polygon([(x, y + side), (x + side, y + side), (x + side // 2, y)], fill=ink)
    elif name == "stripes":
        for left in range(x, SIDE, 14):
            pen.rectangle((left, 0, left + 5, SIDE), fill=ink)
    elif name == "rings":
        for inset in range(0, side // 2, 9):
            ring = (x + inset, y + inset, x + side - inset, y + side - inset)
            pen.ellipse(ring, outline=ink, width=4)
    else:
        pen.line((x, y, x + side, y + side), fill=ink, width=12)
        pen.line((x, y + side, x + side, y), fill=ink, width=12)
    return picture


def _write_model(folder: Path) -> HashModel:
    deploy, weights = folder / "deploy.prototxt", folder / "page.caffemodel"
    deploy.write_text(_DEPLOY)
    rng = np.random.default_rng(0)
    shapes = load_netdef(deploy, "TEST").param_shapes
    values = {
        layer: [rng.normal(0, 0.01, shape).astype(np.float32) for shape in blobs]
        for layer, blobs in shapes.items()
    }
    write_weights(values, weights)
    preprocess = {"channels": 3, "resize": [16, 16], "crop": [16, 16],
                  "mean": [127.0, 127.0, 127.0], "scale": 1.0}  # fmt: skip
    sidecar = weights.with_name(f"{weights.name}.json")
    write_manifest(new_manifest("train", preprocess=preprocess), sidecar)
    return open_model(deploy, weights)
