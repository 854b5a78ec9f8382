"""The gallery, pictures, feedback, the thesis' endpoints, adding and removing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from web_library import BEARER, PER_CLASS, Site, opened, picture, post, upload

from latenthash.codes import CodeSet
from latenthash.index.bucket import IndexWriter

IMAGES = "/api/v1/images"
ALL = 2 * PER_CLASS


def test_the_gallery_by_page_label_and_seed(client: Any) -> None:
    whole = client.get(IMAGES, {"size": 100}).json()
    assert (whole["total"], [item["id"] for item in whole["items"]]) == (ALL, list(range(ALL)))
    second = client.get(IMAGES, {"page": 2, "size": 15}).json()
    assert [item["id"] for item in second["items"]] == list(range(15, 30))
    beyond = client.get(IMAGES, {"page": 9, "size": 15}).json()
    assert (beyond["total"], beyond["items"]) == (ALL, [])
    red = client.get(IMAGES, {"label": 1, "size": 100}).json()
    assert {item["label_name"] for item in red["items"]} == {"red"}
    pages = [
        item["id"]
        for page in (1, 2, 3)
        for item in client.get(IMAGES, {"page": page, "size": 16, "seed": 5}).json()["items"]
    ]
    assert sorted(pages) == list(range(ALL))
    assert pages != sorted(pages)
    other = client.get(IMAGES, {"size": 100, "seed": 6}).json()["items"]
    assert [item["id"] for item in other] != pages


def test_figures_and_labels(client: Any) -> None:
    stats = client.get("/api/v1/stats").json()
    assert (stats["images"], stats["classes"], stats["bits"]) == (ALL, 2, 12)
    assert stats["writable"]
    assert not stats["reads_need_token"]
    labels = client.get("/api/v1/labels").json()["items"]
    assert labels == [
        {"label": 0, "name": "blue", "count": PER_CLASS},
        {"label": 1, "name": "red", "count": PER_CLASS},
    ]


def test_one_image_and_a_random_one(client: Any) -> None:
    assert client.get(f"{IMAGES}/3").json()["name"] == "blue/11.png"
    assert client.get(f"{IMAGES}/random").json()["id"] in range(ALL)
    assert client.get(f"{IMAGES}/{ALL}").status_code == 404
    assert client.get(f"{IMAGES}/x").status_code == 422


def test_thumbnails_are_made_once_and_cached(client: Any, library: Site) -> None:
    first = client.get("/thumbnails/3.jpg")
    assert (first.status_code, first["Content-Type"]) == (200, "image/jpeg")
    assert opened(first.content).size == (8, 8)
    [made] = (library.data / "thumbnails").rglob("*.jpg")
    made.write_bytes(b"what is kept is what is sent")
    assert client.get("/thumbnails/3.jpg").content == b"what is kept is what is sent"
    again = client.get("/thumbnails/3.jpg", headers={"If-None-Match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again["ETag"] == first["ETag"]
    assert client.get(f"{IMAGES}/3").json()["width"] == 8
    assert client.get("/thumbnails/3.jpg?size=100").status_code == 422
    assert client.get(f"/thumbnails/{ALL}.jpg").status_code == 404


def test_a_picture_comes_as_it_is(client: Any, library: Site) -> None:
    response = client.get("/images/3")
    assert response.content == (library.images / "blue/11.png").read_bytes()
    assert response["Content-Type"] == "image/png"
    assert "sandbox" in response["Content-Security-Policy"]


def test_a_file_that_is_gone_is_a_404(client: Any, library: Site, tmp_path: Path) -> None:
    hidden, place = tmp_path / "hidden.png", library.images / "blue/11.png"
    place.rename(hidden)
    try:
        for path in ("/images/3", "/thumbnails/3.jpg"):
            response = client.get(path)
            assert response.status_code == 404
            assert str(library.images) not in response.content.decode()
    finally:
        hidden.rename(place)


def test_an_added_picture_is_found_at_once(client: Any, library: Site) -> None:
    response = upload(client, IMAGES, picture(7), "../../evil.png", BEARER, label="green")
    assert response.status_code == 201, response.content
    image = response.json()
    assert (image["id"], image["label"], image["label_name"]) == (ALL, 2, "green")
    assert image["in_library"]
    assert (image["width"], image["height"]) == (40, 30)
    assert str(library.data) not in json.dumps(image)
    assert opened(client.get(image["url"]).content).size == (40, 30)
    assert client.get(image["thumbnail"]).status_code == 200
    hit = post(client, "/api/v1/search", {"id": ALL, "top": 1}).json()["hits"][0]
    assert (hit["id"], hit["distance"]) == (ALL, 0)
    found = upload(client, "/api/v1/search/upload", picture(7)).json()["hits"][0]
    assert (found["id"], found["distance"]) == (ALL, 0)
    assert client.get("/api/v1/labels").json()["items"][-1]["name"] == "green"
    again = upload(client, IMAGES, picture(7), headers=BEARER)
    assert (again.status_code, again.json()["id"]) == (200, ALL)
    known = (library.images / "blue/11.png").read_bytes()
    assert upload(client, IMAGES, known, headers=BEARER).json()["id"] == 3


def test_what_a_killed_addition_left_is_no_obstacle(client: Any, library: Site) -> None:
    left = library.data / "adding/added.h5"
    left.parent.mkdir()
    left.write_bytes(b"half a file")
    assert upload(client, IMAGES, picture(7), headers=BEARER).status_code == 201
    assert not left.parent.exists()


def test_what_was_added_bears_no_metadata(client: Any) -> None:
    from io import BytesIO

    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a secret place"
    file = BytesIO()
    Image.new("RGB", (40, 30), "red").save(file, "JPEG", exif=exif)
    image = upload(client, IMAGES, file.getvalue(), headers=BEARER).json()
    for path in (image["url"], image["thumbnail"]):
        data = client.get(path).content
        assert b"secret" not in data
        assert not opened(data).getexif()
        assert opened(data).size == (30, 40)


def test_a_removed_image_is_gone(client: Any, library: Site) -> None:
    number = upload(client, IMAGES, picture(7), headers=BEARER).json()["id"]
    [kept] = (library.data / "added").rglob("*.png")
    for gone in (number, 3):
        assert client.delete(f"{IMAGES}/{gone}", headers=BEARER).status_code == 204
        assert client.delete(f"{IMAGES}/{gone}", headers=BEARER).status_code == 404
        for path in (f"{IMAGES}/{gone}", f"/images/{gone}", f"/thumbnails/{gone}.jpg"):
            assert client.get(path).status_code == 404
        assert post(client, "/api/v1/search", {"id": gone}).status_code == 404
    assert not kept.exists()
    assert (library.images / "blue/11.png").exists()
    assert client.get(IMAGES).json()["total"] == ALL - 1
    hits = post(client, "/api/v1/search", {"id": 0, "exact": True, "fold": False}).json()["hits"]
    assert 3 not in [hit["id"] for hit in hits]


def test_a_change_from_outside_is_followed(client: Any, library: Site) -> None:
    assert client.get(IMAGES).json()["total"] == ALL
    with IndexWriter(library.index) as writer:
        writer.remove([0, 1, 2])
        writer.compact()
    assert client.get(IMAGES).json()["total"] == ALL - 3
    assert client.get(f"{IMAGES}/0").status_code == 404
    assert client.get("/api/v1/stats").json()["images"] == ALL - 3


def test_an_index_that_was_built_anew_is_followed(
    client: Any, library: Site, built: Path, tmp_path: Path
) -> None:
    """Ids that are other images now lose what was said of the old ones."""
    from latenthash.engines import get_engine
    from latenthash.extract import extract
    from latenthash.index import build_index
    from latenthash.search import index_model
    from latenthash.sources import open_source
    from small import write_images

    post(client, "/api/v1/feedback", {"query": {"id": 1}, "hit": 2, "verdict": 1})
    images = write_images(tmp_path / "others", per_class=3, seed=9)
    extract(open_source(images), index_model(library.index), get_engine("fake"), tmp_path / "o.h5")
    with CodeSet(tmp_path / "o.h5") as codes:
        build_index(codes, library.index)
    assert client.get(IMAGES).json()["total"] == 6
    assert client.get(f"{IMAGES}/5").json()["name"] == "red/2.png"
    assert client.get("/api/v1/feedback/export?format=json").json()["items"] == []
    assert client.get("/images/5").content == (images / "red/2.png").read_bytes()


def test_a_build_with_another_network_is_searched_with_that(
    client: Any, library: Site, tmp_path: Path
) -> None:
    from latenthash.engines import get_engine
    from latenthash.extract import extract
    from latenthash.index import build_index
    from latenthash.sources import open_source
    from small import write_model

    data = (library.images / "blue/11.png").read_bytes()
    assert upload(client, "/api/v1/search/upload", data).json()["hits"][0]["distance"] == 0
    model = write_model(tmp_path / "other model", seed=1)
    extract(open_source(library.images), model, get_engine("fake"), tmp_path / "o.h5")
    with CodeSet(tmp_path / "o.h5") as codes:
        build_index(codes, library.index)
    again = upload(client, "/api/v1/search/upload", data).json()
    assert again["hits"][0]["distance"] == 0
    assert again["query"]["code"] == again["hits"][0]["code"]


def feedback(client: Any, query: Any, hit: int, verdict: int) -> int:
    body = {"query": query, "hit": hit, "verdict": verdict}
    return int(post(client, "/api/v1/feedback", body).status_code)


def test_feedback_is_kept_changed_and_taken_back(client: Any) -> None:
    token = upload(client, "/api/v1/uploads", picture(1)).json()["upload"]
    assert feedback(client, {"id": 0}, 1, 1) == 204
    assert feedback(client, {"id": 0}, 25, -1) == 204
    assert feedback(client, {"id": 0}, 2, 1) == 204
    assert feedback(client, {"id": 0}, 2, 0) == 204
    assert feedback(client, {"upload": token}, 30, -1) == 204
    assert feedback(client, {"upload": token}, 30, 1) == 204
    assert feedback(client, {"upload": token}, 2, 1) == 204
    items = client.get("/api/v1/feedback/export?format=json").json()["items"]
    told = {(item["query"].split(":")[0], item["hit"], item["verdict"]) for item in items}
    assert told == {("id", 1, 1), ("id", 25, -1), ("sha256", 30, 1), ("sha256", 2, 1)}
    first = client.get(f"{IMAGES}/0").json()["name"]
    assert {item["query_name"] for item in items} == {first, ""}
    lines = client.get("/api/v1/feedback/export").content.decode().splitlines()
    names = {number: client.get(f"{IMAGES}/{number}").json()["name"] for number in (0, 1, 2, 30)}
    assert lines == sorted(
        [f"{names[0]} 0", f"{names[1]} 0", f"{names[2]} 2", f"{names[30]} 2"]
    )  # the upload is of no known class, so of one of its own


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"query": {"id": 0}, "hit": 10**6, "verdict": 1}, 404),
        ({"query": {"id": 10**6}, "hit": 1, "verdict": 1}, 404),
        ({"query": {"upload": "a" * 32}, "hit": 1, "verdict": 1}, 404),
        ({"query": {}, "hit": 1, "verdict": 1}, 422),
        ({"query": {"id": 0}, "hit": 1, "verdict": 2}, 422),
    ],
)
def test_bad_feedback_is_refused(client: Any, body: Any, status: int) -> None:
    assert post(client, "/api/v1/feedback", body).status_code == status


FIELDS = {"_id", "image_name", "hashcode", "isInDatabase", "intID", "url"}


def test_the_endpoints_of_the_thesis(client: Any, library: Site) -> None:
    by_name = client.get("/cnn_vgg19", {"name": "blue/11.png"}).json()
    assert set(by_name["query"]) == FIELDS
    assert by_name["query"]["intID"] == 3
    first = by_name["results"][0]
    assert set(first) == FIELDS | {"rank", "hamming", "distance"}
    assert (first["intID"], first["isInDatabase"], first["distance"]) == (3, True, 0)
    away = [hit["distance"] for hit in by_name["results"]]
    assert away == sorted(away)
    assert len(away) == ALL
    chance = client.get("/cnn_vgg19_random").json()
    assert chance["results"][0]["intID"] == chance["query"]["intID"]
    data = (library.images / "blue/11.png").read_bytes()
    uploaded = upload(client, "/cnn_vgg19", data).json()
    assert (uploaded["query"]["isInDatabase"], uploaded["query"]["intID"]) == (False, None)
    assert uploaded["results"] == by_name["results"]
    assert client.get("/cnn_vgg19").status_code == 422
    assert client.get("/cnn_vgg19", {"name": "../etc/passwd"}).status_code == 404
    added = upload(client, IMAGES, picture(7), headers=BEARER).json()
    assert client.get("/cnn_vgg19", {"name": added["name"]}).json()["query"]["intID"] == ALL


def test_uploads_are_few_and_young(client: Any, library: Site) -> None:
    import os
    import time

    from django.test import override_settings

    tokens = []
    with override_settings(UPLOADS_KEPT=3):
        for seed in range(5):
            tokens.append(upload(client, "/api/v1/uploads", picture(seed)).json()["upload"])
            for age, token in enumerate(reversed(tokens)):  # clocks of file systems are coarse
                path = library.data / "uploads" / token
                if path.exists():
                    os.utime(path, (time.time() - 10 * age,) * 2)
    kept = [client.get(f"/uploads/{token}.jpg").status_code for token in tokens]
    assert kept == [404, 404, 200, 200, 200]
    assert len(list((library.data / "uploads").iterdir())) == 3
    old = library.data / "uploads" / tokens[4]
    os.utime(old, (time.time() - 3601,) * 2)
    assert client.get(f"/uploads/{tokens[4]}.jpg").status_code == 404
    upload(client, "/api/v1/uploads", picture(9))
    assert not old.exists()


def test_the_page_is_served_or_says_how_to_build_it(client: Any, tmp_path: Path) -> None:
    from django.test import override_settings

    assert b"npm run build" in client.get("/").content
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist/index.html").write_text("<title>the client</title>")
    with override_settings(CLIENT=tmp_path / "dist"):
        for path in ("/", "/image/7", "/search?id=3"):
            assert client.get(path).content == b"<title>the client</title>"
        for path in ("/nothing.js", "/api/nothing", "/api/v1/nothing"):
            assert client.get(path).status_code == 404


def test_health_and_figures(client: Any) -> None:
    assert client.get("/healthz").json()["status"] == "ok"
    assert client.get("/readyz").json()["images"] == ALL
    post(client, "/api/v1/search", {"id": 0})
    text = client.get("/metrics").content.decode()
    assert 'latenthash_requests_total{method="POST",route="api/v1/search",status="200"}' in text
    assert 'latenthash_search_seconds_count{step="coarse"}' in text
    client.generic("BREW", "/api/v1/stats")
    assert "BREW" not in client.get("/metrics").content.decode()


def test_only_the_services_import_the_library() -> None:
    server = Path(__file__).resolve().parent.parent.parent / "web/server"
    using = {
        path.relative_to(server).parts[1]
        for path in server.rglob("*.py")
        if "latenthash." in path.read_text() or "import latenthash" in path.read_text()
    }
    assert using == {"services"}
