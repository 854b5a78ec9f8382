"""Spark for tests: a session of this process, and a standalone cluster on loopback."""

from __future__ import annotations

import gc
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyspark
import pytest
from pyspark import SparkContext
from pyspark.sql import SparkSession

from latenthash.adapters.spark import open_session

ROOT = Path(__file__).resolve().parent.parent
HOME = Path(pyspark.__file__).parent
_PATIENCE = 120  # seconds for a process to start on a busy machine
_LOOPBACK = {"SPARK_LOCAL_IP": "127.0.0.1", "LC_ALL": "C.UTF-8", "PYSPARK_PYTHON": sys.executable}
_QUICK_JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # it does not live long
_SETTINGS = {
    "spark.driver.extraJavaOptions": _QUICK_JAVA,
    "spark.executor.extraJavaOptions": _QUICK_JAVA,
    "spark.sql.codegen.wholeStage": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.memory": "512m",
    "spark.executor.memory": "512m",
    "spark.executorEnv.PYTHONPATH": str(ROOT / "python"),
    "spark.sql.shuffle.partitions": "2",
    "spark.ui.enabled": "false",
}
WARNINGS = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Spark's sockets
    pytest.mark.filterwarnings("ignore:::pyspark"),
    pytest.mark.filterwarnings("ignore:::py4j"),
]
"""Marks of tests that run a session: what Spark is warned of is not ours."""


@contextmanager
def session(master: str, folder: Path, **settings: str) -> Iterator[SparkSession]:
    """A session; its Java has ended when the context has."""
    own = {"spark.local.dir": str(folder / "local"), "spark.sql.warehouse.dir": str(folder / "w")}
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SPARK_HOME", raising=False)
        for name, value in _LOOPBACK.items():
            patch.setenv(name, value)
        before = signal.getsignal(signal.SIGINT)  # pyspark puts its own there for good
        opened = open_session(master, {**_SETTINGS, **own, **settings})
        try:
            yield opened
        finally:
            _stop(opened)
            signal.signal(signal.SIGINT, before)


def _stop(opened: SparkSession) -> None:
    """Stop the session and the Java that pyspark keeps for the next one."""
    gateway = SparkContext._gateway
    opened.stop()
    gateway.shutdown()
    gateway.proc.stdin.close()
    gateway.proc.wait(_PATIENCE)
    SparkContext._gateway = SparkContext._jvm = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()  # here, and not in the midst of another test


@dataclass
class Cluster:
    """A master and its workers, each a process group with its executors.

    Attributes:
        master: its address.
        workers: their processes.
    """

    master: str = ""
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def kill(self, number: int) -> None:
        """Kill a worker with its executors, as if its machine had lost power."""
        _kill(self.workers[number])


_LOGGING = """
rootLogger.level = info
rootLogger.appenderRef.err.ref = err
appender.err.type = Console
appender.err.name = err
appender.err.target = SYSTEM_ERR
appender.err.layout.type = PatternLayout
appender.err.layout.pattern = %c{1}: %m%n%ex
"""  # by itself Spark says little more than warnings


@contextmanager
def cluster(folder: Path, workers: int) -> Iterator[Cluster]:
    """A standalone cluster of workers with one core each."""
    (folder / "conf").mkdir(parents=True)
    (folder / "conf/log4j2.properties").write_text(_LOGGING)
    started: list[subprocess.Popen[bytes]] = []
    made = Cluster()
    try:
        log = folder / "master.log"
        started.append(_start("master.Master", log, "--port", "0"))
        made.master = _said(started[0], log, r"Starting Spark master at (spark://[\w.]+:\d+)")
        for number in range(workers):
            log, place = folder / f"worker{number}.log", folder / f"worker{number}"
            arguments = ("--cores", "1", "--memory", "1g", "--work-dir", place, made.master)
            made.workers.append(_start("worker.Worker", log, *arguments))
            started.append(made.workers[-1])
            _said(started[-1], log, r"Successfully (registered) with master")
        yield made
    finally:
        for process in reversed(started):
            _kill(process)


def _start(name: str, log: Path, *arguments: object) -> subprocess.Popen[bytes]:
    command = [HOME / "bin/spark-class", f"org.apache.spark.deploy.{name}", "--host", "127.0.0.1",
               "--webui-port", "0", *arguments]  # fmt: skip
    environment = {
        **os.environ,
        **_LOOPBACK,
        "SPARK_HOME": str(HOME),
        "SPARK_CONF_DIR": str(log.parent / "conf"),
        "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_DAEMON_JAVA_OPTS": f"{_QUICK_JAVA} -Dspark.master.rest.enabled=false",
    }
    with log.open("wb") as output:
        return subprocess.Popen(
            [*map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


def _said(process: subprocess.Popen[bytes], log: Path, pattern: str) -> str:
    """What a process has written to its log, waited for."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        text = log.read_text(errors="replace")
        if found := re.search(pattern, text):
            return found[1]
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise AssertionError(f"{pattern!r} is not in {log}:\n{text[-3000:]}")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process group and wait for its first process; one that is gone already is."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        process.wait(_PATIENCE)
