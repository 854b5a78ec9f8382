"""Image sets that never were: codes and features of any number of images, made block by
block from a seed, so that nothing of the size of the set is ever held or stored.

`clustered` looks like learned codes: classes, sub-clusters of very unequal size and
tightness, and a latent vector an image. The code is the sign of a random projection of
that vector, so tight sub-clusters fall into a few crowded buckets and loose ones scatter.
The feature is the rectified projection of the same vector plus noise, as fc7 after its
ReLU: non-negative, about half of it 0. `random` is the worst case: every bit a coin toss,
so there are as many buckets as images and near codes say nothing of near features.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from latenthash.codes import CodeSet, CodeWriter, Rows
from latenthash.hamming import Codes, pack, width
from latenthash.manifest import Manifest, new_manifest

KINDS = ("clustered", "random")
BLOCK = 4096
_LATENT = 16  # dimensions that the images of a class differ in
_SUBCLUSTERS = 8
_POOL = 1 << 22  # noise values; a row takes two stretches of it
_QUERIES = 1 << 40  # blocks from here on are no part of any set


class Synthetic:
    """The recipe: equal arguments give equal images, block by block.

    Args:
        kind: "clustered" or "random".
        images: of the set.
        bits: of a code.
        dim: values of a feature; 1 where only codes are wanted.
        seed: of everything.
    """

    def __init__(self, kind: str, images: int, bits: int, dim: int, seed: int = 0) -> None:
        if kind not in KINDS:
            raise ValueError(f"{kind!r}: choose one of {', '.join(KINDS)}")
        self.kind, self.images, self.bits, self.dim, self.seed = kind, images, bits, dim, seed
        rng = np.random.default_rng(seed)
        self.classes = int(np.clip(images // 200, 2, 1000))
        shape = (self.classes, _SUBCLUSTERS, _LATENT)
        centres = rng.standard_normal((self.classes, 1, _LATENT))
        centres = centres + 0.4 * rng.standard_normal(shape)
        self._centres = centres.reshape(-1, _LATENT).astype(np.float32)
        clusters = len(self._centres)
        self._spread = np.exp(rng.uniform(np.log(0.005), np.log(0.2), clusters)).astype(np.float32)
        weights = 1 / rng.permutation(np.arange(1, clusters + 1)) ** 0.7
        self._upto = np.cumsum(weights / weights.sum())
        self._hash = rng.standard_normal((_LATENT, bits), dtype=np.float32)
        self._paint = rng.standard_normal((_LATENT, dim), dtype=np.float32)
        self._pool = rng.standard_normal(_POOL + dim, dtype=np.float32)

    def __len__(self) -> int:
        return self.images

    def block(self, number: int, features: bool = True) -> Rows:
        """Images number * BLOCK and on, BLOCK at most; without features that array is (N, 0)."""
        start = number * BLOCK
        return self._rows(number, start, min(BLOCK, self.images - start), features)

    def blocks(self, features: bool = True) -> Iterator[Rows]:
        """All images in order."""
        for number in range(-(-self.images // BLOCK)):
            yield self.block(number, features)

    def queries(self, count: int, features: bool = True) -> Rows:
        """Images of the same kind that are not in the set."""
        return self._rows(_QUERIES, _QUERIES, count, features)

    def _rows(self, block: int, start: int, count: int, features: bool) -> Rows:
        rng = np.random.default_rng((self.seed, block))
        content = _bytes(rng, count, 32)
        cluster = np.searchsorted(self._upto, rng.random(count)).clip(max=len(self._upto) - 1)
        latent = rng.standard_normal((count, _LATENT), dtype=np.float32)
        latent *= self._spread[cluster, None]
        latent += self._centres[cluster]
        if self.kind == "clustered":
            codes = pack(latent @ self._hash > 0)
        else:
            codes = pack(np.unpackbits(_bytes(rng, count, width(self.bits)), 1)[:, : self.bits])
        return Rows(
            names=[f"{row:010d}.jpg" for row in range(start, start + count)],
            labels=(cluster // _SUBCLUSTERS).astype(np.int32),
            features=self._features(rng, latent) if features else np.empty((count, 0), np.float16),
            codes=codes,
            content=content,
        )

    def _features(
        self, rng: np.random.Generator, latent: NDArray[np.float32]
    ) -> NDArray[np.float16]:
        """(N, dim) float16: rectified projection and noise, as fc7 after its ReLU."""
        stretches = sliding_window_view(self._pool, self.dim)
        result = latent @ self._paint
        for _ in range(2):  # pairs of stretches do not repeat
            result += stretches[rng.integers(0, _POOL, len(latent))]
        return _half(np.maximum(result, 0, out=result))


def _half(values: NDArray[np.float32]) -> NDArray[np.float16]:
    """Float16 of values from 0 to 65504, cut, not rounded; in a tenth of `astype`'s time.

    Times 2**-112 the exponent is float16's, so the upper 16 of the lower 29 bits are it.
    """
    values *= np.float32(2.0**-112)
    return (values.view(np.uint32) >> 13).astype(np.uint16).view(np.float16)


def _bytes(rng: np.random.Generator, count: int, size: int) -> Codes:
    return np.frombuffer(rng.bytes(count * size), np.uint8).reshape(count, size)


class SyntheticCodes(CodeSet):
    """A code set that is made while it is read: what HDF5 would hold, without the file."""

    def __init__(self, recipe: Synthetic, folder: Path) -> None:
        """Hold the recipe; `folder` gets the deploy file that a manifest points to."""
        self.path = folder / "synthetic"
        self.recipe, self.bits = recipe, recipe.bits
        self.manifest = manifest(recipe, folder)
        self._last: tuple[int, Rows] = (-1, recipe.queries(0))
        parts = list(recipe.blocks(features=False))
        self._codes = np.concatenate([part.codes for part in parts])
        self._labels = np.concatenate([part.labels for part in parts])

    def __len__(self) -> int:
        return len(self.recipe)

    @property
    def dim(self) -> int:
        """Values of a feature."""
        return self.recipe.dim

    @property
    def names(self) -> list[str]:
        """Names of all images."""
        return [f"{row:010d}.jpg" for row in range(len(self))]

    @property
    def labels(self) -> NDArray[np.int32]:
        """(N,) int32."""
        return self._labels

    @property
    def codes(self) -> Codes:
        """(N, W) uint8, packed."""
        return self._codes

    @property
    def content(self) -> NDArray[np.uint8]:
        """(N, 32) uint8."""
        return np.concatenate([rows.content for rows in self.recipe.blocks(features=False)])

    def features(self, start: int = 0, stop: int | None = None) -> NDArray[np.float16]:
        """(stop - start, D) float16, made now."""
        return self.rows(start, len(self) if stop is None else stop).features

    def rows(self, start: int, stop: int) -> Rows:
        """Rows start..stop, made now; reading in order makes every block once."""
        stop = min(stop, len(self))
        numbers = range(start // BLOCK, -(-stop // BLOCK))
        parts = [self._cut(number, start, stop) for number in numbers]
        if len(parts) == 1:
            return parts[0]
        return Rows(
            names=[name for part in parts for name in part.names],
            labels=np.concatenate([part.labels for part in parts]),
            features=np.concatenate([part.features for part in parts]),
            codes=np.concatenate([part.codes for part in parts]),
            content=np.concatenate([part.content for part in parts]),
        )

    def _cut(self, number: int, start: int, stop: int) -> Rows:
        if self._last[0] != number:
            self._last = (number, self.recipe.block(number))
        block, first = self._last[1], number * BLOCK
        part = slice(max(start - first, 0), stop - first)
        return Rows(
            block.names[part], block.labels[part], block.features[part],
            block.codes[part], block.content[part],
        )  # fmt: skip

    def close(self) -> None:
        """Nothing is open."""


def manifest(recipe: Synthetic, folder: Path) -> Manifest:
    """What extraction would have written, of a network that is a name only."""
    deploy = folder / "deploy.prototxt"
    deploy.write_text('name: "synthetic"\n')
    keys = ("deploy_sha256", "weights_sha256", "preprocess_sha256")
    return new_manifest(
        "extract",
        bits=recipe.bits,
        dim=recipe.dim,
        seed=recipe.seed,
        root=str(folder),
        classes=[f"class {number}" for number in range(recipe.classes)],
        model=dict.fromkeys(keys, 64 * "0")
        | {"deploy": str(deploy), "weights": "none", "preprocess": {"mean": None}},
    )


def write_hdf5(recipe: Synthetic, path: Path) -> Path:
    """The same set as a code file."""
    with CodeWriter(path, recipe.bits, recipe.dim, len(recipe)) as writer:
        for rows in recipe.blocks():
            writer.append(rows)
        writer.finish(json.loads(json.dumps(manifest(recipe, path.parent))))
    return path


def all_codes(recipe: Synthetic) -> Codes:
    """(N, W) uint8: the codes alone, in one array; nothing else is held."""
    result = np.empty((len(recipe), width(recipe.bits)), np.uint8)
    for number, rows in enumerate(recipe.blocks(features=False)):
        result[number * BLOCK : number * BLOCK + len(rows)] = rows.codes
    return result
