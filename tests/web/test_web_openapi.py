"""The OpenAPI description holds: whatever it permits or forbids, answers are as it says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from web_library import BEARER

schemathesis = pytest.importorskip("schemathesis", reason="pip install '.[test]'")
from schemathesis import GenerationMode, checks  # noqa: E402
from schemathesis.core.failures import FailureGroup  # noqa: E402

CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]


EXAMPLES = settings(
    max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("mode", GenerationMode)
def test_no_500_and_no_undocumented_answer(mode: Any) -> None:
    """For every operation requests that the description permits, and such that it forbids."""
    from latenthash_web.wsgi import application

    described = schemathesis.openapi.from_wsgi("/api/openapi.json", application)
    operations = [found.ok() for found in described.get_all_operations()]
    assert len(operations) >= 20
    reached, wrong = set(), []
    for operation in operations:
        try:
            reached |= conforms(operation, mode)
        except FailureGroup as failures:
            wrong.append(f"{operation.label}: {failures.exceptions[0]}")
    assert not wrong, "\n\n".join(wrong)
    assert reached >= ({200, 404} if mode is GenerationMode.POSITIVE else {422})


def conforms(operation: Any, mode: Any) -> set[int]:
    """Statuses that were met."""
    met: set[int] = set()

    @EXAMPLES
    @given(operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        response = case.call(headers={"Host": "localhost", **BEARER})
        met.add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    try:
        check()
    except Unsatisfiable:  # nothing can be wrong where nothing is asked
        assert mode is GenerationMode.NEGATIVE
    return met


def test_every_operation_says_what_it_is_refused_with(client: Any) -> None:
    paths = client.get("/api/openapi.json").json()["paths"]
    assert len(paths) >= 15
    for path, operations in paths.items():
        for method, operation in operations.items():
            assert operation["summary"], (method, path)
            assert operation["tags"], (method, path)
            if path not in ("/healthz", "/metrics"):
                assert {"400", "401", "422", "503"} <= set(operation["responses"]), (method, path)


def test_the_documentation_needs_nothing_from_elsewhere(client: Any) -> None:
    page = client.get("/api/docs")
    assert page.status_code == 200
    assert b"https://" not in page.content
    assert b"/static/ninja/swagger-ui-bundle.js" in page.content
