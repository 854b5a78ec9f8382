"""Pictures that were sent to search with: a folder of bounded count and age.

A picture is decoded and written anew before it is kept, so what lies here is a file of
ours without metadata, under a name of ours. The name is the token that finds it again.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.uploadhandler import MemoryFileUploadHandler

from . import services
from .errors import Problem, not_found

_TOKEN = re.compile(r"[A-Za-z0-9_-]{32}")
_LONGEST = 1600  # pixels of a side; networks take a few hundred
_QUALITY = 95


@dataclass(frozen=True)
class Upload:
    """A picture that is kept for a while."""

    token: str
    picture: services.Picture

    @property
    def thumbnail(self) -> str:
        """Its address."""
        return f"/uploads/{self.token}.jpg"


class BoundedMemoryHandler(MemoryFileUploadHandler):
    """Keeps a file in memory: nothing of a client's ever has a name on our disk."""

    def handle_raw_input(
        self,
        input_data: Any,
        META: Any,  # noqa: N803
        content_length: int,
        boundary: bytes,
        encoding: str | None = None,
    ) -> None:
        """Take all files; the request's length was checked before."""
        self.activated = True

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes | None:
        """Collect, up to the limit."""
        if start + len(raw_data) > settings.MAX_BYTES:
            raise too_large()
        return super().receive_data_chunk(raw_data, start)


def too_large() -> Problem:
    """413 for bytes."""
    return Problem(413, "too_large", f"send at most {settings.MAX_BYTES / 1e6:g} MB")


def _folder() -> Path:
    folder: Path = settings.DATA / "uploads"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def keep(data: bytes) -> Upload:
    """Check a picture, keep it, let go of old ones."""
    picture = services.rewritten(data, _LONGEST, _QUALITY, exact=True)
    token = secrets.token_urlsafe(24)
    write(_folder() / token, picture.data)
    _tidy()
    return Upload(token, picture)


def read(token: str) -> bytes:
    """Bytes of a picture that was kept.

    Raises:
        Problem: no such token, or its hour is over (404).
    """
    missing = not_found("this upload is not there any more - send the picture again")
    if not _TOKEN.fullmatch(token):
        raise missing
    path = _folder() / token
    try:
        if time.time() - path.stat().st_mtime > settings.UPLOAD_SECONDS:
            raise missing
        return path.read_bytes()
    except FileNotFoundError as error:
        raise missing from error


def write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; two writers of one file do not meet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        partial.write_bytes(data)
        partial.rename(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise Problem(503, "storage", "the disk is full or not writable - see the log") from error


def _tidy() -> None:
    """Remove what is too old, and of the rest the oldest above the limit."""
    ages = []
    for entry in os.scandir(_folder()):
        with contextlib.suppress(FileNotFoundError):  # another worker tidies too
            ages.append((entry.stat().st_mtime, entry.path))
    ages.sort(reverse=True)
    oldest = time.time() - settings.UPLOAD_SECONDS
    for number, (when, path) in enumerate(ages):
        if number >= settings.UPLOADS_KEPT or when < oldest:
            Path(path).unlink(missing_ok=True)
