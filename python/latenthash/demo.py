"""The whole pipeline on one folder of images: what `make demo` runs.

images -> LMDB and mean -> training -> features and codes -> index -> measures -> queries
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .codes import CodeSet
from .dataset import DatasetReport, build_lmdb
from .demo_sheet import draw_answers
from .engines import Step
from .errors import ImageError
from .evaluate import Evaluation, evaluate
from .extract import extract
from .files import atomic_file
from .images import probe
from .index import SearchOptions, build_index
from .model import HashModel, open_model
from .nets import NETS, NetFamily, build, write_net
from .search import Answer, Searcher
from .sources import Sample, Source, open_source, write_class_folders
from .stages import Stages
from .train import train
from .views import write_views

BITS = 48
SEED = 0
VAL_FRACTION = 0.2
_DIGIT_SIDE = 32  # gray images up to this side are taken for digits
_LOOKED_AT = 50  # images whose headers tell what kind they are
# Photos of no class are trained on by their crops:
_MOST_EXEMPLARS = 1000
_TRAINING_VIEWS = 10_000  # of all together, but
_FEWEST_VIEWS, _MOST_VIEWS = 10, 40  # of each


class Demo(Stages):
    """One run: the stages above, one after the other."""

    def run(self, images: Path, name: str) -> dict[str, Any]:
        """Go from images to a report.

        Args:
            images: class folders; or photos of no class, which are then told apart by
                their crops; or a CSV of pixels and labels.
            name: of the data set, for the report.

        Returns:
            The content of report.json.

        Raises:
            LatentHashError: any stage's; what earlier stages made stays.
        """
        source = self._as_files(images)
        if source.labels:
            training, photos = source, None
        else:
            training, photos = self._views(source)
        family = choose_family(training.samples)
        dataset = self._dataset(training, family)
        model = self._train(family, dataset)
        queries = self._extract(model, self._split(training, "val"), "queries.h5")
        database = self._extract(model, photos or self._split(training, "train"), "database.h5")
        index = self._index(database)
        with self.stage("evaluate") as progress, CodeSet(database) as d, CodeSet(queries) as q:
            measures = evaluate(d, q, 1000, progress)
        answers = self._search(index, queries)
        report = self._report(name, family, dataset, measures, answers)
        with atomic_file(self.output / "report.json") as partial:
            partial.write_text(json.dumps(report, indent=1) + "\n")
        return report

    def _as_files(self, images: Path) -> Source:
        """Images as files, so that each can be looked at and searched with."""
        if images.is_dir():
            return open_source(images, labelled=False)
        with self.stage("unpack") as progress:
            folder = write_class_folders(open_source(images), self.output / "images", progress)
        return open_source(folder)

    def _views(self, source: Source) -> tuple[Source, Source]:
        """Class folders of crops to train on, and the photos that they show, to search."""
        source = _some_first(source, _MOST_EXEMPLARS)
        exemplars = replace(source, samples=source.samples[:_MOST_EXEMPLARS])
        views = _TRAINING_VIEWS // len(exemplars.samples)
        views = min(max(views, _FEWEST_VIEWS), _MOST_VIEWS)
        with self.stage("crop views") as progress:
            folder = self.output / "views"
            write_views(exemplars, folder, views=views, side=NETS["quick"].resize, seed=SEED,
                        on_progress=progress)  # fmt: skip
        return open_source(folder), source

    def _split(self, training: Source, part: str) -> Source:
        return open_source(self.output / f"dataset/{part}.txt", root=training.root)

    def _dataset(self, training: Source, family: NetFamily) -> DatasetReport:
        assert training.root is not None  # its samples are files
        with self.stage("build LMDBs") as progress:
            return build_lmdb(
                training.root,
                self.output / "dataset",
                resize=(family.resize, family.resize),
                gray=family.channels == 1,
                encode="raw",
                val_fraction=VAL_FRACTION,
                seed=SEED,
                on_progress=progress,
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
        with self.stage("train") as progress:

            def on_step(step: Step) -> None:
                progress(step.iteration, step.max_iter)

            result = train(
                folder / "solver.prototxt", self.engine, output=self.output / "run", on_step=on_step
            )
        result.curves.replace(self.output / "training.png")
        return open_model(folder / "deploy.prototxt", result.caffemodel)

    def _extract(self, model: HashModel, source: Source, name: str) -> Path:
        with self.stage("extract") as progress:
            return extract(
                source, model, self.engine, self.output / name, on_progress=progress
            ).output

    def _index(self, database: Path) -> Path:
        with self.stage("index") as progress, CodeSet(database) as codes:
            return build_index(codes, self.output / "index", on_progress=progress)

    def _search(self, index: Path, queries: Path) -> list[Answer]:
        """Ask a spread of the queries, as files, and draw some."""
        with CodeSet(queries) as codes, CodeSet(self.output / "database.h5") as database:
            names, root = codes.names, Path(codes.manifest["root"])
            labels = [database.manifest["classes"][number] for number in codes.labels]
        chosen = np.random.default_rng(SEED).permutation(len(names))[:100]
        with self.stage("search") as progress, Searcher(index, self.engine) as searcher:
            answers = []
            for number in chosen:
                answers.append(searcher.search(root / names[number], SearchOptions()))
                progress(len(answers), len(chosen))
            truth = [labels[number] for number in chosen]
            draw_answers(searcher, answers, truth, self.output / "results.png")
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
            "search_p50_ms": _median_ms(answers, ("coarse", "fine", "rank")),
            "query_p50_ms": _median_ms(answers, tuple(answers[0].timings_ms)),
        }


def _some_first(source: Source, count: int) -> Source:
    """`count` random photos first, then the rest; each one a class of its own."""
    order = np.random.default_rng(SEED).permutation(len(source.samples))
    order = np.concatenate([np.sort(order[:count]), np.sort(order[count:])])
    samples = [replace(source.samples[old], label=new) for new, old in enumerate(order.tolist())]
    return replace(source, samples=samples, labels=[sample.name for sample in samples])


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


def _median_ms(answers: list[Answer], phases: tuple[str, ...]) -> float:
    """Median over the answers of the milliseconds spent in `phases`."""
    sums = [sum(answer.timings_ms[phase] for phase in phases) for answer in answers]
    return round(float(np.median(sums)), 3)
