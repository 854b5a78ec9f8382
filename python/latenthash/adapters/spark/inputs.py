"""Where images come from: files below a folder, or rows of a Parquet table.

A listing says what there is without reading a single image. Images that are loaded
together are a unit: a file of its own, or a Parquet file with many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import unquote

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import BinaryType, IntegralType, StringType

from ...errors import DataError
from ...images import EXTENSIONS
from ...sources.folders import STRAY
from .hadoop import HadoopFolder, literal

MAX_BYTES = 256 << 20
"""A larger file is quarantined: a task holds a batch of them at once."""
_HIDDEN = "^[.]"  # as `list_images` has it; Spark by itself hides "_DSC0001.JPG" as well
_SPLITS = {"train", "test", "val", "valid", "validation"}


@dataclass(frozen=True)
class Listing:
    """What there is.

    Attributes:
        images: (name, label, unit, reason) of each; a `reason` says why one is not to be
            read at all.
        classes: names of the classes in the order of their numbers.
        root: folder that names are relative to, if they are files.
    """

    images: DataFrame
    classes: list[str]
    root: str | None = None


class Images(Protocol):
    """An image set that Spark can read."""

    @property
    def path(self) -> str:
        """Where it lies."""
        ...

    def listing(self, spark: SparkSession) -> Listing:
        """What there is.

        Raises:
            DataError: nothing there, or not what was expected.
        """
        ...

    def contents(self, spark: SparkSession, units: Sequence[str]) -> DataFrame:
        """(name, content) of all images in some units of the listing."""
        ...


@dataclass(frozen=True)
class ImageFolder:
    """Image files below a folder on any file system that Hadoop knows.

    The folders directly in it are the classes; without any, the images are of no class.

    Attributes:
        path: such as "hdfs://host/photos", "s3a://bucket/photos" or "/data/photos".
    """

    path: str

    def listing(self, spark: SparkSession) -> Listing:
        """All files below, named like images; hidden ones are left out."""
        folder = HadoopFolder(spark, self.path)
        if not folder.exists():
            raise DataError(f"{self.path}: no such folder", "check the path")
        classes = sorted((n for n in folder.folders() if not n.startswith(".")), key=str.encode)
        if classes and _SPLITS.issuperset(classes):
            raise DataError(
                f"{self.path}: holds {', '.join(classes)}, not classes",
                f"extract each by itself, e.g. {self.path}/{classes[0]}",
            )
        name = _name_below(folder.path)
        in_class = F.instr(name, "/") > 0
        images = _named_like_images(_listed(spark, literal(folder.path))).select(
            name.alias("name"),
            _if(bool(classes), F.when(in_class, F.substring_index(name, "/", 1)), "label"),
            F.col("path").alias("unit"),
            _if(True, _reason(~in_class if classes else F.lit(False)), "reason"),
        )
        return Listing(images, classes, folder.path)

    def contents(self, spark: SparkSession, units: Sequence[str]) -> DataFrame:
        """Whole files."""
        name = _name_below(HadoopFolder(spark, self.path).path)
        return _files(spark, *map(literal, units)).select(name.alias("name"), "content")


def _files(spark: SparkSession, *paths: str) -> DataFrame:
    """Path, length and content of all files below some paths, or of these files."""
    reader = spark.read.format("binaryFile").option("recursiveFileLookup", "true")
    return reader.option("ignoredPathSegmentRegex", _HIDDEN).load([*paths])


def _listed(spark: SparkSession, path: str) -> DataFrame:
    """(path, length) of all files below a path; no length of an empty file.

    Spark's readers pass over empty files, but know them.
    """
    files = _files(spark, path)
    known = spark.createDataFrame([(address,) for address in files.inputFiles()], "value string")
    quoted = F.replace(F.col("value"), F.lit("+"), F.lit("%2B"))  # else it becomes a space
    whole = F.regexp_replace(F.url_decode(quoted), "^file:/+", "file:/")  # as Hadoop writes it
    return known.select(whole.alias("path")).join(files.select("path", "length"), "path", "left")


def _named_like_images(files: DataFrame) -> DataFrame:
    ending = F.lower(F.regexp_extract("path", r"(\.[^./]*)$", 1))
    return files.where(ending.isin(*sorted(EXTENSIONS)))


def _name_below(root: str) -> Column:
    return F.expr(f"substring(path, {len(root.rstrip('/')) + 2})")


def _reason(stray: Column) -> Column:
    megabytes = F.format_number(F.col("length") / 1e6, 0)
    large = F.concat(F.lit("a file of "), megabytes, F.lit(" MB"))
    empty = F.when(F.col("length").isNull(), F.lit("empty file"))
    return empty.when(stray, F.lit(STRAY)).when(F.col("length") > MAX_BYTES, large)


def _if(there: bool, column: Column, name: str) -> Column:
    """A column of text, or of nothing."""
    return (column if there else F.lit(None)).cast("string").alias(name)


@dataclass(frozen=True)
class ImageTable:
    """Images as rows of Parquet: a name, the file's bytes, and a label if there is one.

    Attributes:
        path: a Parquet file, or a folder of such files.
        name: column of names, which differ from row to row.
        content: column of bytes, as they would be in a file.
        label: column of class names, or of class numbers; None: of no class.
    """

    path: str
    name: str = "name"
    content: str = "bytes"
    label: str | None = "label"

    def listing(self, spark: SparkSession) -> Listing:
        """All rows, without their bytes."""
        folder = HadoopFolder(spark, self.path)
        if not folder.exists():
            raise DataError(f"{self.path}: no such table", "check the path")
        rows = _rows(spark, literal(folder.path))
        self._require_columns(rows)
        images = rows.select(
            F.col(self.name).alias("name"),
            _if(self.label is not None, F.col(self.label or self.name), "label"),
            F.col("_metadata.file_path").alias("unit"),
            F.lit(None).cast("string").alias("reason"),
        )
        return Listing(images, self._classes(rows))

    def contents(self, spark: SparkSession, units: Sequence[str]) -> DataFrame:
        """Rows of some files, whose addresses have `%20` for a space and so on."""
        rows = _rows(spark, *(literal(unquote(unit)) for unit in units))
        return rows.select(F.col(self.name).alias("name"), F.col(self.content).alias("content"))

    def _require_columns(self, rows: DataFrame) -> None:
        types = {field.name: field.dataType for field in rows.schema.fields}
        wanted: dict[str, tuple[Any, ...]] = {
            self.name: (StringType,),
            self.content: (BinaryType,),
        }
        if self.label is not None:
            wanted[self.label] = (StringType, IntegralType)
        for column, kinds in wanted.items():
            if not isinstance(types.get(column), kinds):
                found = ", ".join(f"{name} {kind.simpleString()}" for name, kind in types.items())
                raise DataError(
                    f"{self.path}: no fitting column {column!r} among {found}",
                    "name the columns of names (string), bytes (binary) and labels",
                )

    def _classes(self, rows: DataFrame) -> list[str]:
        """Class names by their bytes; of class numbers, one for each up to the largest."""
        if self.label is None:
            return []
        if isinstance(rows.schema[self.label].dataType, IntegralType):
            [(least, most)] = rows.agg(F.min(self.label), F.max(self.label)).collect()
            if least is not None and least < 0:
                raise DataError(f"{self.path}: label {least}", "leave it empty where it is unknown")
            return [] if most is None else [str(number) for number in range(most + 1)]
        found = rows.select(self.label).where(F.col(self.label).isNotNull()).distinct().collect()
        return sorted((row[0] for row in found), key=str.encode)


def _rows(spark: SparkSession, *paths: str) -> DataFrame:
    return spark.read.option("recursiveFileLookup", "true").parquet(*paths)
