"""The error tree.

Every error that a user can cause derives from `LatentHashError`; its message names
the file or value and, after a dash, the remedy. Tools print it as one line and exit
with code 2. Anything else that escapes is a defect of ours and keeps its trace.
"""

from __future__ import annotations


class LatentHashError(Exception):
    """Base of all errors raised on purpose.

    Args:
        problem: what is wrong, naming the file or value.
        remedy: what the user can do about it.
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{problem} - {remedy}" if remedy else problem)


class ImageError(LatentHashError):
    """One image cannot be used; `problem` is the reason that `skipped.csv` lists."""


class DataError(LatentHashError):
    """A data set, list file, LMDB, mean file or code file is missing, empty or malformed."""


class NetError(LatentHashError):
    """A prototxt, a blob name or a weights file is missing, malformed or does not fit."""


class MismatchError(LatentHashError):
    """The output of one stage does not belong to the input of the next."""


class EngineError(LatentHashError):
    """An engine is not installed, or died at work."""


class StorageError(LatentHashError):
    """The disk is full, a path cannot be written, or a stored file is damaged."""
