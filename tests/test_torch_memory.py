"""Freed memory is used again, and the C library is left alone where it is another."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

pytest.importorskip("torch")

from latenthash.engines.torch.memory import keep_freed_memory

_CHILD = """
import resource, sys
from latenthash.engines.torch.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
bytearray(64 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    bytearray(64 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> int:
    """Pages that the system had to provide while 64 MB are taken and freed five times."""
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, mode], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc")
def test_a_large_block_is_used_again() -> None:
    assert faults("keep") < 0.5 * faults("not")


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    keep_freed_memory()
