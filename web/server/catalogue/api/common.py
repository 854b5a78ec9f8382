"""What the parts of the API share."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest

from .schemas import Refusal


def answers(kind: Any, *more: int, ok: int = 200) -> dict[Any, Any]:
    """Documented answers: `kind` for success, and the refusals that can happen."""
    return {ok: kind, frozenset({400, 401, 422, 503, *more}): Refusal}


def client_of(request: HttpRequest) -> str:
    """Address that is counted for limits: the nearest one that is no proxy of ours."""
    address = str(request.META.get("REMOTE_ADDR", ""))
    told = request.headers.get("X-Forwarded-For", "").split(",")
    while address in settings.PROXIES and told:
        address = told.pop().strip() or address
    return address


def content(*kinds: str) -> dict[str, Any]:
    """Documents answers that are no JSON of ours, by their media types."""
    text = {"schema": {"type": "string"}}
    return {"responses": {200: {"content": dict.fromkeys(kinds, text)}}}
