"""Images of a source to rows of a code file: decoded ahead in threads, in parts that resume."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from .codes import Parts, Rows, Skipped
from .codes.codeset import Features
from .errors import ImageError
from .hamming import Codes
from .images import decode, fit, read_bytes
from .manifest import Manifest, new_manifest
from .parallel import ordered_map
from .progress import Progress
from .sources import Sample, Source

T = TypeVar("T")


def extraction_plan(source: Source, model: Mapping[str, Any], bits: int, dim: int) -> Manifest:
    """The code file's manifest, which also tells whether parts belong to this run.

    Args:
        source: the images.
        model: what makes features and codes.
        bits: of a code in the parts.
        dim: values of a feature.
    """
    digest = hashlib.sha256()
    for sample in source.samples:
        digest.update(f"{sample.name}\0{sample.label}\0".encode(errors="surrogateescape"))
    return new_manifest(
        "extract",
        model=model,
        bits=bits,
        dim=dim,
        classes=source.labels,
        root=str(source.root.resolve()) if source.root else None,
        samples_sha256=digest.hexdigest(),
    )


def read_sample(
    sample: Sample, channels: int = 3, size: tuple[int, int] | None = None
) -> tuple[NDArray[np.uint8], bytes]:
    """Pixels of an image, and the bytes by which it is known again.

    Args:
        sample: a file or an array.
        channels: 3 for BGR, 1 for gray.
        size: (height, width) to warp to; None keeps the size.

    Raises:
        ImageError: it cannot be used.
    """
    if sample.path is None:
        assert sample.pixels is not None  # a sample has a path or pixels
        return fit(sample.pixels, channels, size), sample.pixels.tobytes()
    content = read_bytes(sample.path)
    return decode(content, channels, size), content


@dataclass(frozen=True)
class _Prepared(Generic[T]):
    """One image on its way: what is computed with, or the reason why there is nothing."""

    sample: Sample
    value: T | None
    content: bytes = b""
    reason: str = ""


@dataclass(frozen=True)
class RowMaker(Generic[T]):
    """Makes rows of images.

    Attributes:
        prepare: what `compute` takes of an image, and the image's bytes; called in
            threads, raises `ImageError`.
        compute: features (B, D) and codes (B, W) of up to `batch` prepared images.
        batch: images computed at once.
        workers: threads that prepare.
        strict: an image that cannot be used is an error, and not left out.
    """

    prepare: Callable[[Sample], tuple[T, bytes]]
    compute: Callable[[Sequence[T]], tuple[Features, Codes]]
    batch: int
    workers: int
    strict: bool

    def rows(self, samples: Sequence[Sample], skipped: Skipped) -> Iterator[Rows]:
        """Rows of the samples, a batch at a time; those left out are added to `skipped`."""
        ready: list[_Prepared[T]] = []
        for item in ordered_map(self._prepared, samples, self.workers, 2 * self.batch):
            if item.value is None:
                skipped.append((item.sample.name, item.reason))
                continue
            ready.append(item)
            if len(ready) == self.batch:
                yield self._batch_rows(ready)
                ready = []
        if ready:
            yield self._batch_rows(ready)

    def _prepared(self, sample: Sample) -> _Prepared[T]:
        try:
            value, content = self.prepare(sample)
        except ImageError as error:
            if self.strict:
                raise ImageError(f"{sample.name}: {error.problem}", "leave out --strict") from error
            return _Prepared(sample, None, reason=error.problem)
        return _Prepared(sample, value, hashlib.sha256(content).digest())

    def _batch_rows(self, ready: Sequence[_Prepared[T]]) -> Rows:
        features, codes = self.compute([item.value for item in ready if item.value is not None])
        content = np.frombuffer(b"".join(item.content for item in ready), np.uint8)
        return Rows(
            names=[item.sample.name for item in ready],
            labels=np.array([item.sample.label for item in ready], np.int32),
            features=features,
            codes=codes,
            content=content.reshape(-1, 32),
        )


def missing_parts(
    parts: Parts, samples: Sequence[Sample], size: int
) -> dict[int, Sequence[Sample]]:
    """Samples of each part that is not on disk, by its number; a part has up to `size`."""
    slices = {n: samples[n * size : (n + 1) * size] for n in range(-(-len(samples) // size))}
    return {number: part for number, part in slices.items() if not parts.done(number)}


def write_parts(
    parts: Parts,
    missing: Mapping[int, Sequence[Sample]],
    maker: RowMaker[Any],
    total: int,
    on_progress: Progress,
) -> None:
    """Make the missing parts, telling of images done out of `total`."""
    done = total - sum(map(len, missing.values()))
    for number, samples in missing.items():
        skipped: Skipped = []
        told = _reporting(maker.rows(samples, skipped), skipped, done, total, on_progress)
        parts.write(number, len(samples), told, skipped)
        done += len(samples)


def _reporting(
    blocks: Iterator[Rows], skipped: Skipped, before: int, total: int, on_progress: Progress
) -> Iterator[Rows]:
    """Pass blocks on, telling of the images that they and the skipped ones account for."""
    done = 0
    for rows in blocks:
        yield rows
        done += len(rows)
        on_progress(before + done + len(skipped), total)
