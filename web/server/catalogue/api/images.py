"""The gallery: images, classes, figures, and the pictures themselves."""

from __future__ import annotations

import random as dice
from typing import Annotated, Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseNotModified, HttpResponseRedirect
from django.utils.http import parse_etags
from ninja import Path, Query, Router

from .. import pictures, uploads
from ..answers import image_json, row_of, rows_of
from ..errors import invalid, not_found
from ..sync import synchronise
from .common import answers, content
from .schemas import ImageOut, Labels, Page, Stats, Ways

router = Router(tags=["images"])
files = Router(tags=["pictures"])
_LOCKED_DOWN = "default-src 'none'; sandbox"
_SHORT, _LONG = "private, max-age=300", "private, max-age=3600"
Id = Annotated[int, Path(ge=0, le=2**53)]


@router.get("/stats", response=answers(Stats), summary="The library, and defaults of a search")
def stats(request: HttpRequest) -> Any:
    """Figures of the index and what this service permits."""
    ways = Ways()
    return {
        **synchronise().facts(),
        "metric": ways.metric,
        "radius": ways.radius,
        "candidates": ways.candidates,
        "top": ways.top,
        "max_top": settings.MAX_TOP,
        "uploads": {"max_bytes": settings.MAX_BYTES, "max_pixels": settings.MAX_PIXELS},
        "writable": bool(settings.TOKEN),
        "reads_need_token": bool(settings.READ_TOKEN),
        "fetches_urls": settings.FETCH,
    }


@router.get("/labels", response=answers(Labels), summary="Classes and how many images they have")
def labels(request: HttpRequest) -> Any:
    """Classes, by number."""
    library = synchronise()
    names = [*library.classes, ""]
    items = [
        {"label": label, "name": names[label], "count": count}
        for label, count in library.label_counts()
    ]
    return {"items": items}


@router.get("/images", response=answers(Page), summary="The gallery, by page")
def images(
    request: HttpRequest,
    page: Annotated[int, Query(ge=1, le=10**7)] = 1,
    size: Annotated[int, Query(ge=1, le=1000)] = 100,
    label: Annotated[int | None, Query(ge=-1, le=2**31 - 1)] = None,
    seed: Annotated[int | None, Query(ge=0, le=2**53)] = None,
) -> Any:
    """Images by id, or in an order that the seed fixes."""
    order = synchronise().order(label, seed)
    numbers = [int(number) for number in order[(page - 1) * size : page * size]]
    items = [image_json(row) for row in rows_of(numbers)]
    return {"total": len(order), "page": page, "size": size, "items": items}


@router.get("/images/random", response=answers(ImageOut, 404), summary="Any image")
def random(request: HttpRequest) -> Any:
    """An image by chance."""
    order = synchronise().order(None, None)
    if not len(order):
        raise not_found("the library is empty - add images")
    return image_json(row_of(int(dice.choice(order))))


@router.get("/images/{number}", response=answers(ImageOut, 404), summary="One image")
def image(request: HttpRequest, number: Id) -> Any:
    """An image by id."""
    synchronise()
    return image_json(row_of(number))


def _bytes(data: bytes, kind: str, tag: str, cached: str) -> HttpResponse:
    response = HttpResponse(data, content_type=kind)
    return _cached(response, tag, cached)


def _cached(response: HttpResponse, tag: str, cached: str) -> HttpResponse:
    response.headers["ETag"] = f'"{tag}"'
    response.headers["Cache-Control"] = cached
    response.headers["Content-Security-Policy"] = _LOCKED_DOWN
    return response


def _has(request: HttpRequest, tag: str) -> bool:
    return f'"{tag}"' in parse_etags(request.headers.get("If-None-Match", ""))


_PICTURE = content("image/jpeg", "image/png", "image/gif", "image/webp")


@files.get("/thumbnails/{number}.jpg", response=answers(None, 404, 415, 413),
           openapi_extra=_PICTURE, summary="A small picture")  # fmt: skip
def thumbnail(request: HttpRequest, number: Id, size: Annotated[int, Query()] = 256) -> Any:
    """JPEG of at most so many pixels a side, without metadata."""
    if size not in pictures.SIZES:
        raise invalid(f"size {size} - choose one of {', '.join(map(str, pictures.SIZES))}")
    library = synchronise()
    row = row_of(number)
    tag = pictures.thumbnail_tag(library, row, size)
    if _has(request, tag):
        return _cached(HttpResponseNotModified(), tag, _SHORT)
    return _bytes(pictures.thumbnail(library, row, size), "image/jpeg", tag, _SHORT)


@files.get("/images/{number}", response=answers(None, 404, 415, 413),
           openapi_extra=_PICTURE, summary="The picture itself")  # fmt: skip
def picture(request: HttpRequest, number: Id) -> Any:
    """The file as it is; formats that browsers do not show as JPEG."""
    library = synchronise()
    row = row_of(number)
    if address := pictures.presigned(library, number):
        return HttpResponseRedirect(address)
    tag = pictures.thumbnail_tag(library, row, 0)
    if _has(request, tag):
        return _cached(HttpResponseNotModified(), tag, _SHORT)
    data, kind = pictures.full(library, number)
    return _bytes(data, kind, tag, _SHORT)


@files.get("/uploads/{token}.jpg", response=answers(None, 404),
           openapi_extra=_PICTURE, summary="A picture that was uploaded")  # fmt: skip
def upload(request: HttpRequest, token: Annotated[str, Path(max_length=100)]) -> Any:
    """An upload written anew, as JPEG or PNG, for as long as it is kept."""
    data = uploads.read(token)
    return _bytes(data, pictures.browser_type(data) or "", token, _LONG)
