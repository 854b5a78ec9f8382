"""The API: documented at /api/docs, refusals in one form."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError

from ..errors import Problem, not_found
from ..middleware import problem_of, refusal
from . import feedback, images, operations, search, thesis, uploads, writes

api = NinjaAPI(
    title="LatentHash",
    version="1",
    description="Search images by content. Refusals are JSON: a code, and a message with the "
    "remedy. Where reading needs a token, send it as `Authorization: Bearer …`.",
    docs_url="/api/docs",
    openapi_url="/api/openapi.json",
    openapi_extra={
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}}
    },
)
for prefix, router in (
    ("/api/v1", writes.router),  # that of the images, and changes
    ("/api/v1", search.router),
    ("/api/v1", uploads.router),
    ("/api/v1", feedback.router),
    ("", operations.router),
    ("", images.files),
    ("", thesis.router),
):
    api.add_router(prefix, router)


@api.exception_handler(ValidationError)
def _invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    """422, naming what is wrong where."""
    told = [_told(fault) for fault in error.errors[:5]]
    return refusal(Problem(422, "invalid", "; ".join(told)))


def _told(fault: dict[str, Any]) -> str:
    hidden = ("body", "query", "path", "form", "file", "header", "ask", "filters")
    where = ".".join(str(part) for part in fault["loc"] if part not in hidden)
    return f"{where}: {fault['msg']}"[:300] if where else str(fault["msg"])[:300]


@api.exception_handler(HttpError)
def _unreadable(request: HttpRequest, error: HttpError) -> HttpResponse:
    return refusal(Problem(error.status_code, "malformed", f"{error} - see /api/docs"))


@api.exception_handler(Http404)
def _missing(request: HttpRequest, error: Http404) -> HttpResponse:
    return refusal(not_found("no such address - /api/docs lists them"))


@api.exception_handler(Exception)
def _other(request: HttpRequest, error: Exception) -> HttpResponse:
    """What Django or we refuse; a defect goes on to the log and becomes a bare 500."""
    problem = problem_of(error) or problem_of(error.__cause__ or error)
    if problem is None:
        raise error
    return refusal(problem)
