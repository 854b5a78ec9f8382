"""Searching: by id, upload and address; crop, filters, refinement; against naive rankings."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from PIL import Image
from web_library import BEARER, PER_CLASS, Site, png, post, upload

from latenthash.codes import CodeSet
from latenthash.distances import METRICS
from latenthash.hamming import to_text, unpack
from small import BITS

SEARCH = "/api/v1/search"


@pytest.fixture
def stored(built: Any) -> dict[str, Any]:
    """Names, codes and features as extracted; ids are rows."""
    with CodeSet(built / "codes.h5") as codes:
        bits = unpack(codes.codes, BITS)
        texts = [to_text(code, BITS) for code in codes.codes]
        return {"names": codes.names, "labels": codes.labels, "bits": bits,
                "texts": texts, "features": codes.features().astype(np.float32)}  # fmt: skip


def ids(answer: Any) -> list[int]:
    return [hit["id"] for hit in answer["hits"]]


@pytest.mark.parametrize("metric", METRICS)
def test_by_id_hits_are_those_of_a_plain_ranking(client: Any, stored: Any, metric: str) -> None:
    ask = {"id": 7, "top": 10, "metric": metric, "exact": True, "fold": False}
    answer = post(client, SEARCH, ask).json()
    away = METRICS[metric](stored["features"][7], stored["features"])
    expected = np.lexsort((np.arange(len(away)), away))[:10]
    assert ids(answer) == expected.tolist()
    hamming = (stored["bits"] != stored["bits"][7]).sum(axis=1)
    for rank, hit in enumerate(answer["hits"], 1):
        number = hit["id"]
        assert hit["rank"] == rank
        assert hit["name"] == stored["names"][number]
        assert hit["label"] == stored["labels"][number]
        assert hit["code"] == stored["texts"][number]
        assert hit["hamming"] == hamming[number]
        assert hit["coarse_rank"] == 1 + (hamming < hamming[number]).sum()
        assert hit["distance"] == pytest.approx(float(away[number]), rel=1e-5, abs=1e-6)
        assert hit["thumbnail"] == f"/thumbnails/{number}.jpg"
    assert answer["query"]["code"] == stored["texts"][7]
    assert answer["certificate"]["exact"]
    assert not answer["refined"]


def test_a_radius_lets_in_near_codes_only(client: Any, stored: Any) -> None:
    ask = {"id": 3, "top": 40, "radius": 2, "candidates": None, "fold": False}
    answer = post(client, SEARCH, ask).json()
    hamming = (stored["bits"] != stored["bits"][3]).sum(axis=1)
    assert set(ids(answer)) == set(np.flatnonzero(hamming <= 2).tolist())
    assert answer["certificate"]["candidates"] == (hamming <= 2).sum()


def test_compare_tells_what_the_plain_search_takes_and_finds(client: Any) -> None:
    ask = {"id": 3, "top": 20, "candidates": 1, "radius": 1, "compare": True, "fold": False}
    answer = post(client, SEARCH, ask).json()
    plain = post(client, SEARCH, {"id": 3, "top": 20, "exact": True, "fold": False}).json()
    common = len(set(ids(answer)) & set(ids(plain)))
    assert answer["overlap_with_exact"] == pytest.approx(common / 20)
    assert answer["exact_ms"] > 0
    assert "exact_ms" not in plain


def test_labels_filter_hits(client: Any, stored: Any) -> None:
    answer = post(client, SEARCH, {"id": 0, "labels": [1], "top": 40, "fold": False}).json()
    assert {hit["label"] for hit in answer["hits"]} == {1}
    assert len(answer["hits"]) == PER_CLASS
    hamming = (stored["bits"] != stored["bits"][0]).sum(axis=1)[stored["labels"] == 1]
    hit = answer["hits"][-1]
    assert hit["coarse_rank"] == 1 + (hamming < hit["hamming"]).sum()
    nothing = post(client, SEARCH, {"id": 0, "labels": [-1]}).json()
    assert nothing["hits"] == []
    assert nothing["warnings"]
    wrong = post(client, SEARCH, {"id": 0, "labels": [2]})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (422, "invalid")


def test_max_distance_cuts(client: Any) -> None:
    hits = post(client, SEARCH, {"id": 0, "top": 40, "fold": False}).json()["hits"]
    limit = hits[9]["distance"]
    cut = post(client, SEARCH, {"id": 0, "max_distance": limit, "fold": False}).json()["hits"]
    assert [hit["id"] for hit in cut] == [hit["id"] for hit in hits if hit["distance"] <= limit]


def test_an_uploaded_file_of_the_library_finds_its_image(client: Any, library: Site) -> None:
    data = (library.images / "red/7.png").read_bytes()
    answer = upload(client, "/api/v1/search/upload", data, query=json.dumps({"top": 3})).json()
    first = answer["hits"][0]
    assert (first["name"], first["distance"], first["hamming"]) == ("red/7.png", 0, 0)
    assert answer["query"]["kind"] == "upload"
    assert {"decode", "encode", "coarse", "fine", "total"} <= set(answer["timings_ms"])
    again = post(client, SEARCH, {"upload": answer["query"]["upload"], "top": 3}).json()
    assert len(again["hits"]) == 3
    assert client.get(answer["query"]["thumbnail"]).status_code == 200


def test_a_crop_is_searched_alone(client: Any, library: Site) -> None:
    """Two pictures side by side: each half finds what it finds alone."""
    halves = [Image.open(library.images / name) for name in ("red/3.png", "blue/5.png")]
    both = Image.new("RGB", (16, 8))
    both.paste(halves[0], (0, 0))
    both.paste(halves[1], (8, 0))
    for left, name in ((0, "red/3.png"), (0.5, "blue/5.png")):
        crop = {"x": left, "y": 0, "width": 0.5, "height": 1}
        ask = json.dumps({"top": 1, "crop": crop})
        answer = upload(client, "/api/v1/search/upload", png(np.asarray(both)), query=ask).json()
        assert (answer["hits"][0]["name"], answer["hits"][0]["distance"]) == (name, 0)


def test_near_copies_are_folded(client: Any, library: Site) -> None:
    pixels = np.asarray(Image.open(library.images / "red/7.png")).copy()
    pixels[0, 0, 0] ^= 1
    added = upload(client, "/api/v1/images", png(pixels), headers=BEARER)
    assert added.status_code == 201, added.content
    single = post(client, SEARCH, {"id": 0, "top": 41, "fold": False}).json()["hits"]
    folded = post(client, SEARCH, {"id": 0, "top": 41}).json()["hits"]
    assert len(folded) + sum(hit["near_copies"] for hit in folded) == len(single) == 41
    assert sum(hit["near_copies"] for hit in folded) >= 1


@pytest.mark.parametrize(
    "ways", [{"top": 41}, {"top": 5, "metric": "cosine"}, {"top": 6, "liked": [9], "disliked": [1]}]
)
def test_near_copies_of_a_hit_are_listed(client: Any, library: Site, ways: Any) -> None:
    """Each is listed for one hit, which has counted it, and for no other."""
    pixels = np.asarray(Image.open(library.images / "red/7.png")).copy()
    added = []
    for channel in range(3):
        pixels[0, 0, channel] ^= 1
        response = upload(client, "/api/v1/images", png(pixels), headers=BEARER)
        added.append(response.json()["id"])
    ask = {"id": added[0], **ways}
    folded = post(client, SEARCH, ask).json()["hits"]
    seen = ids({"hits": folded})
    for hit in folded:
        copies = copies_of(client, ask, hit)
        assert len(copies) == hit["near_copies"]
        assert [copy["rank"] for copy in copies] == list(range(1, len(copies) + 1))
        assert all(copy["near_copies"] == 0 for copy in copies)
        seen += ids({"hits": copies})
    assert len(set(seen)) == len(seen)
    assert set(added) <= set(seen) or "liked" in ways  # the moved query may leave them behind
    if ways == {"top": 41}:
        alone = post(client, SEARCH, {**ask, "top": 1000, "fold": False}).json()["hits"]
        rest = {hit["id"]: hit for hit in alone}
        assert set(rest) == set(seen)
        copy = copies_of(client, ask, folded[0])[0]
        same = ("hamming", "distance", "coarse_rank", "code", "name", "thumbnail")
        assert [copy[key] for key in same] == [rest[copy["id"]][key] for key in same]


def copies_of(client: Any, ask: Any, hit: Any) -> Any:
    return post(client, "/api/v1/copies", {**ask, "hit": hit["id"]}).json()["hits"]


def test_what_is_no_hit_has_no_copies(client: Any) -> None:
    assert copies_of(client, {"id": 0, "top": 1}, {"id": 39}) == []
    for ask, status in (({"id": 0, "hit": 10**6}, 404), ({"id": 10**6, "hit": 0}, 404),
                        ({"id": 0}, 422), ({"hit": 0}, 422)):  # fmt: skip
        assert post(client, "/api/v1/copies", ask).status_code == status


def test_liked_rises_and_disliked_is_gone(client: Any) -> None:
    ask = {"id": 0, "top": 40, "fold": False}
    before = ids(post(client, SEARCH, ask).json())
    liked, disliked = before[-1], before[1]
    answer = post(client, SEARCH, {**ask, "liked": [liked], "disliked": [disliked]}).json()
    after = ids(answer)
    assert answer["refined"]
    assert disliked not in after
    assert len(after) == 39
    assert after.index(liked) < before.index(liked)
    assert not answer["certificate"]["exact"]


def test_explain_agrees_with_the_search(client: Any, stored: Any) -> None:
    ask = {"id": 4, "top": 10, "metric": "cosine", "fold": False}
    hit = post(client, SEARCH, ask).json()["hits"][6]
    why = post(client, "/api/v1/explain", {**ask, "hit": hit["id"]}).json()
    assert (why["rank"], why["coarse_rank"]) == (7, hit["coarse_rank"])
    assert (why["query_code"], why["hit_code"]) == (stored["texts"][4], hit["code"])
    assert why["hamming"] == sum(
        a != b for a, b in zip(why["query_code"], why["hit_code"], strict=True)
    )
    for name, distance in METRICS.items():
        expected = float(distance(stored["features"][4], stored["features"][[hit["id"]]])[0])
        assert why["distances"][name] == pytest.approx(expected, rel=1e-5)
    assert why["bits_weight"] is None
    far = post(client, "/api/v1/explain", {**ask, "top": 1, "hit": hit["id"]}).json()
    assert far["rank"] is None
    moved = post(client, "/api/v1/explain", {**ask, "liked": [9], "hit": hit["id"]}).json()
    assert len(moved["bits_weight"]) == BITS
    assert np.mean(moved["bits_weight"]) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("ask", "status"),
    [
        ({}, 422),
        ({"id": 1, "upload": "a" * 32}, 422),
        ({"id": 10**6}, 404),
        ({"id": -1}, 422),
        ({"id": "1"}, 422),
        ({"id": 1, "top": 0}, 422),
        ({"id": 1, "top": 10**6}, 422),
        ({"id": 1, "metric": "manhattan"}, 422),
        ({"id": 1, "unknown": 1}, 422),
        ({"id": 1, "exact": "yes"}, 422),
        ({"id": 1, "crop": {"x": 0, "y": 0, "width": 1, "height": 1}}, 422),
        ({"id": 1, "max_distance": -1}, 422),
        ({"id": 1, "liked": [10**6]}, 404),
        ({"upload": "a" * 32}, 404),
        ({"upload": "../../../../etc/passwd"}, 422),
        ({"upload": "a" * 32, "crop": {"x": 0, "y": 0, "width": 0, "height": 1}}, 422),
        ({"url": "file:///etc/passwd"}, 422),
    ],
)
def test_bad_queries_are_refused_with_a_message(client: Any, ask: Any, status: int) -> None:
    response = post(client, SEARCH, ask)
    assert response.status_code == status, response.content
    assert set(response.json()) == {"error"}
    assert response.json()["error"]["message"]


def test_a_bad_file_is_a_415_and_a_huge_one_a_413(client: Any) -> None:
    response = upload(client, "/api/v1/uploads", b"no picture", "x.jpg")
    assert (response.status_code, response.json()["error"]["code"]) == (415, "not_an_image")
    response = upload(client, "/api/v1/uploads", png(np.zeros((1000, 1100, 3), np.uint8)))
    assert (response.status_code, response.json()["error"]["code"]) == (413, "too_large")
    assert "1100x1000" in response.json()["error"]["message"]
