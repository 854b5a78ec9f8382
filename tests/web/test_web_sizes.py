"""Sizes of hits: kept in memory, as the database has them."""

from __future__ import annotations

from time import monotonic
from typing import Any

import pytest
from web_library import Site, post


@pytest.fixture
def sizes(library: Site) -> Any:
    """None known yet."""
    from catalogue.sizes import Sizes

    return Sizes()


def set_size(number: int, width: int, height: int) -> None:
    from catalogue.models import Image

    Image.objects.filter(pk=number).update(width=width, height=height)


def test_they_are_those_of_the_database(sizes: Any, client: Any) -> None:
    client.get("/readyz")  # fills the catalogue
    set_size(3, 40, 30)
    assert sizes.of("one", [5, 3, 0]) == [(None, None), (40, 30), (None, None)]
    assert sizes.of("one", []) == []


def test_the_database_is_asked_once(
    sizes: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[int]] = []
    real = type(sizes)._ask
    monkeypatch.setattr(
        type(sizes), "_ask", lambda self, table, numbers: (asked.append(numbers),
                                                           real(self, table, numbers)),
    )  # fmt: skip
    client.get("/readyz")
    set_size(3, 40, 30)
    for wanted in ([1, 3], [3, 1], [1, 2, 3], [39]):
        sizes.of("one", wanted)
    assert asked == [[1, 3], [2], [39]]
    later = monotonic() + 10_000
    monkeypatch.setattr("catalogue.sizes.monotonic", lambda: later)
    sizes.of("one", [1, 3])
    assert asked[3:] == [[1]]  # what is known stays


def test_another_generation_may_have_other_images(sizes: Any, client: Any) -> None:
    client.get("/readyz")
    set_size(3, 40, 30)
    sizes.of("one", [3])
    set_size(3, 50, 60)
    assert sizes.of("one", [3]) == [(40, 30)]
    assert sizes.of("two", [3]) == [(50, 60)]


def test_a_hit_that_was_looked_at_has_its_size_at_once(client: Any) -> None:
    def hit() -> dict[str, Any]:
        answer = post(client, "/api/v1/search", {"id": 3, "exact": True, "fold": False}).json()
        return next(one for one in answer["hits"] if one["id"] == 3)

    assert (hit()["width"], hit()["height"]) == (None, None)
    client.get("/thumbnails/3.jpg")
    row = client.get("/api/v1/images/3").json()
    assert row["width"]
    assert {key: hit()[key] for key in row} == row
