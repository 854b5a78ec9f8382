"""For who runs the service: is it alive, is it ready, how does it do."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Router, Schema

from .. import metrics
from ..models import Image
from ..sync import synchronise
from .common import answers, content
from .schemas import Refusal

router = Router(tags=["operations"])


class Health(Schema):
    """State of the service."""

    status: str
    images: int | None = None


@router.get("/healthz", response={200: Health, 400: Refusal}, summary="Alive")
def healthz(request: HttpRequest) -> Any:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz", response=answers(Health), summary="Ready")
def readyz(request: HttpRequest) -> Any:
    """Index and database answer, and agree."""
    library = synchronise()
    Image.objects.filter(in_library=True).exists()
    return {"status": "ok", "images": library.facts()["images"]}


@router.get(
    "/metrics",
    response={200: None, 400: Refusal},
    openapi_extra=content("text/plain"),
    summary="Figures for Prometheus",
)
def figures(request: HttpRequest) -> Any:
    """Text of the Prometheus exposition format."""
    return metrics.exposition()
