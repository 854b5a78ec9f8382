"""Who may read and who may write, how often, and the headers that keep others out."""

from __future__ import annotations

from typing import Any

import pytest
from web_library import BEARER, TOKEN, picture, post, upload

IMAGES = "/api/v1/images"


@pytest.mark.parametrize("header", [None, "Bearer wrong", f"Basic {TOKEN}", TOKEN, "Bearer "])
def test_changes_need_the_token(client: Any, header: str | None) -> None:
    headers = {"Authorization": header} if header else None
    response = upload(client, IMAGES, picture(7), headers=headers)
    assert (response.status_code, response["WWW-Authenticate"]) == (401, "Bearer")
    assert client.delete(f"{IMAGES}/3", headers=headers).status_code == 401
    assert client.get(f"{IMAGES}/3").status_code == 200


def test_without_a_token_there_are_no_changes(client: Any) -> None:
    from django.test import override_settings

    with override_settings(TOKEN=""):
        for headers in (None, {"Authorization": "Bearer "}):
            assert upload(client, IMAGES, picture(7), headers=headers).status_code == 401
        assert not client.get("/api/v1/stats").json()["writable"]


def test_reading_can_need_a_token(client: Any) -> None:
    from django.test import Client, override_settings

    with override_settings(READ_TOKEN="readers"):
        for path in ("/api/v1/stats", "/images/3", "/thumbnails/3.jpg", "/cnn_vgg19_random"):
            assert client.get(path).status_code == 401
            for token in ("readers", TOKEN):
                headers = {"Authorization": f"Bearer {token}"}
                assert client.get(path, headers=headers).status_code == 200
        assert client.get("/healthz").status_code == 200
        assert post(client, "/api/v1/session", {"token": "wrong"}).status_code == 401
        response = post(client, "/api/v1/session", {"token": "readers"})
        assert response.status_code == 204
        cookie = response.cookies["latenthash_reader"]
        assert cookie["httponly"]
        assert cookie["samesite"] == "Strict"
        assert "readers" not in cookie.value
        assert client.get("/thumbnails/3.jpg").status_code == 200  # the cookie goes along
        assert client.delete(f"{IMAGES}/3").status_code == 401  # it opens no changes
        assert Client().get("/api/v1/stats").status_code == 401


def test_rates_are_limited(client: Any) -> None:
    from django.test import override_settings

    with override_settings(RATE=3):
        found = [upload(client, "/api/v1/uploads", picture(n)).status_code for n in range(8)]
        assert found.count(429) >= 2  # a minute may have begun in between
        assert found[:3] == [201] * 3
        refused = upload(client, "/api/v1/uploads", picture(1))
        assert refused.status_code == 201 or refused["Retry-After"] == "60"
        assert client.get("/thumbnails/3.jpg").status_code == 200
        other = client.post("/api/v1/feedback", REMOTE_ADDR="10.0.0.9")
        assert other.status_code != 429


@pytest.mark.parametrize(
    ("direct", "told", "counted"),
    [
        ("10.9.9.9", "1.2.3.4", "10.9.9.9"),  # no proxy of ours: it may say what it likes
        ("10.0.0.1", "1.2.3.4", "1.2.3.4"),
        ("10.0.0.1", "6.6.6.6, 1.2.3.4", "1.2.3.4"),  # what the client claims comes first
        ("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.2", "1.2.3.4"),
        ("10.0.0.1", "10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", " , ", "10.0.0.1"),
    ],
)
def test_who_is_counted_behind_proxies(site: None, direct: str, told: str, counted: str) -> None:
    from django.test import RequestFactory, override_settings

    from catalogue.api.common import client_of

    request = RequestFactory().get("/", REMOTE_ADDR=direct, headers={"X-Forwarded-For": told})
    with override_settings(PROXIES=["10.0.0.1", "10.0.0.2"]):
        assert client_of(request) == counted
    assert client_of(request) == direct


def test_headers_are_on_every_answer(client: Any) -> None:
    for path in ("/", "/api/v1/stats", "/nothing.js", "/images/3", "/api/v1/images/9999"):
        response = client.get(path)
        assert response["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in response["Content-Security-Policy"]
        assert "unsafe" not in response["Content-Security-Policy"]
        assert "Set-Cookie" not in response
        assert int(response["Content-Length"]) == len(response.content)


def test_answers_without_a_body_announce_none(client: Any) -> None:
    tag = client.get("/thumbnails/3.jpg")["ETag"]
    unchanged = client.get("/thumbnails/3.jpg", headers={"If-None-Match": tag})
    removed = client.delete(f"{IMAGES}/3", headers=BEARER)
    for response, status in ((unchanged, 304), (removed, 204)):
        assert response.status_code == status
        assert "Content-Length" not in response
        assert response["X-Content-Type-Options"] == "nosniff"


def test_files_of_the_page_are_for_no_other_site(client: Any) -> None:
    elsewhere = {"Origin": "https://evil.example"}
    response = client.get("/static/ninja/swagger-ui-init.js", headers=elsewhere)
    try:
        assert response.status_code == 200
        assert "Access-Control-Allow-Origin" not in response
        assert response["Cross-Origin-Resource-Policy"] == "same-origin"
        assert response["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in response["Content-Security-Policy"]
    finally:
        response.close()
