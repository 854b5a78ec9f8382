"""How often one address may ask for what is costly, counted over all workers."""

from __future__ import annotations

import fcntl
import struct
import time
from hashlib import blake2b
from pathlib import Path

from django.conf import settings

from .errors import Problem

_SLOTS = 1 << 14
_SLOT = struct.Struct("<QII")  # address, minute, count


def count(address: str) -> None:
    """Count a request; the one above the limit of its minute is refused.

    Addresses that fall into one slot of the table take turns in it: who is unlucky
    starts anew, nobody is refused for another.
    """
    if not settings.RATE:
        return
    key = int.from_bytes(blake2b(address.encode(), digest_size=8).digest(), "little")
    minute = int(time.time() // 60)
    if _counted(settings.DATA / "rates.bin", key, minute) > settings.RATE:
        message = f"more than {settings.RATE} such requests a minute - wait a minute"
        raise Problem(429, "too_many", message)


def _counted(path: Path, key: int, minute: int) -> int:
    place = key % _SLOTS * _SLOT.size
    with path.open("a+b") as file, path.open("r+b", buffering=0) as slots:
        fcntl.flock(file, fcntl.LOCK_EX)
        slots.seek(place)
        stored = slots.read(_SLOT.size)
        known = _SLOT.unpack(stored) if len(stored) == _SLOT.size else (0, 0, 0)
        total = known[2] + 1 if known[:2] == (key, minute) else 1
        slots.seek(place)
        slots.write(_SLOT.pack(key, minute, total))
    return total
