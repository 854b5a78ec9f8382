"""The endpoints of the thesis (chapter 4, table 4-1), with its fields (figure 4-5).

The hundred nearest by chi-square distance. The feature stays in the index, which has
it; the rest of the record goes out, and the address of the picture.
"""

from __future__ import annotations

import random as dice
from hashlib import sha256
from typing import Annotated, Any

from django.http import HttpRequest, JsonResponse
from ninja import File, Query, Router
from ninja.files import UploadedFile

from .. import limits, services, uploads
from ..answers import row_of
from ..errors import not_found
from ..models import Image
from ..sync import find_shown, synchronise
from .common import answers, client_of
from .schemas import ThesisAnswer

router = Router(tags=["thesis"])
_WISH = services.Wish(top=100, metric="chi2", fold=False)


@router.get("/cnn_vgg19", response=answers(ThesisAnswer, 404), by_alias=True,
            summary="Search with an image of the library")  # fmt: skip
def by_name(request: HttpRequest, name: Annotated[str, Query(max_length=4096)]) -> Any:
    """`name` is the image's `image_name`."""
    library = synchronise()
    number = find_shown(library, name)
    if number is None:
        raise not_found("no image of this name - names are those that answers show")
    return _by_number(library, number)


@router.get("/cnn_vgg19_random", response=answers(ThesisAnswer, 404), by_alias=True,
            summary="Search with any image of the library")  # fmt: skip
def by_chance(request: HttpRequest) -> Any:
    """An image by chance, by its `intID`."""
    library = synchronise()
    order = library.order(None, None)
    if not len(order):
        raise not_found("the library is empty - add images")
    return _by_number(library, int(dice.choice(order)))


@router.post("/cnn_vgg19", response=answers(ThesisAnswer, 413, 415, 429), by_alias=True,
             summary="Search with a picture")  # fmt: skip
def by_upload(request: HttpRequest, file: Annotated[UploadedFile, File()]) -> Any:
    """The picture is kept for an hour; it is not in the database."""
    library = synchronise()
    limits.count(client_of(request))
    data = file.read()
    kept = uploads.keep(data)
    found = library.search(services.Query(picture=data), _WISH)
    query = {
        "_id": sha256(data).hexdigest()[:24],
        "image_name": f"{kept.token}.jpg",
        "hashcode": found.code,
        "isInDatabase": False,
        "intID": None,
        "url": kept.thumbnail,
    }
    return _answer(query, found)


def _by_number(library: services.Library, number: int) -> JsonResponse:
    found = library.search(services.Query(number=number), _WISH)
    return _answer(_document(row_of(number)), found)


def _document(row: Image) -> dict[str, Any]:
    identity = row.content or sha256(str(row.number).encode()).hexdigest()
    return {
        "_id": identity[:24],
        "image_name": row.name,
        "hashcode": row.hashcode,
        "isInDatabase": row.in_library,
        "intID": row.number,
        "url": f"/images/{row.number}",
    }


def _answer(query: dict[str, Any], found: services.Found) -> JsonResponse:
    hits = found.hits
    rows = Image.objects.in_bulk(hits.ids)
    columns = zip(hits.ids, hits.hamming, hits.distances, strict=True)
    results = [
        {**_document(rows[number]), "rank": rank, "hamming": hamming, "distance": distance}
        for rank, (number, hamming, distance) in enumerate(columns, 1)
        if number in rows
    ]
    return JsonResponse({"query": query, "results": results})
