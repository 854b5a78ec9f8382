"""Thumbs up and down, and what can be trained with them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router, Status

from .. import limits, verdicts
from ..sync import synchronise
from .common import answers, client_of, content
from .schemas import FeedbackIn, Verdicts

router = Router(tags=["feedback"])


@router.post("/feedback", response=answers(None, 404, 429, ok=204), summary="Thumb up or down")
def feedback(request: HttpRequest, ask: FeedbackIn) -> Any:
    """Remember whether a hit was right for a query; 0 forgets it."""
    limits.count(client_of(request))
    synchronise()
    verdicts.give(ask.query.id, ask.query.upload, ask.hit, ask.verdict)
    return Status(204, None)


@router.get("/feedback/export", response=answers(Verdicts),
            openapi_extra=content("text/plain"), summary="All thumbs")  # fmt: skip
def export(request: HttpRequest, format: Annotated[Literal["txt", "json"], Query()] = "txt") -> Any:
    """A training list, lines of `name label`, or all that was said as JSON."""
    synchronise()
    if format == "json":
        return {"items": verdicts.all_verdicts()}
    lines = "".join(f"{name} {label}\n" for name, label in verdicts.training_list())
    response = HttpResponse(lines, content_type="text/plain; charset=utf-8")
    response.headers["Content-Disposition"] = 'attachment; filename="feedback.txt"'
    return response
