"""Search, and why a hit is one."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any

from django.conf import settings
from django.http import HttpRequest, JsonResponse
from ninja import File, Form, Router
from ninja.files import UploadedFile
from pydantic import ValidationError as Faults

from .. import fetching, limits, metrics, services, uploads
from ..answers import answer_json, hits_json
from ..errors import invalid
from ..sync import shown_name, synchronise
from .common import answers, client_of
from .schemas import Answer, Copies, Search, SearchAndHit, Ways, WaysAndCrop, Why

router = Router(tags=["search"])


@router.post("/search", response=answers(Answer, 404, 413, 415, 429), summary="Search")
def search(request: HttpRequest, ask: Search) -> Any:
    """Find the images nearest to one of the library, to an upload, or to a picture elsewhere."""
    library = synchronise()
    query, shown = _query(request, library, ask)
    return _answer(library, query, shown, ask)


@router.post("/search/upload", response=answers(Answer, 404, 413, 415, 429),
             summary="Upload and search in one step")  # fmt: skip
def search_upload(
    request: HttpRequest, file: Annotated[UploadedFile, File()], query: Annotated[str, Form()] = ""
) -> Any:
    """As search; `query` is its JSON less id, upload and url."""
    ask = _ways(query)
    library = synchronise()
    limits.count(client_of(request))
    data = file.read()
    kept = uploads.keep(data)
    shown = {"kind": "upload", "upload": kept.token, "name": "", "thumbnail": kept.thumbnail}
    return _answer(library, services.Query(picture=data, crop=_crop(ask)), shown, ask)


@router.post("/explain", response=answers(Why, 404, 413, 415, 429), summary="Why this match")
def explain(request: HttpRequest, ask: SearchAndHit) -> Any:
    """Both codes, the distance under every metric, the ranks before and after the rerank."""
    library = synchronise()
    query, _ = _query(request, library, ask)
    return library.explain(query, wish_of(ask), ask.hit)


@router.post("/copies", response=answers(Copies, 404, 413, 415, 429),
             summary="Near-copies of a hit")  # fmt: skip
def copies(request: HttpRequest, ask: SearchAndHit) -> Any:
    """The images that were folded into a hit: as many as its `near_copies` says."""
    library = synchronise()
    query, _ = _query(request, library, ask)
    return {"hits": hits_json(library, library.copies(query, wish_of(ask), ask.hit))}


def _ways(text: str) -> WaysAndCrop:
    try:
        return WaysAndCrop.model_validate_json(text or "{}")
    except Faults as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise invalid(f"query: {where + ': ' if where else ''}{first['msg']}") from error


def wish_of(ask: Ways) -> services.Wish:
    """How to search, for the library."""
    given = ask.model_dump(include=set(Ways.model_fields))
    lists = {name: tuple(given[name]) for name in ("labels", "liked", "disliked")}
    return services.Wish(**{**given, **lists})


def _crop(ask: WaysAndCrop) -> tuple[float, float, float, float] | None:
    crop = ask.crop
    return (crop.x, crop.y, crop.width, crop.height) if crop else None


def _query(
    request: HttpRequest, library: services.Library, ask: Search
) -> tuple[services.Query, dict[str, Any]]:
    """The query, and how it is shown."""
    if ask.id is not None:
        name = shown_name(ask.id, library.file_name(ask.id))
        shown = {"kind": "id", "id": ask.id, "name": name,
                 "thumbnail": f"/thumbnails/{ask.id}.jpg"}  # fmt: skip
        return services.Query(number=ask.id), shown
    limits.count(client_of(request))
    if ask.upload is not None:
        picture = uploads.read(ask.upload)
        shown = {"kind": "upload", "upload": ask.upload, "name": "",
                 "thumbnail": f"/uploads/{ask.upload}.jpg"}  # fmt: skip
        return services.Query(picture=picture, crop=_crop(ask)), shown
    picture = _fetched(ask.url or "")
    kept = uploads.keep(picture)
    shown = {"kind": "url", "url": ask.url, "upload": kept.token, "name": "",
             "thumbnail": kept.thumbnail}  # fmt: skip
    return services.Query(picture=picture, crop=_crop(ask)), shown


def _fetched(url: str) -> bytes:
    if not settings.FETCH:
        raise invalid("this service fetches no addresses - upload the picture")
    networks = tuple(map(ipaddress.ip_network, settings.FETCH_NETWORKS))
    return fetching.fetch(
        url, fetching.Limits(settings.MAX_BYTES, settings.FETCH_SECONDS, networks)
    )


def _answer(
    library: services.Library, query: services.Query, shown: dict[str, Any], ask: Ways
) -> JsonResponse:
    """Written at once: checking every hit against its schema again would take longer."""
    found = library.search(query, wish_of(ask))
    metrics.searched(found.timings_ms)
    return JsonResponse(answer_json(library, found, shown))
