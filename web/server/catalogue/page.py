"""The page: the built client, or how to build it."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

_UNBUILT = b"""<!doctype html><html lang="en"><meta charset="utf-8">
<title>LatentHash</title><h1>LatentHash</h1>
<p>The service runs; its page is not built. With Node.js installed:
<pre>cd web/client &amp;&amp; npm ci &amp;&amp; npm run build</pre>
<p>then start the service again. The <a href="/api/docs">API</a> needs none of it.</html>
"""


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """The client's page for every address of its own."""
    try:
        content = (settings.CLIENT / "index.html").read_bytes()
    except FileNotFoundError:
        content = _UNBUILT
    response = HttpResponse(content)
    response.headers["Cache-Control"] = "no-cache"
    return response
