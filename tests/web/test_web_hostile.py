"""Hostile uploads and requests: each refused as documented, nothing written elsewhere."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from web_library import BEARER, Site, form, opened, picture, png, post, upload

from bad_images import jpeg, photo, png_of_size

REFUSED = {400, 401, 404, 405, 413, 415, 422, 429}
IMAGES, SEARCH = "/api/v1/images", "/api/v1/search"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
SCRIPT = b"<script>alert(document.cookie)</script>"


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../evil.txt", bytes(1_000_000))
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_bomb(width: int, height: int) -> bytes:
    """A PNG of few bytes and, honestly, that many pixels."""
    rows = zlib.compressobj(9)
    body = b"".join(rows.compress(bytes(1 + width)) for _ in range(height)) + rows.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body)
            + chunk(b"IEND", b""))  # fmt: skip


def text_bomb() -> bytes:
    """A PNG whose comment unpacks to twenty megabytes."""
    good = picture()
    comment = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(20_000_000), 9))
    return good[:33] + comment + good[33:]


def gif_bomb() -> bytes:
    return b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\x80\0\0" + bytes(6) + b";"


def tiff_loop() -> bytes:
    """A TIFF whose directory follows itself."""
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 0) + struct.pack("<I", 8)


FILES: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "text": lambda: b"GET / HTTP/1.1\r\n\r\n",
    "svg with script": lambda: SVG,
    "html": lambda: b"<!doctype html>" + SCRIPT,
    "script with a JPEG's first bytes": lambda: b"\xff\xd8\xff" + SCRIPT,
    "script with a PNG's first bytes": lambda: b"\x89PNG\r\n\x1a\n" + SCRIPT,
    "script with a GIF's first bytes": lambda: b"GIF89a=1;/*" + SCRIPT,
    "zip": zipped,
    "gzip bomb": lambda: gzip.compress(bytes(10_000_000)),
    "PDF": lambda: b"%PDF-1.7\n1 0 obj<</OpenAction<</S/JavaScript>>>>",
    "ELF": lambda: b"\x7fELF" + bytes(200),
    "PostScript": lambda: b"%!PS\n(/etc/passwd) (r) file\n",
    "MVG": lambda: b"push graphic-context\nfill 'url(https://127.0.0.1/x)'\n",
    "PNG that claims 30000x30000": lambda: png_of_size(30_000, 30_000),
    "PNG of no pixels": lambda: png_of_size(0, 0),
    "PNG bomb": lambda: png_bomb(5_000, 5_000),
    "PNG with a text bomb": text_bomb,
    "GIF that claims 65535x65535": gif_bomb,
    "TIFF that follows itself": tiff_loop,
    "BMP of negative size": lambda: b"BM" + bytes(12) + struct.pack("<Iii", 40, -5, -5) + bytes(30),
    "WebP of noise": lambda: b"RIFF\xff\xff\xff\x7fWEBPVP8 " + bytes(range(100)),
    "PPM that claims much": lambda: b"P6 99999 99999 255 ",
    "half a JPEG": lambda: jpeg(photo(200, 200))[:500],
    "JPEG with its header only": lambda: jpeg(photo())[:200],
    "more bytes than may be": lambda: bytes(2_000_001),
    "pickle": lambda: b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.",
}


def everything(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def unharmed(client: Any, library: Site, built: Path) -> Any:
    """Nothing but the service's own folder changes, and the service goes on."""
    client.get("/readyz")
    before = [everything(folder) for folder in (built, library.index)]
    around = {path.name for path in library.data.parent.iterdir()}
    yield
    assert [everything(folder) for folder in (built, library.index)] == before
    assert {path.name for path in library.data.parent.iterdir()} == around
    assert client.get("/readyz").status_code == 200
    assert post(client, SEARCH, {"id": 0, "top": 1}).status_code == 200


def require_refused(response: Any, statuses: set[int] = REFUSED) -> None:
    assert response.status_code in statuses, (response.status_code, response.content[:300])
    if response.content:
        error = response.json()["error"]
        assert error["code"]
        assert error["message"]
        assert "Traceback" not in error["message"]


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("name", FILES)
def test_hostile_files_are_refused_everywhere(client: Any, library: Site, name: str) -> None:
    data = FILES[name]()
    for path, headers in (("/api/v1/uploads", None), ("/api/v1/search/upload", None),
                          ("/cnn_vgg19", None), (IMAGES, BEARER)):  # fmt: skip
        require_refused(upload(client, path, data, "innocent.jpg", headers), {413, 415, 422})
    for folder in ("uploads", "added"):
        assert not [path for path in (library.data / folder).rglob("*") if path.is_file()]


