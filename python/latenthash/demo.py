"""The whole pipeline on one folder of images: what `make demo` runs.

images -> LMDB and mean -> training -> features and codes -> index -> measures -> queries
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from .codes import CodeSet
from .dataset import DatasetReport, build_lmdb
from .engines import Engine, Step
from .errors import ImageError
from .evaluate import Evaluation, evaluate
from .extract import extract
from .files import atomic_file
from .images import probe
from .index import SearchOptions, build_index
from .model import HashModel, open_model
from .nets import NETS, NetFamily, build, write_net
from .progress import Progress, silent
from .search import Answer, Searcher
from .sheets import Cell, Row, contact_sheet
from .sources import Sample, open_source, write_class_folders
from .train import train

BITS = 48
SEED = 0
VAL_FRACTION = 0.2
_SHOWN = 8  # rows of the contact sheet
_DIGIT_SIDE = 32  # gray images up to this side are taken for digits
_LOOKED_AT = 50  # images whose headers tell what kind they are

Announce = Callable[[str], AbstractContextManager[Progress]]


def _quietly(stage: str) -> AbstractContextManager[Progress]:
    return nullcontext(silent)


@dataclass
class Demo:
    """One run; its results lie in `output`.

    Attributes:
        output: folder for everything that the run makes.
        engine: trains and extracts.
        announce: called with each stage's name; gives a context with its progress.
        seconds: time of each stage so far.
    """

    output: Path
    engine: Engine
    announce: Announce = _quietly
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self, images: Path, name: str) -> dict[str, Any]:
        """Go from a folder of class folders to a report.

        Args:
            images: class folders, or a CSV of pixels and labels.
            name: of the data set, for the report.

        Returns:
            The content of report.json.

        Raises:
            LatentHashError: any stage's; what earlier stages made stays.
        """
        images = self._unpacked(images)
        family = choose_family(open_source(images).samples)
        dataset = self._dataset(images, family)
        model = self._train(family, dataset)
        database, queries = (self._extract(model, images, part) for part in ("train", "val"))
        index = self._index(database)
        with self._stage("evaluate") as progress, CodeSet(database) as d, CodeSet(queries) as q:
            measures = evaluate(d, q, 1000, progress)
        answers = self._search(index, queries, images)
        report = self._report(name, family, dataset, measures, answers)
        with atomic_file(self.output / "report.json") as partial:
            partial.write_text(json.dumps(report, indent=1) + "\n")
        return report

    @contextmanager
    def _stage(self, name: str) -> Iterator[Progress]:
        begin = perf_counter()
        with self.announce(name) as progress:
            yield progress
        self.seconds[name] = self.seconds.get(name, 0.0) + perf_counter() - begin

    def _unpacked(self, images: Path) -> Path:
        """Images as files, so that each can be looked at and searched with."""
        if images.is_dir():
            return images
        folder = self.output / "images"
        with self._stage("unpack") as progress:
            write_class_folders(open_source(images), folder, progress)
        return folder

    def _dataset(self, images: Path, family: NetFamily) -> DatasetReport:
        with self._stage("build LMDBs") as progress:
            return build_lmdb(
                images,
                self.output / "dataset",
                resize=(family.resize, family.resize),
                gray=family.channels == 1,
                encode="raw",
                val_fraction=VAL_FRACTION,
                seed=SEED,
                progress=progress,
            )

    def _train(self, family: NetFamily, dataset: DatasetReport) -> HashModel:
        folder = self.output / "net" / f"{family.name}_{BITS}"
        files = build(
            family.name,
            BITS,
            len(dataset.labels),
            source=str(dataset.output.resolve()),
            folder=str(folder.resolve()),
            train_images=sum(dataset.train_counts),
            val_images=sum(dataset.val_counts),
        )
        write_net(files, folder, replace=True)
        with self._stage("train") as progress:

            def on_step(step: Step) -> None:
                progress(step.iteration, step.max_iter)

            result = train(
                folder / "solver.prototxt", self.engine, output=self.output / "run", on_step=on_step
            )
        result.curves.replace(self.output / "training.png")
        return open_model(folder / "deploy.prototxt", result.caffemodel)

    def _extract(self, model: HashModel, images: Path, part: str) -> Path:
        source = open_source(self.output / f"dataset/{part}.txt", root=images)
        output = self.output / {"train": "database.h5", "val": "queries.h5"}[part]
        with self._stage("extract") as progress:
            return extract(source, model, self.engine, output, on_progress=progress).output

    def _index(self, database: Path) -> Path:
        with self._stage("index") as progress, CodeSet(database) as codes:
            return build_index(codes, self.output / "index", progress)

    def _search(self, index: Path, queries: Path, images: Path) -> list[Answer]:
        """Ask a spread of the queries, as files; draw the first few."""
        with CodeSet(queries) as codes:
            names, labels = codes.names, [codes.manifest["classes"][n] for n in codes.labels]
        chosen = np.random.default_rng(SEED).permutation(len(names))[:100]
        with self._stage("search") as progress, Searcher(index, self.engine) as searcher:
            answers = []
            for number in chosen:
                answers.append(searcher.search(images / names[number], SearchOptions()))
                progress(len(answers), len(chosen))
            truth = [labels[number] for number in chosen]
            _draw(searcher, answers[:_SHOWN], truth, self.output / "results.png")
        return answers

    def _report(
        self,
        name: str,
        family: NetFamily,
        dataset: DatasetReport,
        measures: Evaluation,
        answers: list[Answer],
    ) -> dict[str, Any]:
        return {
            "engine": self.engine.name,
            "dataset": name,
            "net": f"{family.name}_{BITS}",
            "bits": BITS,
            "classes": len(dataset.labels),
            "train_images": sum(dataset.train_counts),
            "database_images": measures.database,
            "queries": measures.queries,
            "skipped": len(dataset.skipped),
            "map_at_1000": measures.map_at_k,
            "precision_at_10": measures.precision_at.get(10, 0.0),
            "distinct_codes": measures.distinct_codes,
            "seconds": {stage: round(value, 2) for stage, value in self.seconds.items()},
            "search_p50_ms": _median_ms(answers, ("coarse", "fine")),
            "query_p50_ms": _median_ms(answers, tuple(answers[0].timings_ms)),
        }


def choose_family(samples: list[Sample]) -> NetFamily:
    """LeNet for small gray images, the quick colour net for anything else."""
    for sample in samples[:: max(1, len(samples) // _LOOKED_AT)]:
        try:
            height, width, channels = probe(sample.path) if sample.path else (0, 0, 0)
        except ImageError:  # the stages will list it as skipped
            continue
        if channels != 1 or max(height, width) > _DIGIT_SIDE:
            return NETS["quick"]
    return NETS["lenet"]


def _draw(searcher: Searcher, answers: list[Answer], truth: list[str], path: Path) -> None:
    rows = [
        Row(
            Cell(Path(answer.query), label),
            [
                Cell(
                    searcher.image_path(hit.name),
                    f"{hit.label}  {hit.distance:.3g}",
                    hit.label == label,
                )
                for hit in answer.hits
            ],
        )
        for answer, label in zip(answers, truth, strict=False)
    ]
    contact_sheet(rows, path, "Queries (left) and their nearest images: label and distance")


def _median_ms(answers: list[Answer], phases: tuple[str, ...]) -> float:
    """Median over the answers of the milliseconds spent in `phases`."""
    sums = [sum(answer.timings_ms[phase] for phase in phases) for answer in answers]
    return round(float(np.median(sums)), 3)
