"""`CodeTable`: codes and features in Parquet, made in runs, each run in batches.

    manifest.json                        the network, bits, size of a feature
    run=000001/plan/*.parquet            what the run found: name, id, batch of each image
    run=000001/batch=00000/_SUCCESS      the batch is whole; without it, it does not count
    run=000001/batch=00000/kind=K/*.parquet     K: codes, quarantine, unchanged
    run=000001/run.json                  the run is done: its counts

Columns: name, id, label, sha256 (32 bytes), code (packed bits), feature (float16, little
endian), reason (of the quarantine). An image that changed has a row in each run that met
another content; `codes` and `quarantine` give the newest of what the last run still found.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ...errors import DataError
from ...manifest import FORMAT, Manifest, new_manifest, require_same
from ...model import HashModel
from .hadoop import HadoopFolder, literal
from .shipping import KEYS
from .worker import CODES, QUARANTINE, ROW_SQL, UNCHANGED

STAGE = "spark_extract"
_MANIFEST, _PLAN, _REPORT, _WHOLE = "manifest.json", "plan", "run.json", "_SUCCESS"
_SCHEMA = f"{ROW_SQL}, run int, batch int"


class CodeTable:
    """A table that need not be there yet. One run at a time may write to it.

    Attributes:
        spark: the session that reads and writes it.
        folder: where it lies.
    """

    def __init__(self, spark: SparkSession, path: str) -> None:
        """Name the table."""
        self.spark = spark
        self.folder = HadoopFolder(spark, path)

    @property
    def manifest(self) -> Manifest:
        """The network that made it, `bits` and `dim`.

        Raises:
            DataError: no table, or one of a newer version.
        """
        where = f"{self.folder.path}/{_MANIFEST}"
        try:
            manifest: Any = json.loads(self.folder.read(_MANIFEST))
        except ValueError as error:
            raise DataError(f"{where}: is no JSON ({error})", "is it the right folder?") from error
        if not isinstance(manifest, dict) or manifest.get("stage") != STAGE:
            raise DataError(f"{where}: is no table's manifest", "give an output of spark_extract")
        if manifest["format"] > FORMAT:
            raise DataError(f"{where}: written by a newer version", "update latenthash")
        return manifest

    def claim(self, model: HashModel) -> None:
        """Make the table this model's, or find that it is.

        Raises:
            MismatchError: it holds codes of another model.
            DataError: the folder holds something else.
        """
        facts: dict[str, Any] = {"model": model.describe(), "bits": model.bits, "dim": model.dim}
        if not self.folder.exists(_MANIFEST):
            if self.folder.names():
                raise DataError(f"{self.folder.path}: holds something else", "give a new folder")
            text = json.dumps(new_manifest(STAGE, **facts), indent=1, sort_keys=True)
            self.folder.write(_MANIFEST, text + "\n")
        found = self.manifest
        require_same(
            {**found["model"], "bits": found["bits"], "dim": found["dim"]},
            {**facts["model"], "bits": model.bits, "dim": model.dim},
            (*KEYS, "bits", "dim"),
            f"{self.folder.path} holds codes of another network",
        )

    def runs(self) -> list[int]:
        """Numbers of all runs, also of those that were cut short."""
        names = (name for name in self.folder.folders() if name.startswith("run="))
        return sorted(int(name.removeprefix("run=")) for name in names)

    def report(self, run: int) -> dict[str, Any] | None:
        """What a run reported at its end; None if it did not get there."""
        name = f"{_run(run)}/{_REPORT}"
        if not self.folder.exists(name):
            return None
        report: dict[str, Any] = json.loads(self.folder.read(name))
        return report

    def finish(self, run: int, report: Mapping[str, Any]) -> None:
        """Mark a run as done."""
        text = json.dumps(report, indent=1, sort_keys=True)
        self.folder.write(f"{_run(run)}/{_REPORT}", text + "\n")

    def last_report(self) -> dict[str, Any]:
        """Report of the last run.

        Raises:
            DataError: there was none, or it was cut short.
        """
        runs = self.runs()
        report = self.report(runs[-1]) if runs else None
        if report is None:
            state = "its last run did not finish" if runs else "holds no run"
            raise DataError(f"{self.folder.path}: {state}", "run spark_extract.py (again)")
        return report

    def plan_path(self, run: int) -> str:
        """Where the plan of a run lies."""
        return f"{self.folder.path}/{_run(run)}/{_PLAN}"

    def batch_path(self, run: int, batch: int) -> str:
        """Where a batch of a run lies."""
        return f"{self.folder.path}/{_batch(run, batch)}"

    def whole_batches(self, run: int) -> list[str]:
        """Names of the batches of a run that are whole, from the table's folder on."""
        names = (f"{_run(run)}/{n}" for n in self.folder.folders(_run(run)) if "batch=" in n)
        return [name for name in names if self.folder.exists(f"{name}/{_WHOLE}")]

    def tidy(self) -> None:
        """Remove batches that a run which was cut short had not finished."""
        for run in self.runs():
            whole = set(self.whole_batches(run))
            for name in self.folder.folders(_run(run)):
                if "batch=" in name and f"{_run(run)}/{name}" not in whole:
                    self.folder.remove(f"{_run(run)}/{name}")

    def rows(self, *runs: int) -> DataFrame:
        """All rows of some runs' whole batches, with their kind, run and batch."""
        names = [name for run in runs for name in self.whole_batches(run)]
        if not names:
            return self.spark.createDataFrame([], _SCHEMA)
        paths = [literal(f"{self.folder.path}/{name}") for name in names]
        reader = self.spark.read.schema(_SCHEMA).option("basePath", self.folder.path)
        return reader.parquet(*paths)

    def newest(self) -> DataFrame:
        """(name, id, label, sha256, kind) as the newest codes or quarantine row has it."""
        rows = self.rows(*self.runs()).where(F.col("kind") != UNCHANGED)
        newest = F.max_by(F.struct("id", "label", "sha256", "kind"), "run").alias("row")
        return rows.groupBy("name").agg(newest).select("name", "row.*")

    def codes(self) -> DataFrame:
        """(name, id, label, sha256, code, feature) of all images of the last run.

        Raises:
            DataError: the last run did not finish.
        """
        return self._current(CODES).select("name", "id", "label", "sha256", "code", "feature")

    def quarantine(self) -> DataFrame:
        """(name, id, label, sha256, reason) of the last run's images that cannot be used.

        Raises:
            DataError: the last run did not finish.
        """
        return self._current(QUARANTINE).select("name", "id", "label", "sha256", "reason")

    def _current(self, kind: str) -> DataFrame:
        self.last_report()
        runs = self.runs()
        rows = self.rows(*runs)
        if len(runs) > 1:
            # Few are stale, and theirs are small columns: no feature goes through a shuffle
            # where Spark sees that they fit into memory.
            rows = rows.join(_stale(rows, runs[-1]), ["name", "run"], "left_anti")
        return rows.where(F.col("kind") == kind)


def _stale(rows: DataFrame, last: int) -> DataFrame:
    """(name, run) of rows that a later run made anew, or whose image the last did not find."""
    keys = rows.select("name", "run", "kind")
    made = keys.where(F.col("kind") != UNCHANGED).select("name", "run")
    newest = made.groupBy("name").agg(F.max("run").alias("run"))
    found = keys.where(F.col("run") == last).select("name")
    current = newest.join(found, "name", "left_semi")
    return made.join(current, ["name", "run"], "left_anti")


def _run(run: int) -> str:
    return f"run={run:06d}"


def _batch(run: int, batch: int) -> str:
    return f"{_run(run)}/batch={batch:05d}"
