"""The experiments: code files in, what JSON can hold out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import metrics
from ..baselines import Compression, directions, learn_compression, unit_rows
from ..baselines.searches import SEARCHES, make_search
from ..cache import Cache
from ..codes import CodeSet
from ..comparison import OWN, ImageSet, compare_hashes, compare_search, read_sets
from ..evaluate import Run, execute
from ..evaluate.coarse_to_fine import ask, opened_index, relevance
from ..evaluate.evaluation import Task
from ..evaluate.pool import Pool
from ..evaluate.splits import drawn, hold_out
from ..files import sha256
from ..hashing import METHODS, SUPERVISED, HashFunction, sample_rows
from ..index import SearchOptions
from ..progress import Announce, Progress, quietly
from .materials import Material
from .results import K

Floats = NDArray[np.float32]
TRAINED = "trained"
"""A result's method: codes of the latent layer as training left it."""
ALL_HASHES = (*METHODS, *SUPERVISED)
REACH_QUERIES = 500
NEURAL_QUERIES = 1000
TOP = 100
CANDIDATES = (100, 300, 1000, 3000, 10_000)
RADII = (0, 1, 2, 4, 8)
COMPRESSED = (16, 32, 64, 128, 256, 512)
_LEARN_FROM = 20_000  # images that a compression is learned from
_BLOCK = 5_000  # images compressed at once
_DIGITS = 4


def learned_codes(material: Material, announce: Announce = quietly) -> dict[str, Any]:
    """The data set's protocol: Hamming ranking, and the rerank by feature beside it."""
    return _run(material, material.protocol, announce, rerank="l2")


def learned_codes_1000(material: Material, announce: Announce = quietly) -> dict[str, Any]:
    """CIFAR-10 with 1,000 queries."""
    return _run(material, "cifar10-1000", announce)


def in_library(material: Material, announce: Announce = quietly) -> dict[str, Any]:
    """The thesis' experiment on the images at hand: 40 queries of the library, chi-square."""
    run = Run(codes=str(material.database), protocol="caltech101-40", other_data=True)
    return execute(run, announce=announce).report


def _run(material: Material, protocol: str, announce: Announce, **more: Any) -> dict[str, Any]:
    run = Run(
        codes=str(material.database),
        queries=str(material.queries),
        protocol=protocol,
        other_data=not material.whole,
        **more,
    )
    return execute(run, announce=announce).report


def hashes(
    material: Material,
    cache: Cache,
    progress: Progress,
    methods: Sequence[str] = (OWN, *ALL_HASHES),
) -> dict[str, Any]:
    """Hash functions learned on the network's features, beside the network's own codes."""
    with CodeSet(material.database) as database, CodeSet(material.queries) as queries:
        ranked, asked = read_sets(database, queries)
        network = database.manifest["model"].get("net")
    results = compare_hashes(ranked, ranked, asked, methods, cache=cache, on_progress=progress)
    if material.trained is not None and OWN in methods:
        ranked, asked = (_coded_by(material.trained, images) for images in (ranked, asked))
        [trained] = compare_hashes(ranked, ranked, asked, [OWN], cache=cache)
        results.insert(1, replace(trained, method=TRAINED))
    return {
        "features": network,
        "results": [result.to_json() for result in results],
        "data": _data(material),
    }


def _coded_by(function: HashFunction, images: ImageSet) -> ImageSet:
    return replace(images, codes=function.encode(images.features), bits=function.bits)


def unseen_classes(material: Material, cache: Cache, progress: Progress) -> dict[str, Any]:
    """Hash functions that learn from three quarters of the classes, asked for the others."""
    with CodeSet(material.database) as codes, CodeSet(material.queries) as others:
        database, queries = read_sets(codes, others)
        classes = list(codes.manifest["classes"])
        network = codes.manifest["model"].get("net")
    seen, unseen = hold_out(classes)
    known = np.array([classes.index(name) for name in seen])

    def of(images: ImageSet, wanted: bool) -> ImageSet:
        return images.taken(np.isin(images.labels, known) == wanted)

    results = compare_hashes(
        of(database, True), of(database, False), of(queries, False), ALL_HASHES, (48,),
        cache=cache, on_progress=progress,
    )  # fmt: skip
    return {
        "features": network,
        "seen": seen,
        "unseen": unseen,
        "chance": 1 / len(unseen),
        "results": [result.to_json() for result in results],
        "data": _data(material),
    }


def searches(material: Material, progress: Progress) -> dict[str, Any]:
    """Exact search, HNSW, product quantisation and hash-then-rerank by the same features."""
    with CodeSet(material.database) as database, CodeSet(material.queries) as queries:
        methods = [make_search(name) for name in SEARCHES]
        results = compare_search(database, queries, methods, TOP, on_progress=progress)
        return {
            "images": len(database),
            "dim": database.dim,
            "bits": database.bits,
            "results": [result.to_json() for result in results],
            "data": _data(material),
        }


