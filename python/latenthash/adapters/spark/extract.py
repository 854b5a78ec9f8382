"""Images to codes and features on a Spark cluster, batch by batch."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ...engines import get_engine
from ...errors import DataError
from ...extract import DEFAULT_BATCH
from ...model import HashModel
from ...progress import Progress, silent
from .hadoop import literal
from .inputs import Images
from .plan import batches, input_of, write_plan
from .session import require_version, settings_of, spark_errors
from .shipping import ship
from .table import CodeTable
from .worker import CODES, QUARANTINE, ROW_SQL, UNCHANGED, Recipe, encode

DEFAULT_IMAGES = 20_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SparkReport:
    """What became of the images of a run: found = written + quarantined + unchanged.

    Attributes:
        output: address of the table.
        run: number of the run.
        found: images in the source.
        written: of these, encoded now.
        quarantined: of these, not usable; the reasons are in the table's quarantine.
        unchanged: of these, encoded in an earlier run by their content's SHA-256.
    """

    output: str
    run: int
    found: int
    written: int
    quarantined: int
    unchanged: int


def extract_table(
    spark: SparkSession,
    images: Images,
    model: HashModel,
    output: str,
    *,
    engine: str = "auto",
    precision: str | None = None,
    batch: int = DEFAULT_BATCH,
    images_per_batch: int = DEFAULT_IMAGES,
    on_progress: Progress = silent,
) -> SparkReport:
    """Give every image of a source its feature and code, in a `CodeTable`.

    A batch is in the table whole or not at all; those of an interrupted run stay, and the
    next run encodes only what is new, changed or was not usable. Every image is read
    again, to compare its SHA-256.

    Args:
        spark: the session; its executors have this package and the engine installed.
        images: the source.
        model: the network, with codes; it is sent to the executors.
        output: address of a new folder, or of a table of the same model.
        engine: what runs the network, "auto" being what is the faster one here.
        precision: as in `get_engine`.
        batch: images a forward pass.
        images_per_batch: images that are written together.
        on_progress: told of images done.

    Raises:
        DataError: nothing found, or the counts do not add up: found images are neither
            written nor quarantined.
        MismatchError: the table is another model's.
        EngineError: Spark gave up, or the engine cannot be had; whole batches stay.
    """
    for name, value in (("batch", batch), ("images_per_batch", images_per_batch)):
        if value < 1:
            raise DataError(f"{name} {value}", "give 1 or more")
    require_version(spark)
    chosen = get_engine(engine, 1, precision).name
    with spark_errors(output):
        table = CodeTable(spark, output)
        table.claim(model)
        table.tidy()
        threads = int(spark.conf.get("spark.task.cpus", "1"))
        recipe = Recipe(ship(spark, model), chosen, precision, threads, batch)
        with settings_of(spark, _settings(spark, batch)):
            listing = images.listing(spark)
            run = max(table.runs(), default=0) + 1
            plan = write_plan(table, run, listing, images_per_batch)
            counts = _run_batches(table, run, plan, images, recipe, on_progress)
        report = SparkReport(table.folder.path, run, **counts)
        facts = {**asdict(report), "classes": listing.classes, "root": listing.root}
        table.finish(run, {**facts, "source": images.path, "engine": chosen})
    return report


def _settings(spark: SparkSession, batch: int) -> dict[str, int]:
    return {
        "spark.sql.execution.arrow.maxRecordsPerBatch": batch,
        # Spark reckons 4 MB for a file and 10,000 tasks for a list of files: for images,
        # small and many, that makes tasks of a few milliseconds.
        "spark.sql.files.openCostInBytes": 256 << 10,
        "spark.sql.sources.parallelPartitionDiscovery.parallelism": (
            4 * spark.sparkContext.defaultParallelism
        ),
    }


def _run_batches(
    table: CodeTable,
    run: int,
    plan: DataFrame,
    images: Images,
    recipe: Recipe,
    on_progress: Progress,
) -> dict[str, int]:
    """Write all batches; counts of the run, as in `SparkReport`."""
    planned = batches(plan)
    found = sum(count for _, count in planned)
    totals = dict.fromkeys((CODES, QUARANTINE, UNCHANGED), 0)
    for number, expected in planned:
        rows = input_of(table.spark, plan, number, images)
        path = table.batch_path(run, number)
        encoded = rows.mapInArrow(partial(encode, recipe=recipe), ROW_SQL)
        encoded.write.partitionBy("kind").parquet(path)
        counts = _counts(table.spark, path)
        _reconcile(counts, expected, path)
        for kind in totals:
            totals[kind] += counts.get(kind, 0)
        on_progress(sum(totals.values()), found)
    return {
        "found": found,
        "written": totals[CODES],
        "quarantined": totals[QUARANTINE],
        "unchanged": totals[UNCHANGED],
    }


def _counts(spark: SparkSession, batch: str) -> dict[str, int]:
    """Images of each kind in a batch, as it lies there now."""
    rows = spark.read.schema("name string, kind string").parquet(literal(batch))
    return {row[0]: row[1] for row in rows.groupBy("kind").agg(F.countDistinct("name")).collect()}


def _reconcile(counts: Mapping[str, int], expected: int, where: str) -> None:
    if sum(counts.values()) != expected:
        told = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
        raise DataError(
            f"{where}: {expected} images were found, but {told or 'none'} came back",
            "did the source change meanwhile? Run again",
        )
    _log.info("%s: %d images", where, expected)