POLYGLOTS = {
    "PNG with a script behind it": lambda: picture() + SCRIPT,
    "PNG with a zip behind it": lambda: picture() + zipped(),
    "JPEG with a script in a comment": lambda: jpeg(photo(), comment=SCRIPT),
    "GIF with a script behind it": lambda: png(np.zeros((9, 9, 3), np.uint8), "GIF") + SCRIPT,
    "PNG with a script in its text": lambda: (
        picture()[:33] + chunk(b"tEXt", b"Title\0" + SCRIPT) + picture()[33:]
    ),
}


@pytest.mark.parametrize("name", POLYGLOTS)
def test_what_is_more_than_a_picture_is_kept_as_a_picture_alone(client: Any, name: str) -> None:
    data = POLYGLOTS[name]()
    assert SCRIPT in data or b"PK" in data
    kept = upload(client, "/api/v1/uploads", data, "x.html").json()
    added = upload(client, IMAGES, data, "x.html", BEARER).json()
    for path in (kept["thumbnail"], added["url"], added["thumbnail"]):
        response = client.get(path)
        assert response["Content-Type"] in ("image/png", "image/jpeg")
        assert response["X-Content-Type-Options"] == "nosniff"
        assert opened(response.content).size
        assert SCRIPT not in response.content
        assert b"PK\x03\x04" not in response.content


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize(
    "name",
    ["../../../../tmp/evil.png", "/etc/cron.d/evil", "..\\..\\evil.png", "evil\0.png", "a" * 5000,
     "\u202egnp.exe", "con", ".", "..", "%2e%2e%2fevil.png", '"; rm -rf /', "x.php", ""],
)  # fmt: skip
def test_names_of_files_are_never_used(client: Any, library: Site, name: str) -> None:
    body, kind = form(picture(), name.replace('"', "%22"))
    response = client.post("/api/v1/uploads", body, content_type=kind)
    if response.status_code != 201:
        require_refused(response, {400, 422})
        return
    names = [path.name for path in (library.data / "uploads").iterdir()]
    assert names == [response.json()["upload"]]


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize(
    "path",
    [
        "/images/../../etc/passwd", "/images/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "/images/..%5c..",
        "/images/-1", "/images/1e9", "/images/99999999999999999999999999", "/images/0x1",
        "/thumbnails/../manifest.json", "/thumbnails/1.jpg/../../x", "/thumbnails/1.png",
        "/thumbnails/1.jpg?size=99999999", "/thumbnails/1.jpg?size=-1", "/thumbnails/1.jpg?size=x",
        "/uploads/../catalogue.sqlite3", "/uploads/..%2fcatalogue.sqlite3.jpg", "/uploads/.jpg",
        "/uploads/%00.jpg", "/uploads/%ff%fe.jpg", "/static/../settings.py",
        "/static/%2e%2e/latenthash_web/settings.py", "/static//etc/passwd", "/assets/../../x.js",
        "/api/v1/images?page=0", "/api/v1/images?size=100000", "/api/v1/images?page=9e99",
        "/api/v1/images?seed=-1", "/api/v1/images?label=%00",
        "/api/v1/feedback/export?format=../../x", "/cnn_vgg19?name=%00", "/cnn_vgg19?name=",
        "/cnn_vgg19?name=%ff%fe", "/cnn_vgg19?name=../../../etc/passwd", "/.env", "/.git/config",
        "/cnn_vgg19?name=" + "a" * 5000, "/wp-login.php",
    ],
)  # fmt: skip
def test_hostile_paths_are_refused(client: Any, path: str) -> None:
    require_refused(client.get(path))


