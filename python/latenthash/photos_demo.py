"""From a folder of photos to a search, without labels or training: `make demo-photos`.

photos -> features of a published network -> a hash learned on them -> index -> queries
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .codes import CodeSet
from .errors import DataError
from .extract import ExtractReport, extract
from .files import atomic_file, atomic_folder
from .hashing import HashSettings
from .images import decode
from .index import BucketIndex, SearchOptions, build_index
from .label_free import Agreement, measure
from .model import FeatureModel, HashModel
from .search import Answer, Hit, Searcher
from .sheets import Cell, Row, contact_sheet
from .sources import Source
from .sources.folders import read_images
from .stages import Stages
from .views import random_view

BITS = 64
SEED = 0
CROPS = 100
_CROP_SIDE = 256
_BATCH = 8  # what the caches of a few cores hold: four times as fast as 64 there
_FEWEST = 2 * BITS  # images that itq is learned from here; fewer get random planes
_HITS = 8
_CROPS_SHOWN, _PHOTOS_SHOWN = 4, 6


class PhotosDemo(Stages):
    """One run: the stages above, one after the other."""

    def run(self, images: Path, model: FeatureModel) -> dict[str, Any]:
        """Go from photos to a report.

        Args:
            images: folder; photos below it count wherever they lie.
            model: gives the features.

        Returns:
            The content of report.json.

        Raises:
            LatentHashError: any stage's; what earlier stages made stays.
        """
        source = read_images(images)
        if not source.samples:
            raise DataError(f"{images}: holds no images", "give a folder of photos")
        method = "itq" if len(source.samples) >= _FEWEST else "lsh"
        settings = HashSettings(method, BITS, SEED)
        photos = self._extract("extract", source, model, "photos.h5", settings)
        with self.stage("index") as progress, CodeSet(photos.output) as codes:
            index = build_index(codes, self.output / "index", on_progress=progress)
        crops = self._crops(photos, source)
        with self.stage("measure"), BucketIndex(index) as opened:
            agreement = self._agreement(opened, photos, crops)
        answers = self._search(index, crops)
        report = self._report(images.name, model, photos, agreement, answers)
        with atomic_file(self.output / "report.json") as partial:
            partial.write_text(json.dumps(report, indent=1) + "\n")
        return report

    def _extract(
        self,
        stage: str,
        source: Source,
        model: FeatureModel,
        name: str,
        settings: HashSettings | None = None,
    ) -> ExtractReport:
        with self.stage(stage) as progress:
            return extract(source, model, self.engine, self.output / name,
                           learning=settings, batch=_BATCH, on_progress=progress)  # fmt: skip

    def _crops(self, photos: ExtractReport, source: Source) -> ExtractReport:
        """Random crops of random photos, named by the photo's row, with their codes."""
        with CodeSet(photos.output) as codes:
            names = codes.names
        paths = {sample.name: sample.path for sample in source.samples}
        generator = np.random.default_rng(SEED)
        chosen = generator.permutation(len(names))[:CROPS].tolist()
        folder = self.output / "crops"
        with self.stage("crops") as progress, atomic_folder(folder, durable=False) as partial:
            for done, row in enumerate(chosen, 1):
                path = paths[names[row]]
                assert path is not None  # samples of a folder are files
                view = random_view(decode(path, 3), _CROP_SIDE, generator)
                Image.fromarray(view[:, :, ::-1]).save(partial / f"{row:08}.png")
                progress(done, len(chosen))
        return self._extract("crops", read_images(folder), photos.model, "crops.h5")

    def _agreement(
        self, index: BucketIndex, photos: ExtractReport, crops: ExtractReport
    ) -> Agreement:
        with CodeSet(photos.output) as database, CodeSet(crops.output) as queries:
            truth = np.array([int(Path(name).stem) for name in queries.names])
            return measure(index, database, queries, truth, SEED)

    def _search(self, index: Path, crops: ExtractReport) -> list[Answer]:
        """Ask crops, as files, and photos of the index; draw both."""
        with CodeSet(crops.output) as codes:
            files = [self.output / "crops" / name for name in codes.names]
        options = SearchOptions(top=_HITS + 1)
        with self.stage("search") as progress, Searcher(index, self.engine) as searcher:
            answers = []
            for file in files:
                answers.append(searcher.search(file, options))
                progress(len(answers), len(files))
            numbers = np.random.default_rng(SEED + 1).permutation(len(searcher.index))
            names = searcher.index.names(np.sort(numbers[:_PHOTOS_SHOWN]))
            named = [searcher.search_name(name, options) for name in names]
            picked = np.random.default_rng(SEED).permutation(len(answers))[:_CROPS_SHOWN]
            shown = [answers[number] for number in np.sort(picked).tolist()]
            draw(searcher, shown, named, self.output / "results.png")
        return answers

    def _report(
        self,
        name: str,
        model: FeatureModel,
        photos: ExtractReport,
        agreement: Agreement,
        answers: list[Answer],
    ) -> dict[str, Any]:
        return {
            "engine": self.engine.name,
            "images_from": name,
            "net": model.deploy.parent.name,
            "images": photos.images,
            "skipped": len(photos.skipped),
            "hash": _method(photos.model),
            "bits": photos.model.bits,
            "dim": photos.model.dim,
            **asdict(agreement),
            "images_per_s": round(photos.images / self.seconds["extract"], 1),
            "seconds": {stage: round(value, 2) for stage, value in self.seconds.items()},
            "search_p50_ms": _median_ms(answers, ("coarse", "fine", "rank")),
            "query_p50_ms": _median_ms(answers, tuple(answers[0].timings_ms)),
        }


def _method(model: HashModel) -> str | None:
    return model.hash.method if model.hash else None


def _median_ms(answers: list[Answer], phases: tuple[str, ...]) -> float:
    """Median over the answers of the milliseconds spent in `phases`."""
    sums = [sum(answer.timings_ms[phase] for phase in phases) for answer in answers]
    return round(float(np.median(sums)), 3)


def draw(searcher: Searcher, crops: list[Answer], photos: list[Answer], path: Path) -> None:
    """Draw answers as rows of pictures: crops, whose photo is framed green; then photos.

    Args:
        searcher: that answered.
        crops: queries with files named by the row of the photo that they show.
        photos: queries by name; they are left out of their own hits.
        path: PNG to write.
    """
    rows = []
    for answer in crops:
        file = Path(answer.query)
        [name] = searcher.index.names(np.array([int(file.stem)]))
        cells = [_cell(searcher, hit, hit.name == name) for hit in answer.hits[:_HITS]]
        rows.append(Row(Cell(file, f"crop of\n{Path(name).stem}"), cells))
    for answer in photos:
        others = [hit for hit in answer.hits if hit.name != answer.query][:_HITS]
        query = Cell(searcher.image_path(answer.query), f"query\n{Path(answer.query).stem}")
        rows.append(Row(query, [_cell(searcher, hit, False) for hit in others]))
    title = "Crops, with the photo that they show framed green; photos, with those most like them"
    contact_sheet(rows, path, title)


def _cell(searcher: Searcher, hit: Hit, right: bool) -> Cell:
    caption = f"{Path(hit.name).stem}\n{hit.distance:.3g}"
    return Cell(searcher.image_path(hit.name), caption, True if right else None)
