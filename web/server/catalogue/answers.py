"""Rows and numbers as the JSON that goes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import services
from .errors import not_found
from .models import Image


def image_json(row: Image) -> dict[str, Any]:
    """An image of the catalogue."""
    return {
        "id": row.number,
        "name": row.name,
        "label": row.label,
        "label_name": row.label_name,
        "width": row.width,
        "height": row.height,
        "thumbnail": f"/thumbnails/{row.number}.jpg",
        "url": f"/images/{row.number}",
        "in_library": row.in_library,
    }


def rows_of(numbers: Sequence[int]) -> list[Image]:
    """Rows in the order of the numbers; an image that went meanwhile is left out."""
    rows = Image.objects.in_bulk(list(numbers))
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


def answer_json(found: services.Found, query: dict[str, Any]) -> dict[str, Any]:
    """An answer, its hits with their rows."""
    answer = {
        "query": {**query, "code": found.code},
        "hits": hits_json(found),
        "certificate": found.certificate,
        "timings_ms": {name: round(value, 3) for name, value in found.timings_ms.items()},
        "warnings": found.warnings,
        "refined": found.refined,
    }
    if found.exact_ms is not None:
        answer["exact_ms"] = round(found.exact_ms, 3)
        answer["overlap_with_exact"] = found.overlap
    return answer


def hits_json(found: services.Found) -> list[dict[str, Any]]:
    """Hits, best first."""
    rows = Image.objects.in_bulk(found.ids)
    columns = zip(
        found.ids,
        found.hamming,
        found.distances,
        found.coarse_ranks,
        found.copies,
        found.codes,
        strict=True,
    )
    return [
        {
            **image_json(rows[number]),
            "rank": rank,
            "hamming": hamming,
            "distance": distance,
            "coarse_rank": coarse_rank,
            "near_copies": copies,
            "code": code,
        }
        for rank, (number, hamming, distance, coarse_rank, copies, code) in enumerate(columns, 1)
        if number in rows
    ]
