"""What is closed at the end of its `with` block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar

Self = TypeVar("Self", bound="Closing")


class Closing(ABC):
    """Base of what holds a file, a process or a net; `with` closes it."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what is held; calling again does nothing."""

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
