"""Changes of the library, with the token, and the cookie that opens reading."""

from __future__ import annotations

from typing import Annotated, Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from ninja import File, Form, Path, Status
from ninja.files import UploadedFile

from .. import access, changes, limits
from ..answers import image_json
from ..errors import Problem
from . import images
from .common import answers, client_of
from .schemas import ImageOut, TokenIn

router = images.router  # one address has one router
_TAGS = ["changes"]
_TOKEN: dict[str, Any] = {"security": [{"token": []}]}


@router.post("/images", response={**answers(ImageOut, 413, 415, 429, ok=201), 200: ImageOut},
             openapi_extra=_TOKEN, tags=_TAGS, summary="Add a picture")  # fmt: skip
def add(
    request: HttpRequest,
    file: Annotated[UploadedFile, File()],
    label: Annotated[str, Form(max_length=200)] = "",
) -> Any:
    """Add a picture to the library, searchable at once; 200 if it is there already.

    `label` is the name of its class; a new name is a new class.
    """
    access.require_write(request)
    limits.count(client_of(request))
    row, new = changes.add(file.read(), label.strip())
    return Status(201 if new else 200, image_json(row))


@router.delete("/images/{number}", response=answers(None, 404, ok=204),
               openapi_extra=_TOKEN, tags=_TAGS, summary="Remove an image")  # fmt: skip
def remove(request: HttpRequest, number: Annotated[int, Path(ge=0, le=2**53)]) -> Any:
    """Take an image out of the library; the files of its folder are left alone."""
    access.require_write(request)
    changes.remove(number)
    return Status(204, None)


@router.post(
    "/session", response=answers(None, 429, ok=204), tags=_TAGS, summary="A cookie for reading"
)
def session(request: HttpRequest, ask: TokenIn) -> Any:
    """Trade a token for a cookie that opens reading, where reading needs a token."""
    limits.count(client_of(request))
    response = HttpResponse(status=204)
    if settings.READ_TOKEN:
        if not access.reads(ask.token):
            raise Problem(401, "token_needed", "this is not the token - ask who runs the service")
        access.remember(request, response)
    return response
