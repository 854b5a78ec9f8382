"""Neural codes compressed by PCA.

Babenko, Slesarev, Chigorin, Lempitsky, "Neural Codes for Image Retrieval", ECCV 2014:
features of length 1, projected to 16 to 512 principal components, scaled to length 1 again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..codes import CodeSet, CodeWriter
from ..errors import DataError, MismatchError
from ..hashing import principal_components
from ..progress import Progress, silent

_FLAT = 1e-6  # of the largest variance: less is rounding


@dataclass(frozen=True, eq=False)
class Compression:
    """Features to fewer values, of length 1.

    Attributes:
        mean: (D,) float32, of the features scaled to length 1.
        axes: (dim, D) float32, principal components, largest first; divided by the
            standard deviation along them if whitened.
        whitened: whether they are.
        learned_from: features that it was learned from.
    """

    mean: NDArray[np.float32]
    axes: NDArray[np.float32]
    whitened: bool
    learned_from: int

    @property
    def dim(self) -> int:
        """Values of a compressed feature."""
        return len(self.axes)

    @property
    def identity(self) -> str:
        """SHA-256 of mean and axes: equal ones give equal features."""
        digest = hashlib.sha256(f"{self.axes.shape} ".encode())
        for array in (self.mean, self.axes):
            digest.update(np.ascontiguousarray(array, "<f4").tobytes())
        return digest.hexdigest()

    def apply(self, features: NDArray[np.floating]) -> NDArray[np.float32]:
        """Compressed features.

        Args:
            features: (N, D) floating.

        Returns:
            (N, dim) float32, each row of length 1, or zero.

        Raises:
            MismatchError: features of another size.
        """
        if features.ndim != 2 or features.shape[1] != len(self.mean):
            raise MismatchError(
                f"features of shape {features.shape}; the compression takes (N, {len(self.mean)})",
                "learn it on features of the same network",
            )
        projected = (unit_rows(features) - self.mean) @ self.axes.T.astype(np.float64)
        return unit_rows(projected).astype(np.float32)


def learn_compression(
    features: NDArray[np.floating], dim: int, whiten: bool = False
) -> Compression:
    """Compression of features like these to `dim` values.

    Args:
        features: (N, D) floating, finite; all of them are used.
        dim: values to keep.
        whiten: divide by the standard deviation along each axis (Jegou, Chum, ECCV 2012).

    Raises:
        DataError: the features do not vary in so many directions.
    """
    rows = unit_rows(features)
    most = min(len(rows) - 1, rows.shape[1])
    if not 1 <= dim <= most:
        raise DataError(f"{dim} values of {features.shape} features", f"give 1 to {most}")
    mean = rows.mean(axis=0).astype(np.float32)
    axes = principal_components(rows - mean, dim)
    deviations = ((rows - mean) @ axes.T).std(axis=0)
    if deviations[-1] ** 2 <= _FLAT * deviations[0] ** 2:
        raise DataError(f"features vary in fewer than {dim} directions", "give a smaller number")
    if whiten:
        axes = axes / deviations[:, None]
    return Compression(mean, axes.astype(np.float32), whiten, len(rows))


def directions(features: NDArray[np.floating]) -> int:
    """How many values `learn_compression` can keep of features (N, D) like these."""
    rows = unit_rows(features)
    # Twice the bound: there the variance is that along axes which are rounded otherwise.
    variances = np.linalg.eigvalsh(np.cov(rows, rowvar=False, bias=True))
    return min(int((variances > 2 * _FLAT * variances[-1]).sum()), len(rows) - 1)


def compress_codes(
    codes: CodeSet, compression: Compression, output: Path, on_progress: Progress = silent
) -> Path:
    """Code file with the same names, labels and codes, and compressed features.

    Args:
        codes: features of the network that `compression` was learned on.
        compression: what compresses them.
        output: replaced whole.
        on_progress: told of images.

    Returns:
        `output`.

    Raises:
        MismatchError: features of another size.
        StorageError: the disk is full or cannot be written.
    """
    manifest = {
        **codes.manifest,
        "dim": compression.dim,
        "model": _compressed(codes.manifest["model"], compression),
    }
    with CodeWriter(output, codes.bits, compression.dim, len(codes)) as writer:
        done = 0
        for rows in codes.blocks():
            features = compression.apply(rows.features).astype(np.float16)
            writer.append(replace(rows, features=features))
            done += len(rows)
            on_progress(done, len(codes))
        writer.finish(manifest)
    return output


def _compressed(model: Mapping[str, Any], compression: Compression) -> dict[str, Any]:
    """The model, told from the one without compression, or with another, as by its weights."""
    both = f"{model['weights_sha256']} {compression.identity}"
    return {
        **model,
        "weights_sha256": hashlib.sha256(both.encode()).hexdigest(),
        "compression": {
            "dim": compression.dim,
            "whitened": compression.whitened,
            "learned_from": compression.learned_from,
            "sha256": compression.identity,
        },
    }


def unit_rows(features: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N, D) rows scaled to length 1; zeros stay."""
    rows = features.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, np.finfo(np.float64).tiny))
