"""Figures for Prometheus: requests, their time, searches by step."""

from __future__ import annotations

import os
from collections.abc import Callable
from time import perf_counter

from django.http import HttpRequest, HttpResponse
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
    multiprocess,
)

_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
REQUESTS = Counter("latenthash_requests", "Requests answered", ["route", "method", "status"])
SECONDS = Histogram("latenthash_request_seconds", "Time to answer", ["route"], buckets=_BUCKETS)
STEPS = Histogram("latenthash_search_seconds", "Time of a step", ["step"], buckets=_BUCKETS)

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
View = Callable[[HttpRequest], HttpResponse]


def measured(get_response: View) -> View:
    """Count and time every request."""

    def handle(request: HttpRequest) -> HttpResponse:
        begin = perf_counter()
        response = get_response(request)
        match = request.resolver_match
        route = match.route if match else "other"
        method = request.method if request.method in _METHODS else "other"
        REQUESTS.labels(route, method, response.status_code).inc()
        SECONDS.labels(route).observe(perf_counter() - begin)
        return response

    return handle


def searched(timings_ms: dict[str, float]) -> None:
    """Note the steps of one search."""
    for step, value in timings_ms.items():
        STEPS.labels(step).observe(value / 1e3)


def exposition() -> HttpResponse:
    """All figures, of all workers where they share a folder."""
    registry = REGISTRY
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