DEEP = "[" * 30_000 + "]" * 30_000


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b'"text"', b"{", b"\xff\xfe", b"\0" * 100, b'{"id": NaN}',
        b'{"id": 1e400}', b'{"id": true}', b'{"id": [1]}', b'{"id": {"$gt": 0}}',
        b'{"id": "1 OR 1=1"}', b'{"id": 99999999999999999999999999}', b'{"id": 1.5}',
        b'{"id": 1, "top": 1e99}', b'{"id": 1, "max_distance": Infinity}',
        b'{"id": 1, "max_distance": "NaN"}', b'{"id": 1, "metric": {"__class__": 1}}',
        b'{"id": 1, "labels": [9999999999999999]}', b'{"id": 1, "__proto__": {"x": 1}}',
        b'{"id": 1, "liked": [-1]}', DEEP.encode(), b'{"id": ' + DEEP.encode() + b"}",
        b'{"id": 1, "liked": [' + b"1," * 200 + b"1]}",
        b'{"x": "' + b"a" * 200_000 + b'"}',
        json.dumps({"upload": "\0" * 32}).encode(), json.dumps({"url": "http://\ud800/"}).encode(),
        b'{"url": "http://169.254.169.254/latest/meta-data/"}', b'{"url": "http://localhost:22/"}',
        b'{"url": "http://[::ffff:7f00:1]/"}', b'{"url": "file:///etc/passwd"}',
        b'{"url": "http://127.0.0.1:8000/api/v1/images"}', b'{"url": "javascript:alert(1)"}',
    ],
    ids=lambda body: repr(body[:40]),
)  # fmt: skip
def test_hostile_bodies_are_refused(client: Any, body: bytes) -> None:
    for path in (SEARCH, "/api/v1/explain", "/api/v1/feedback", "/api/v1/session"):
        response = client.post(path, body, content_type="application/json")
        require_refused(response, {400, 413, 422})


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"--x\r\n"),
        ("multipart/form-data; boundary=", b"--\r\n"),
        ("multipart/form-data; boundary=" + "x" * 300, b"--x\r\n"),
        ("multipart/form-data; boundary=edge", b""),
        ("multipart/form-data; boundary=edge", b"--edge\r\n" * 1000),
        ("multipart/form-data; boundary=edge", form(picture())[0][:100]),
        ("multipart/form-data; boundary=edge", b"".join(
            f'--edge\r\nContent-Disposition: form-data; name="f{n}"\r\n\r\n{n}\r\n'.encode()
            for n in range(500)) + b"--edge--\r\n"),
        ("multipart/form-data; boundary=edge", b"".join(
            f'--edge\r\nContent-Disposition: form-data; name="file"; filename="{n}"\r\n\r\n{n}\r\n'
            .encode() for n in range(50)) + b"--edge--\r\n"),
        ("multipart/form-data; boundary=edge",
         b'--edge\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n'
         b"Content-Transfer-Encoding: base64\r\n\r\n!!!!\r\n--edge--\r\n"),
        ("application/x-www-form-urlencoded", b"file=x"),
        ("image/png", picture()),
        ("text/plain", b'{"id": 1}'),
        ("application/xml", b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>'),
    ],
    ids=lambda value: repr(value[:30]),
)  # fmt: skip
def test_hostile_forms_are_refused(client: Any, kind: str, body: bytes) -> None:
    for path in ("/api/v1/uploads", "/api/v1/search/upload", "/cnn_vgg19"):
        require_refused(client.post(path, body, content_type=kind), {400, 413, 415, 422})


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 400),
        ({"Host": "localhost@evil.example"}, 400),
        ({"Host": "evil.example\r\nX: y"}, 400),
        ({"Origin": "https://evil.example"}, 400),
        ({"Origin": "null"}, 400),
        ({"Origin": "http://testserver.evil.example"}, 400),
        ({"Content-Length": "-5"}, 400),
        ({"Content-Length": "1e3"}, 400),
        ({"Content-Length": "99999999999999"}, 413),
    ],
)
def test_hostile_headers_are_refused(client: Any, headers: dict[str, str], status: int) -> None:
    response = client.post(SEARCH, b'{"id": 1}', content_type="application/json", headers=headers)
    require_refused(response, {status})
    assert post(client, SEARCH, {"id": 1}, Origin="http://testserver").status_code == 200


def test_a_query_that_comes_with_a_form_is_checked_too(client: Any) -> None:
    for query in ("{", "[]", '{"id": 1}', '{"top": -1}', DEEP, '{"crop": {"x": 2}}', "null"):
        response = upload(client, "/api/v1/search/upload", picture(), query=query)
        require_refused(response, {400, 422})


def test_a_label_is_text(client: Any) -> None:
    for label in ("a\nb", "\0", "x" * 300, "\u202eevil"):
        require_refused(upload(client, IMAGES, picture(), "x", BEARER, label=label), {422})
    markup = upload(client, IMAGES, picture(), "x", BEARER, label="<b>").json()
    assert markup["label_name"] == "<b>"


@pytest.mark.parametrize("method", ["PUT", "PATCH", "TRACE", "PROPFIND", "BREW"])
def test_other_methods_are_refused(client: Any, method: str) -> None:
    response = client.generic(method, "/api/v1/stats")
    assert (response.status_code, response["Allow"]) == (405, "GET")


def test_a_defect_tells_nothing(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from catalogue.services import Library

    def broken(self: Any) -> Any:
        raise RuntimeError("the secret of the defect")

    monkeypatch.setattr(Library, "facts", broken)
    response = client.get("/api/v1/stats")
    assert response.status_code == 500
    assert b"secret" not in response.content
    assert response.json()["error"]["code"] == "defect"
    assert response["X-Content-Type-Options"] == "nosniff"


def test_a_full_disk_is_told(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    response = upload(client, "/api/v1/uploads", picture())
    assert (response.status_code, response.json()["error"]["code"]) == (503, "storage")
