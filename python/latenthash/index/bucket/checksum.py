"""SHA-256 of files larger than memory, reporting how far it is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

_CHUNK = 1 << 24


def checksum(path: Path, on_bytes: Callable[[int], None]) -> str:
    """SHA-256 of a file, in hexadecimal; `on_bytes` is told how many bytes are done."""
    digest, done = hashlib.sha256(), 0
    buffer = bytearray(_CHUNK)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(memoryview(buffer)[:count])
            done += count
            on_bytes(done)
    return digest.hexdigest()
