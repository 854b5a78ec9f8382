"""One run of everything: materials, experiments, and a JSON file for each.

Codes are kept under the hash of images and model, hashes and words under that of what
they were learned from; a second run makes only what is missing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..baselines import extract_baseline, fit_descriptor, make_descriptor
from ..cache import Cache
from ..codes import CodeSet
from ..comparison import OWN
from ..demo import Demo
from ..extract import extract
from ..files import atomic_file
from ..hashing import HashSettings, read_hash
from ..importers import trained_hash
from ..index import BucketIndex, build_index
from ..index.checkup import index_health
from ..manifest import IDENTITY
from ..model import FeatureModel, HashModel, with_hash
from ..plots import health_picture
from ..sources import Source, open_source
from ..stages import Stages
from ..weights import read_weights
from . import experiments
from .materials import Material, code_file, half
from .results import Json, K

# Pixels of a side: CIFAR-10's images have 32. ORB needs 31 around a keypoint.
DESCRIPTORS = {
    "colour": 64,
    "lbp": 64,
    "hog": 64,
    "dsift-bow": 64,
    "dsift-vlad": 64,
    "dsift-fisher": 64,
    "orb-bow": 128,
}
BITS = 48
DESCRIPTOR_QUERIES = 1000
_POINTS = 300  # of a curve


@dataclass(kw_only=True)
class Reproduction(Stages):
    """A run.

    Attributes:
        results: folder of the JSON files.
        pictures: folder of the plots that experiments draw themselves.
        subset: images of the database at most, for a quick look; None: all.
    """

    results: Path
    pictures: Path
    subset: int | None = None

    def cifar10(self, images: Path, model: HashModel, generic: FeatureModel) -> None:
        """CIFAR-10 by the model that learned it, and by one that never saw it.

        Args:
            images: folder with train and test.
            model: with a latent layer, trained on the training images.
            generic: gives features of any image.
        """
        source = open_source(images)
        training, testing = self._halves(source)
        learned = self._coded("learned", training, testing, model)
        self.on_codes(learned)
        if self.subset is None:
            self._result("learned_1000", lambda: experiments.learned_codes_1000(learned))
        untrained = self._coded("generic", training, testing, generic, HashSettings("pca", BITS))
        self._hashes("hashes_generic", untrained)
        with self.stage("unseen classes") as progress:
            self._write("unseen", experiments.unseen_classes(untrained, self._cache, progress))
        self._compressed("neural", learned)
        self._compressed("neural_generic", untrained)
        self._descriptors(training, testing)

    def digits(self, images: Path) -> None:
        """MNIST's digits, trained on here in a minute.

        Args:
            images: what `make demo` takes.
        """
        demo = Demo(self.output / "digits", self.engine, self.announce)
        demo.run(images, "digits")
        self.on_codes(
            Material(
                "MNIST, 5,000 digits",
                "mnist",
                self.output / "digits/database.h5",
                self.output / "digits/queries.h5",
                whole=False,
            )
        )

    @property
    def _cache(self) -> Cache:
        return Cache(self.output / "cache")

    def _halves(self, source: Source) -> tuple[Source, Source]:
        queries = None if self.subset is None else max(self.subset // 5, 1)
        return half(source, "train", self.subset), half(source, "val", queries)

    def _coded(
        self,
        name: str,
        training: Source,
        testing: Source,
        model: FeatureModel,
        learning: HashSettings | None = None,
    ) -> Material:
        """Codes of both halves; those of a hash to be learned are learned on the first."""
        database, used = self._extracted(f"{name}-train", training, model, learning)
        queries, _ = self._extracted(f"{name}-test", testing, used, None)
        trained = trained_hash(read_weights(model.weights))
        return Material("CIFAR-10", "cifar10", database, queries, self.subset is None, trained)

    def _extracted(
        self, name: str, source: Source, model: FeatureModel, learning: HashSettings | None
    ) -> tuple[Path, HashModel]:
        identity = {key: model.describe().get(key) for key in IDENTITY}
        facts = {**identity, "learning": None if learning is None else asdict(learning)}
        path = code_file(self.output, name, source, facts)
        if path.is_file():
            return path, _model_of(path, model)
        with self.stage(f"extract {name}") as progress:
            report = extract(
                source, model, self.engine, path, learning=learning, on_progress=progress
            )
        return report.output, report.model

    def on_codes(self, material: Material) -> None:
        """All that two code files suffice for."""
        for name, experiment in (
            ("learned", experiments.learned_codes),
            ("in_library", experiments.in_library),
            ("reach", experiments.reach),
        ):
            self._result(name, lambda: experiment(material, self.announce))  # noqa: B023
        self._hashes("hashes", material)
        with self.stage("searches") as progress:
            self._write("searches", experiments.searches(material, progress))
        self._health(material)

    def _hashes(self, name: str, material: Material) -> None:
        own = (OWN,) if name == "hashes" else ()
        methods = (*own, *experiments.ALL_HASHES)
        with self.stage(name) as progress:
            self._write(name, experiments.hashes(material, self._cache, progress, methods))

    def _compressed(self, name: str, material: Material) -> None:
        with self.stage(name) as progress:
            self._write(name, experiments.compressed(material, progress))

    def _health(self, material: Material) -> None:
        with self.stage("health") as progress:
            with CodeSet(material.database) as codes:
                folder = build_index(codes, self.output / "index")
            with BucketIndex(folder) as index:
                health = index_health(index.generation, on_progress=progress)
        health_picture(health, self.pictures / "health.png")
        self._write("health", health.to_json())

    def _descriptors(self, training: Source, testing: Source) -> None:
        few = half(testing, "val", DESCRIPTOR_QUERIES)
        found = {}
        for name, size in DESCRIPTORS.items():
            descriptor = make_descriptor(name, size)
            fit_descriptor(descriptor, training, cache=self._cache)
            facts = {"descriptor": name, "identity": descriptor.identity}
            database = code_file(self.output, f"{name}-train", training, facts)
            queries = code_file(self.output, f"{name}-test", few, facts)
            with self.stage(name) as progress:
                if not database.is_file():
                    extract_baseline(
                        training, descriptor, database, hashing=HashSettings("itq", BITS),
                        on_progress=progress,
                    )  # fmt: skip
                if not queries.is_file():
                    learned = read_hash(database.with_name(f"{database.name}.hash.h5"))
                    extract_baseline(few, descriptor, queries, hashing=learned)
                report = experiments.descriptor_codes(database, queries)
                found[name] = {"pixels": size, **report}
        self._write("descriptors", found)

    def _result(self, name: str, experiment: Callable[[], Json]) -> None:
        with self.stage(name):
            found = experiment()
        self._write(name, found)

    def _write(self, name: str, found: Json) -> None:
        with atomic_file(self.results / f"{name}.json") as partial:
            partial.write_text(json.dumps(thinned(found), ensure_ascii=False) + "\n")


def thinned(found: Any) -> Any:
    """Curves with fewer ranks: enough for a plot, few enough to be kept."""
    if isinstance(found, list):
        return [thinned(one) for one in found]
    if not isinstance(found, dict):
        return found
    ranks = found.get("ranks")
    if not ranks:
        return {name: thinned(value) for name, value in found.items()}
    wanted = np.geomspace(1, ranks[-1], _POINTS).round().tolist()
    kept = np.unique(np.searchsorted(ranks, [*wanted, min(K, ranks[-1])]))

    def few(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: few(part) for name, part in value.items()}
        if isinstance(value, list) and len(value) == len(ranks):
            return [value[place] for place in kept]
        return value

    return {name: few(value) for name, value in found.items()}


def _model_of(codes: Path, model: FeatureModel) -> HashModel:
    """What made a code file that is there already."""
    if isinstance(model, HashModel):
        return model
    learned = codes.with_name(f"{codes.name}.hash.h5")
    return with_hash(model, read_hash(learned), learned)
