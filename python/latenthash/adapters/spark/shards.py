"""From a table to an index: shards as code files, each of which becomes a part of one index.

A shard is a code file like any other of `extract.py`: images in the order of their ids, so
that one shard of everything is what a single machine would have made. Memory holds a few
thousand images, however many there are.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ...codes import CodeSet, CodeWriter, Rows, file_size
from ...errors import DataError
from ...files import atomic_folder, require_room
from ...hamming import width
from ...index import AddReport, IndexWriter, build_index
from ...manifest import Manifest, new_manifest
from ...progress import Progress, silent
from .session import spark_errors
from .table import CodeTable

DEFAULT_SHARD = 1_000_000
_BLOCK = 4096
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Indexed:
    """What became of the images of some shards.

    Attributes:
        images: in the index.
        duplicates: (name, name of the image with the same content) of those that a later
            shard had again; an index takes them once.
    """

    images: int
    duplicates: list[tuple[str, str]]


def write_shards(
    table: CodeTable, folder: Path, images: int = DEFAULT_SHARD, on_progress: Progress = silent
) -> list[Path]:
    """Write a table's codes as code files of up to `images` each, 000000.h5 and so on.

    Args:
        table: its last run has finished.
        folder: on this machine; appears whole or not at all, in the place of older shards.
        images: of a shard.
        on_progress: told of images.

    Returns:
        The files, in order.

    Raises:
        DataError: the last run did not finish, or found no image that can be used, or
            `folder` holds something else.
        StorageError: the disk is full or cannot be written.
        EngineError: Spark gave up.
    """
    if images < 1:
        raise DataError(f"shards of {images} images", "give 1 or more")
    if folder.exists() and not (folder.is_dir() and _only_shards(folder)):
        raise DataError(f"{folder}: holds something else", "give a new folder")
    with spark_errors(table.folder.path):
        report, facts = table.last_report(), table.manifest
        codes = table.codes()
        total = codes.count()
        if not total:
            raise DataError(f"{table.folder.path}: no image could be used", "see its quarantine")
        require_room(folder, file_size(total, facts["bits"], facts["dim"]))
        rows = codes.orderBy("id").toLocalIterator(prefetchPartitions=True)
        sizes = [min(images, total - start) for start in range(0, total, images)]
        with atomic_folder(folder) as partial:
            done = 0
            for number, size in enumerate(sizes):
                shard = islice(rows, size)
                _write_shard(partial / _name(number), shard, size, facts, report)
                done += size
                on_progress(done, total)
    return [folder / _name(number) for number in range(len(sizes))]


def _only_shards(folder: Path) -> bool:
    return all(path.suffix == ".h5" for path in folder.iterdir())


def _name(number: int) -> str:
    return f"{number:06d}.h5"


def _write_shard(
    path: Path, rows: Iterator[Any], size: int, facts: Manifest, report: Mapping[str, Any]
) -> None:
    """Write the next `size` rows, in blocks."""
    number_of = {name: number for number, name in enumerate(report["classes"])}
    digest, written = hashlib.sha256(), 0
    with CodeWriter(path, facts["bits"], facts["dim"], size) as writer:
        while block := list(islice(rows, _BLOCK)):
            made = _rows(block, number_of, facts)
            writer.append(made)
            for name, label in zip(made.names, made.labels.tolist(), strict=True):
                digest.update(f"{name}\0{label}\0".encode(errors="surrogateescape"))
            written += len(made)
        if written < size:
            raise DataError(f"{path}: {written} of {size} images", "did the table change?")
        writer.finish(
            new_manifest(
                "extract",
                model=facts["model"],
                bits=facts["bits"],
                dim=facts["dim"],
                classes=report["classes"],
                root=_local(report["root"]),
                samples_sha256=digest.hexdigest(),
            )
        )


def _rows(block: Sequence[Any], number_of: Mapping[str, int], facts: Manifest) -> Rows:
    """Rows of a code file from those of the table."""
    return Rows(
        names=[row["name"] for row in block],
        labels=np.array([number_of.get(row["label"], -1) for row in block], np.int32),
        features=_array([row["feature"] for row in block], "<f2", facts["dim"]).astype(np.float16),
        codes=_array([row["code"] for row in block], "u1", width(facts["bits"])),
        content=_array([row["sha256"] for row in block], "u1", 32),
    )


def _array(values: Iterable[bytes | bytearray], dtype: str, columns: int) -> Any:
    return np.frombuffer(b"".join(values), dtype).reshape(-1, columns)


def _local(root: str | None) -> str | None:
    """A folder of this machine as a path; None for one that is elsewhere."""
    if root is None or not root.startswith("file:"):
        return None
    return "/" + root.removeprefix("file:").lstrip("/")


class _Writer(Protocol):
    """`IndexWriter` and `MilvusWriter` are such."""

    def add(self, codes: CodeSet) -> AddReport: ...


def index_shards(
    shards: Sequence[Path],
    output: Path,
    storage: str = "float16",
    on_progress: Progress = silent,
) -> Indexed:
    """Build one index on this machine; each shard becomes a segment of it.

    Args:
        shards: code files of one table, one or more.
        output: folder of the index. One shard may replace an index there, as `build_index`
            does; of several the index is made beside it, and `output` must be new.
        storage: of the features: float32, float16 or int8.
        on_progress: told of shards.

    Raises:
        DataError: `output` is there already.
        StorageError: the disk is full or cannot be written.
    """
    if len(shards) == 1:
        with CodeSet(shards[0]) as codes:
            build_index(codes, output, storage)
            on_progress(1, 1)
            return Indexed(len(codes), [])
    if output.exists():
        raise DataError(f"{output}: is there already", "give a new folder for several shards")
    with atomic_folder(output) as partial:
        with CodeSet(shards[0]) as codes:
            build_index(codes, partial, storage)
            first = len(codes)
        return _add_others(IndexWriter(partial), shards, first, on_progress)


def load_milvus(shards: Sequence[Path], address: str, on_progress: Progress = silent) -> Indexed:
    """Build one index in Milvus, shard by shard.

    Args:
        shards: code files of one table, one or more.
        address: `milvus://host:port/collection`; an index there is replaced by the first
            shard, and grows by the others.
        on_progress: told of shards.

    Raises:
        DataError: no address.
        EngineError: pymilvus is not installed.
        StorageError: Milvus does not answer, or refuses.
    """
    from ..milvus import MilvusWriter  # only those who ask for Milvus need it
    from ..milvus import build_index as build_in_milvus

    with CodeSet(shards[0]) as codes:
        build_in_milvus(codes, address)
        first = len(codes)
    return _add_others(MilvusWriter(address), shards, first, on_progress)


def _add_others(
    opened: AbstractContextManager[_Writer],
    shards: Sequence[Path],
    first: int,
    on_progress: Progress,
) -> Indexed:
    """Add all shards but the first, which is in the index already."""
    images, duplicates = first, []
    on_progress(1, len(shards))
    with opened as writer:
        for done, path in enumerate(shards[1:], 2):
            with CodeSet(path) as codes:
                report = writer.add(codes)
            images += report.added
            duplicates += report.duplicates
            on_progress(done, len(shards))
    return Indexed(images, duplicates)
