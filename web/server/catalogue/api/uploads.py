"""Pictures to search with."""

from __future__ import annotations

from hashlib import sha256
from typing import Annotated, Any

from django.conf import settings
from django.http import HttpRequest
from ninja import File, Router, Status
from ninja.files import UploadedFile

from .. import limits, uploads
from .common import answers, client_of
from .schemas import UploadOut

router = Router(tags=["search"])


@router.post("/uploads", response=answers(UploadOut, 413, 415, 429, ok=201), summary="Upload")
def upload(request: HttpRequest, file: Annotated[UploadedFile, File()]) -> Any:
    """Keep a picture for an hour, written anew, without its metadata."""
    limits.count(client_of(request))
    data = file.read()
    kept = uploads.keep(data)
    content = {
        "upload": kept.token,
        "thumbnail": kept.thumbnail,
        "width": kept.picture.width,
        "height": kept.picture.height,
        "sha256": sha256(data).hexdigest(),
        "expires_in": settings.UPLOAD_SECONDS,
    }
    return Status(201, content)
