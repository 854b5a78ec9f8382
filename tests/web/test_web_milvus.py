"""The service over an index in Milvus: the same answers as over a folder, and changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from web_library import TOKEN, Server, picture, server

from latenthash.codes import CodeSet

SEARCH = "/api/v1/search"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address(built: Path, milvus: str) -> str:
    """The library's images, in Milvus."""
    from latenthash.adapters.milvus import build_index

    address = f"{milvus}web"
    with CodeSet(built / "codes.h5") as codes:
        build_index(codes, address)
    return address


def hits(answer: Any) -> list[dict[str, Any]]:
    """What is no measure of time, to five digits."""
    return [{**hit, "distance": float(f"{hit['distance']:.4g}")} for hit in answer["hits"]]


def test_it_answers_as_over_a_folder_and_takes_changes(
    address: str, built: Path, tmp_path: Path
) -> None:
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    with (
        server(address, tmp_path / "remote", **cache) as remote,  # type: ignore[arg-type]
        server(built / "index", tmp_path / "local") as local,
    ):
        require_same_answers(remote, local)
        require_changes(remote)


def require_same_answers(remote: Server, local: Server) -> None:
    for ask in (
        {"id": 7, "top": 10},
        {"id": 3, "top": 40, "radius": 3, "candidates": None, "metric": "chi2"},
        {"id": 0, "top": 20, "labels": [1], "fold": False, "compare": True},
    ):
        one, other = (running.json(SEARCH, ask) for running in (remote, local))
        assert hits(one) == hits(other)
        for name in ("radius", "buckets", "candidates", "exact", "left_out"):
            assert one["certificate"][name] == other["certificate"][name]
    for path in ("/api/v1/images?size=9", "/api/v1/labels"):
        assert remote.json(path) == local.json(path)


def require_changes(remote: Server) -> None:
    added = picture(5)
    status, image = remote.send("/api/v1/images", added, label="a new class")
    assert status == 201, image
    found = remote.json(SEARCH, {"id": image["id"], "top": 1})
    assert found["hits"][0]["id"] == image["id"]
    assert remote.send("/api/v1/images", added, label="a new class")[1]["id"] == image["id"]
    path = f"/api/v1/images/{image['id']}"
    bearer = f"Bearer {TOKEN}"
    assert remote.open(path, method="DELETE", authorization=bearer)[0] == 204
    assert remote.open(path)[0] == 404
