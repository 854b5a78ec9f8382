"""A folder on any file system that Hadoop knows: file:, hdfs:, s3a: and so on.

Through the driver's Java, since that is what reads and writes the data too: the same
addresses, settings and rights. Small files only; the driver reads them whole.
"""

from __future__ import annotations

import re
from typing import Any

from pyspark.sql import SparkSession

from ...errors import DataError, StorageError

_PARTIAL = ".partial"


class HadoopFolder:
    """A folder that need not be there yet.

    Attributes:
        path: its whole address, e.g. "file:/data/codes".
    """

    def __init__(self, spark: SparkSession, path: str) -> None:
        """Name the folder; without a scheme it is on Hadoop's default file system."""
        context = spark.sparkContext
        self._jvm: Any = context._jvm
        given = self._jvm.org.apache.hadoop.fs.Path(path)
        self._system: Any = given.getFileSystem(context._jsc.hadoopConfiguration())
        self.path: str = self._system.makeQualified(given).toString()

    def _at(self, name: str) -> Any:
        whole = f"{self.path}/{name}" if name else self.path
        return self._jvm.org.apache.hadoop.fs.Path(whole)

    def exists(self, name: str = "") -> bool:
        """Whether there is a file or folder `name` in it; of itself without one."""
        return bool(self._system.exists(self._at(name)))

    def names(self, name: str = "") -> list[str]:
        """Names of the files and folders in the folder `name`, sorted; none if it is not there."""
        return sorted(self._listed(name, folders=False))

    def folders(self, name: str = "") -> list[str]:
        """Names of the folders in the folder `name`, sorted; none if it is not there."""
        return sorted(self._listed(name, folders=True))

    def _listed(self, name: str, folders: bool) -> list[str]:
        if not self.exists(name):
            return []
        found = self._system.listStatus(self._at(name))
        return [
            str(status.getPath().getName())
            for status in found
            if status.isDirectory() or not folders
        ]

    def read(self, name: str) -> str:
        """Text of a file.

        Raises:
            DataError: it is not there, or no UTF-8.
        """
        if not self.exists(name):
            raise DataError(f"{self.path}/{name}: no such file", "check the path")
        stream = self._system.open(self._at(name))
        try:
            return bytes(stream.readAllBytes()).decode()
        except UnicodeDecodeError as error:
            raise DataError(f"{self.path}/{name}: is no text", "is it the right folder?") from error
        finally:
            stream.close()

    def write(self, name: str, text: str) -> None:
        """Write a new file, which appears whole or not at all.

        Raises:
            StorageError: it is there already.
        """
        if self.exists(name):
            raise self._taken(name)
        partial = self._at(name + _PARTIAL)
        stream = self._system.create(partial, True)
        try:
            stream.write(bytearray(text.encode()))
        finally:
            stream.close()
        if not self._system.rename(partial, self._at(name)):
            raise self._taken(name)

    def _taken(self, name: str) -> StorageError:
        problem = f"{self.path}/{name}: is there already"
        return StorageError(problem, "does another run write there too?")

    def remove(self, name: str) -> None:
        """Remove a file or folder with all that is in it."""
        self._system.delete(self._at(name), True)


def literal(path: str) -> str:
    """A path as Spark's readers take it, which see patterns in names like `a[1].jpg`."""
    return re.sub(r"([\[\]{}*?\\])", r"\\\1", path)
