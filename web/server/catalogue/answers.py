"""Rows and numbers as the JSON that goes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import services
from .errors import not_found
from .models import Image
from .sizes import sizes
from .sync import shown_name

_COLUMNS = ("number", "name", "label", "label_name", "width", "height", "in_library")


def image_json(row: Any) -> dict[str, Any]:
    """An image of the catalogue; its row, or a tuple of these columns."""
    return {
        "id": row.number,
        "name": row.name,
        "label": row.label,
        "label_name": row.label_name,
        "width": row.width,
        "height": row.height,
        **_addresses(row.number),
        "in_library": row.in_library,
    }


def _addresses(number: int) -> dict[str, str]:
    return {"thumbnail": f"/thumbnails/{number}.jpg", "url": f"/images/{number}"}


def _shown(numbers: Sequence[int]) -> dict[int, Any]:
    """What is shown of images, by number; tuples, made in half the time of model objects."""
    rows = Image.objects.filter(pk__in=numbers).values_list(*_COLUMNS, named=True)
    return {row.number: row for row in rows}


def rows_of(numbers: Sequence[int]) -> list[Any]:
    """Rows in the order of the numbers; an image that went meanwhile is left out."""
    rows = _shown(numbers)
    return [rows[number] for number in numbers if number in rows]


def row_of(number: int) -> Image:
    """Row of an image of the library.

    Raises:
        Problem: there is none (404).
    """
    row = Image.objects.filter(pk=number, in_library=True).first()
    if row is None:
        raise not_found(f"no image {number} - it may have been removed")
    return row


def answer_json(
    library: services.Library, found: services.Found, query: dict[str, Any]
) -> dict[str, Any]:
    """An answer, its hits as images."""
    answer = {
        "query": {**query, "code": found.code},
        "hits": hits_json(library, found.hits),
        "certificate": found.certificate,
        "timings_ms": {name: round(value, 3) for name, value in found.timings_ms.items()},
        "warnings": found.warnings,
        "refined": found.refined,
    }
    if found.exact_ms is not None:
        answer["exact_ms"] = round(found.exact_ms, 3)
        answer["overlap_with_exact"] = found.overlap
    return answer


def hits_json(library: services.Library, hits: services.HitList) -> list[dict[str, Any]]:
    """Hits, best first."""
    columns = zip(
        hits.ids,
        hits.names,
        hits.labels,
        hits.label_names,
        sizes.of(library.checksum, hits.ids),
        strict=True,
    )
    figures = zip(
        hits.hamming, hits.distances, hits.coarse_ranks, hits.copies, hits.codes, strict=True
    )
    return [
        {
            "id": number,
            "name": shown_name(number, name),
            "label": label,
            "label_name": label_name,
            "width": width,
            "height": height,
            **_addresses(number),
            "in_library": True,
            "rank": rank,
            "hamming": hamming,
            "distance": distance,
            "coarse_rank": coarse_rank,
            "near_copies": copies,
            "code": code,
        }
        for rank, (
            (number, name, label, label_name, (width, height)),
            (hamming, distance, coarse_rank, copies, code),
        ) in enumerate(zip(columns, figures, strict=True), 1)
    ]
