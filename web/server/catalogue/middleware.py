"""What holds for every request: headers, limits, refusals in one form."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import (
    RequestDataTooBig,
    SuspiciousOperation,
    TooManyFieldsSent,
    TooManyFilesSent,
)
from django.http import HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError

from . import access
from .errors import Problem
from .errors import not_found as no_such
from .uploads import too_large

logger = logging.getLogger(__name__)
View = Callable[[HttpRequest], HttpResponse]

_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data: blob:",
    "media-src": "'self' blob:",
    "connect-src": "'self'",
    "font-src": "'self'",
    "manifest-src": "'self'",
    "worker-src": "'self' blob:",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
}
_OPEN = ("/healthz", "/readyz", "/metrics", "/static/", "/assets/", "/api/v1/session")
_READS = re.compile(r"/(api/v1/|images/|thumbnails/|uploads/|cnn_vgg19)")
_FORM_ROOM = 10_000  # bytes of a form beside its file


def headers(get_response: View) -> View:
    """Security headers on every answer, a refusal too."""

    def handle(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers.setdefault("Content-Security-Policy", _policy(request.path))
        if not response.streaming and response.status_code not in (204, 304):
            # So that a connection can be used again.
            response.headers.setdefault("Content-Length", str(len(response.content)))
        if request.path.startswith(("/api/", "/cnn_vgg19")):
            response.headers.setdefault("Cache-Control", "no-store")
        return response

    return handle


def _policy(path: str) -> str:
    rules = dict(_POLICY)
    if path == "/api/docs":  # Swagger's page styles itself
        rules["style-src"] = "'self' 'unsafe-inline'"
    if settings.PRESIGN:
        rules["img-src"] += " https:"
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def refusals(get_response: View) -> View:
    """Refuse what is too large, from elsewhere or without a token, before it is read."""

    def handle(request: HttpRequest) -> HttpResponse:
        try:
            request.get_host()
            _require_own_page(request)
            _require_length(request)
            if _READS.match(request.path) and not request.path.startswith(_OPEN):
                access.require_read(request)
        except Problem as problem:
            return refusal(problem)
        except SuspiciousOperation:
            return refusal(_HOST)
        response = get_response(request)
        if response.status_code == 405:
            allowed = response.headers.get("Allow", "")
            response = refusal(Problem(405, "method", f"{request.method} - use {allowed}"))
            response.headers["Allow"] = allowed
        return response

    return handle


_HOST = Problem(400, "unknown_host", "this host name is not served - name it in LATENTHASH_HOSTS")


def _require_own_page(request: HttpRequest) -> None:
    """No page of another site changes anything here, whatever the browser sends along."""
    origin = request.headers.get("Origin")
    if request.method in ("GET", "HEAD", "OPTIONS") or origin is None:
        return
    if urlsplit(origin).netloc.lower() != request.get_host().lower():
        raise Problem(400, "cross_origin", "sent by a page of another site - use this one's own")


def _require_length(request: HttpRequest) -> None:
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not str(length).isdecimal():
        raise Problem(400, "bad_length", "Content-Length is no number - send the body's length")
    form = (request.content_type or "").lower() == "multipart/form-data"
    if form and int(length) > settings.MAX_BYTES + _FORM_ROOM:
        raise too_large()
    if not form and int(length) > settings.MAX_JSON:
        message = f"send at most {settings.MAX_JSON // 1000} kB of JSON; pictures as a form"
        raise Problem(413, "too_large", message)


def refusal(problem: Problem) -> JsonResponse:
    """A refusal as every client gets it."""
    response = JsonResponse(problem.to_json(), status=problem.status)
    if problem.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if problem.status == 429:
        response.headers["Retry-After"] = "60"
    return response


def problem_of(error: BaseException) -> Problem | None:
    """The refusal that an exception of Django's means; None: it is a defect of ours."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, (RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent)):
        return Problem(413, "too_large", "too many parts or too long a field - send one file")
    if isinstance(error, UnreadablePostError):
        return Problem(400, "body_ended", "the body ended too soon or came too slowly")
    if isinstance(error, (MultiPartParserError, SuspiciousOperation, UnicodeDecodeError)):
        return Problem(400, "malformed", "the request cannot be read - send it as documented")
    return None


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404 for an address that there is not."""
    return refusal(no_such("no such address - /api/docs lists them"))


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400 for what Django refuses by itself."""
    return refusal(problem_of(exception) or Problem(400, "malformed", "cannot be read"))


def server_error(request: HttpRequest) -> HttpResponse:
    """500, without a trace; the log has it."""
    problem = Problem(500, "defect", "this is a defect of the service - its log says more")
    return refusal(problem)
