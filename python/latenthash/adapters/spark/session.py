"""The Spark session: how it is opened, what is set while we work, what its errors say."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from ...errors import EngineError

OLDEST = (4, 3)
"""Older versions of Spark pass over files whose names begin with "_", as of many cameras."""
_SETTINGS = {
    # Java 17 cannot open a file whose name is no ASCII in a POSIX locale.
    "spark.executorEnv.LC_ALL": "C.UTF-8",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",  # its warnings are of things that are meant here
}
_OUR_ERROR = re.compile(r"^latenthash\.errors\.\w+: (.+)$", re.MULTILINE)
_CAUSE = re.compile(r"^(?:: |Caused by: )(.+)$", re.MULTILINE)


def open_session(
    master: str | None = None, settings: Mapping[str, str] | None = None
) -> SparkSession:
    """A session whose Python processes run this interpreter, unless PYSPARK_PYTHON names one.

    Args:
        master: such as "local[4]" or "spark://host:7077"; None takes what `spark-submit`
            or Spark's configuration says.
        settings: more of Spark's, by their names.

    Raises:
        EngineError: no Java, no answer from the master, or a Spark that is too old.
    """
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if not os.environ.get("LC_ALL") and os.environ.get("LANG", "C") in ("", "C", "POSIX"):
        os.environ["LC_ALL"] = "C.UTF-8"  # of the Java that is started now
    builder = SparkSession.builder.appName("latenthash")
    if master is not None:
        builder = builder.master(master)
    for name, value in {**_SETTINGS, **(settings or {})}.items():
        builder = builder.config(name, value)
    with spark_errors("Spark does not start", "install Java 17, and check the master's address"):
        spark = builder.getOrCreate()
    require_version(spark)
    return spark


def require_version(spark: SparkSession) -> None:
    """Raise `EngineError` if this Spark is too old."""
    found = tuple(int(number) for number in re.findall(r"\d+", spark.version)[:2])
    if found < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise EngineError(f"Spark {spark.version}", f"take Spark {wanted} or newer")


@contextmanager
def settings_of(spark: SparkSession, settings: Mapping[str, object]) -> Iterator[None]:
    """Settings of a session for as long as the context lasts."""
    before = {name: spark.conf.get(name, None) for name in settings}
    try:
        for name, value in settings.items():
            spark.conf.set(name, str(value))
        yield
    finally:
        for name, old in before.items():
            if old is None:
                spark.conf.unset(name)
            else:
                spark.conf.set(name, old)


@contextmanager
def spark_errors(what: str, remedy: str = "see Spark's log; run again to go on") -> Iterator[None]:
    """Turn what Spark raises into an `EngineError` of one line.

    A `LatentHashError` of a worker, which Spark hands on as a long text, is found in it.
    """
    try:
        yield
    except (PySparkException, Py4JError) as error:
        raise EngineError(f"{what}: {reason_of(str(error))}", remedy) from error


def reason_of(text: str) -> str:
    """The line of one of Spark's errors that says why."""
    if ours := _OUR_ERROR.findall(text):
        return str(ours[-1])
    if causes := _CAUSE.findall(text):
        return str(causes[-1])
    return text.strip().split("\n", 1)[0]
