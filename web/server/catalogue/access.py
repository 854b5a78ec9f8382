"""Who may read and who may write: tokens, and a cookie for the pictures of a page.

Pictures are fetched by the browser without headers, so that where reading needs a token
the page trades it for a cookie. The cookie opens reading only and is sent by our own
pages only (SameSite=Strict); writing takes the token in a header, which no other site
can send.
"""

from __future__ import annotations

import hmac
from hashlib import sha256

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from .errors import Problem

COOKIE = "latenthash_reader"


def _bearer(request: HttpRequest) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _same(given: str, expected: str) -> bool:
    return bool(expected) and hmac.compare_digest(given.encode(), expected.encode())


def _pass(token: str) -> str:
    return hmac.new(token.encode(), b"reader", sha256).hexdigest()


def require_read(request: HttpRequest) -> None:
    """401 unless the request may read."""
    if not settings.READ_TOKEN or reads(_bearer(request)):
        return
    if not _same(request.COOKIES.get(COOKIE, ""), _pass(settings.READ_TOKEN)):
        raise Problem(401, "token_needed", "reading needs a token - send it as a Bearer token")


def require_write(request: HttpRequest) -> None:
    """401 unless the request may write."""
    if not settings.TOKEN:
        message = "this service does not take changes - start it with --token"
        raise Problem(401, "read_only", message)
    if not _same(_bearer(request), settings.TOKEN):
        raise Problem(401, "token_needed", "changes need the token - send it as a Bearer token")


def reads(token: str) -> bool:
    """Whether the token opens reading."""
    return _same(token, settings.READ_TOKEN) or _same(token, settings.TOKEN)


def remember(request: HttpRequest, response: HttpResponse) -> None:
    """Give the page its cookie."""
    response.set_cookie(
        COOKIE,
        _pass(settings.READ_TOKEN),
        max_age=30 * 86400,
        httponly=True,
        samesite="Strict",
        secure=request.is_secure(),
    )