def reach(material: Material, announce: Announce = quietly) -> dict[str, Any]:
    """Quality and time over how far the coarse step goes, beside the exact search."""
    ways = [SearchOptions(top=TOP, exact=True)]
    ways += [SearchOptions(top=TOP, candidates=number) for number in CANDIDATES]
    ways += [SearchOptions(top=TOP, candidates=None, radius=radius) for radius in RADII]
    with CodeSet(material.database) as database, CodeSet(material.queries) as queries:
        pool = Pool(database, queries)
        asked = drawn(len(queries), min(REACH_QUERIES, len(queries)), seed=0)
        task = Task(pool.rows_of(1)[asked], pool.rows_of(0))
        rows = []
        with opened_index(pool, task.database) as index, announce("reach") as progress:
            exact = None
            for number, options in enumerate(ways):
                ask(pool, Task(task.queries[:10], task.database), index, options, block=1)
                found = ask(pool, task, index, options, block=1)
                exact = found.rows if exact is None else exact
                relevant = relevance(pool, task.queries, found.rows)
                at = {f"{share}_ms": float(1e3 * np.percentile(found.seconds, share))
                      for share in (50, 99)}  # fmt: skip
                rows.append({
                    "exact": options.exact,
                    "candidates": options.candidates,
                    "radius": options.radius,
                    "compared": round(float(found.candidates.mean()), 1),
                    "precision_at_100": _mean(metrics.precision_at(relevant, TOP)),
                    "map_at_100": _mean(metrics.average_precision_at_k(relevant)),
                    "recall_of_exact": _mean(metrics.recall_of_exact(found.rows, exact)),
                    "median_ms": round(at["50_ms"], 4),
                    "p99_ms": round(at["99_ms"], 4),
                })  # fmt: skip
                progress(number + 1, len(ways))
    return {"queries": len(asked), "top": TOP, "results": rows, "data": _data(material)}


def compressed(material: Material, progress: Progress) -> dict[str, Any]:
    """Neural codes: features of length 1, whole and compressed by PCA, all images ranked.

    Babenko et al., "Neural Codes for Image Retrieval", ECCV 2014.
    """
    with CodeSet(material.database) as codes, CodeSet(material.queries) as asking:
        database, queries = read_sets(codes, asking)
        network = codes.manifest["model"].get("net")
    asked = queries.taken(drawn(len(queries), min(NEURAL_QUERIES, len(queries)), seed=0))
    sample = database.features[sample_rows(len(database), 0, _LEARN_FROM)]
    most = directions(sample)
    dims = [dim for dim in COMPRESSED if dim <= most]
    rows = []
    for number, dim in enumerate([*dims, None]):
        compression = None if dim is None else learn_compression(sample, dim)
        near = _nearest(*(_neural(one.features, compression) for one in (database, asked)))
        relevant = database.labels[near] == asked.labels[:, None]
        rows.append({
            "dim": dim or sample.shape[1],
            "whole": dim is None,
            f"map_at_{K}": _mean(metrics.average_precision_at_k(relevant)),
            "precision_at_100": _mean(metrics.precision_at(relevant, TOP)),
        })  # fmt: skip
        progress(number + 1, len(dims) + 1)
    return {
        "features": network,
        "queries": len(asked),
        "learned_from": len(sample),
        "results": rows,
        "data": _data(material),
    }


def _neural(features: NDArray[np.floating], compression: Compression | None) -> Floats:
    apply = unit_rows if compression is None else compression.apply
    blocks = range(0, len(features), _BLOCK)
    return np.concatenate([apply(features[at : at + _BLOCK]).astype(np.float32) for at in blocks])


def _nearest(database: Floats, queries: Floats) -> NDArray[np.int64]:
    """(Q, K) rows of the database by distance of features of length 1, ties by row."""
    near = [np.argsort(-(database @ one), kind="stable")[:K] for one in queries]
    return np.stack(near)


def _mean(values: Any) -> float:
    return round(float(np.mean(values)), _DIGITS)


def descriptor_codes(file: Path, queries: Path, announce: Announce = quietly) -> dict[str, Any]:
    """Descriptors without a network: all images ranked by feature, and by their hash."""
    run = Run(codes=str(file), queries=str(queries), rerank="l2", exact=True)
    return execute(run, announce=announce).report


def _data(material: Material) -> dict[str, Any]:
    files = {"database": material.database, "queries": material.queries}
    hashes = {name: sha256(path) for name, path in files.items()}
    described = {name: path.name for name, path in asdict(material).items() if name in files}
    return {**described, "sha256": hashes, "whole": material.whole}
