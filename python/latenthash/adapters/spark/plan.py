"""The plan of a run: every image that was found, its id, its batch, what is known of it.

Written to the table before the work, so that the work has a fixed list to be held to.
"""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from ...errors import DataError
from .inputs import Images, Listing
from .table import CodeTable
from .worker import CODES


def write_plan(table: CodeTable, run: int, listing: Listing, images: int) -> DataFrame:
    """Write the plan of a run and read it back.

    Args:
        table: where it belongs; what it holds is known.
        run: number of the run.
        listing: what was found.
        images: of a batch; more where a unit holds more.

    Returns:
        (name, label, unit, reason, id, batch, known) of each image. `id`: as it was, or
        the next ones in the order of label and name, as bytes. `known`: SHA-256 of the
        image that has its codes already, null if it has none or is of another label.

    Raises:
        DataError: a name is missing or not unique.
    """
    path = table.plan_path(run)
    planned = _batched(_numbered(listing.images, table.newest()), images)
    planned.write.parquet(path)
    plan = table.spark.read.parquet(path)
    _require_names(plan, table)
    return plan


def _numbered(images: DataFrame, before: DataFrame) -> DataFrame:
    """With the ids of old, new ones after the last of them, and the known SHA-256."""
    [(last,)] = before.agg(F.max("id")).collect()
    first = 0 if last is None else last + 1
    known = before.select(
        "name",
        F.col("id").alias("old_id"),
        F.col("label").alias("old_label"),
        F.when(F.col("kind") == CODES, F.col("sha256")).alias("old_sha256"),
    )
    new_first = Window.orderBy(F.col("old_id").isNotNull(), "label", "name")
    new_id = F.row_number().over(new_first) + F.lit(first - 1)
    same_label = F.col("label").eqNullSafe(F.col("old_label"))
    return images.join(known, "name", "left").select(
        "name",
        "label",
        "unit",
        "reason",
        F.coalesce("old_id", new_id).cast("long").alias("id"),
        F.when(same_label, F.col("old_sha256")).alias("known"),
    )


def _batched(images: DataFrame, size: int) -> DataFrame:
    """With the number of each image's batch; a unit is never split."""
    place = images.withColumn("place", F.row_number().over(Window.orderBy("unit", "name")))
    first = F.min("place").over(Window.partitionBy("unit"))
    return place.withColumn("batch", F.floor((first - 1) / size).cast("int")).drop("place")


def _require_names(plan: DataFrame, table: CodeTable) -> None:
    [(rows, names)] = plan.agg(F.count(F.lit(1)), F.countDistinct("name")).collect()
    if not rows:
        raise DataError(f"{table.folder.path}: no images were found", "check the source")
    if names < rows:
        raise DataError(
            f"{rows - names} of {rows} images have no name, or that of another",
            "give each image a name of its own",
        )


def batches(plan: DataFrame) -> list[tuple[int, int]]:
    """(number, images) of the batches of a plan, in order."""
    counted = plan.groupBy("batch").agg(F.count(F.lit(1))).orderBy("batch").collect()
    return [(row[0], row[1]) for row in counted]


def input_of(spark: SparkSession, plan: DataFrame, batch: int, images: Images) -> DataFrame:
    """What `encode` takes of a batch; images that have a reason already are not read."""
    planned = plan.where(F.col("batch") == batch)
    columns = ("name", "id", "label", "content", "known", "reason")
    unread = planned.where(F.col("reason").isNotNull())
    inputs = unread.withColumn("content", F.lit(None).cast("binary")).select(*columns)
    wanted = planned.where(F.col("reason").isNull())
    units = [row[0] for row in wanted.select("unit").distinct().collect()]
    if not units:
        return inputs
    # Broadcast: the plan goes to where the images are, and no image through a shuffle.
    read = images.contents(spark, units).join(F.broadcast(wanted), "name")
    return read.select(*columns).unionByName(inputs)
