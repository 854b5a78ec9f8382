"""Addresses that people give: what is fetched, and above all what is not."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from web_library import Site, post

HERE = (ipaddress.ip_network("127.0.0.0/8"),)
Reply = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture
def fetching(site: None) -> Any:
    from catalogue import fetching

    return fetching


@pytest.fixture
def web() -> Iterator[Any]:
    """A server on loopback; `web.replies[path]` answers."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append((self.path, self.headers["Host"]))
            server.replies[self.path](self)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.replies, server.asked = {}, []
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def reply(body: bytes, status: int = 200, **headers: str) -> Reply:
    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return send


def limits(fetching: Any, **changes: Any) -> Any:
    return fetching.Limits(**{"size": 100_000, "seconds": 5, "networks": HERE, **changes})


def refused(fetching: Any, url: str, find: Any = None, **changes: Any) -> Any:
    from catalogue.errors import Problem

    with pytest.raises(Problem) as caught:
        fetching.fetch(url, limits(fetching, **changes), find or fetching.resolve)
    return caught.value


def test_what_is_there_is_fetched_through_redirects(fetching: Any, web: Any) -> None:
    web.replies["/a?x=1"] = reply(b"", 302, Location="/b")
    web.replies["/b"] = reply(b"", 301, Location=f"{web.url}/c")
    web.replies["/c"] = reply(b"content")
    assert fetching.fetch(f"{web.url}/a?x=1", limits(fetching)) == b"content"


def test_the_name_is_resolved_once_and_that_address_is_taken(fetching: Any, web: Any) -> None:
    """A name server that answers otherwise the second time is not asked a second time."""
    web.replies["/"] = reply(b"content")
    asked = []

    def find(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    url = f"http://pictures.example:{web.server_port}/"
    assert fetching.fetch(url, limits(fetching), find) == b"content"
    assert asked == ["pictures.example"]
    assert web.asked == [("/", f"pictures.example:{web.server_port}")]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.1.2.3", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254",
        "100.64.0.1", "0.0.0.0", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1",
        "198.18.0.1", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1",
        "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::", "2001:db8::1",
        "2001::1", "fec0::1",
    ],
)  # fmt: skip
def test_private_addresses_are_refused_whatever_they_are_called(
    fetching: Any, address: str
) -> None:
    def find(host: str, port: int) -> list[str]:
        return [address]

    assert refused(fetching, "http://harmless.example/", find, networks=()).status == 422
    mixed = refused(fetching, "http://a.example/", lambda h, p: ["93.184.216.34", address],
                    networks=())  # fmt: skip
    assert "private" in mixed.message


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "2606:2800:220:1::1"])
def test_public_addresses_are_public(fetching: Any, address: str) -> None:
    assert fetching.is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/", "http://localhost/", "http://2130706433/", "http://0x7f.1/",
        "http://0177.0.0.1/", "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://0/",
        "ftp://example.org/a.jpg", "file:///etc/passwd", "gopher://a/", "data:image/png;base64,",
        "//example.org/a", "http:///a", "http://", "http://user@example.org/",
        "http://user:pass@example.org/", "http://a.example:99999/", "http://a b/", "jar:http://a/",
        "http://example.org\\@127.0.0.1/", "http://exa\nmple.org/", "http://[::1", "http://.../",
    ],
)  # fmt: skip
def test_bad_addresses_are_refused(fetching: Any, url: str) -> None:
    assert refused(fetching, url, networks=()).status == 422


def test_unusual_ports_are_refused(fetching: Any) -> None:
    problem = refused(fetching, "http://a.example:22/", lambda h, p: ["8.8.8.8"], networks=())
    assert "port" in problem.message


@pytest.mark.parametrize(
    "where", ["http://10.0.0.1/", "http://169.254.169.254/latest/", "file:///etc/passwd",
              "http://[fc00::1]/", "//10.0.0.1/x"],
)  # fmt: skip
def test_a_redirect_is_checked_as_the_first_address_is(fetching: Any, web: Any, where: str) -> None:
    web.replies["/"] = reply(b"", 302, Location=where)
    assert refused(fetching, f"{web.url}/").status == 422


def test_endless_redirects_end(fetching: Any, web: Any) -> None:
    web.replies["/"] = reply(b"", 302, Location="/")
    assert "redirects" in refused(fetching, f"{web.url}/").message
    assert len(web.asked) == 4


def test_too_large_whether_it_says_so_or_not(fetching: Any, web: Any) -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(100):
            handler.wfile.write(bytes(10_000))

    web.replies["/honest"] = reply(bytes(100_001))
    web.replies["/endless"] = endless
    for path in web.replies:
        assert refused(fetching, web.url + path).status == 413
    web.replies["/just"] = reply(bytes(100_000))
    assert len(fetching.fetch(f"{web.url}/just", limits(fetching))) == 100_000


@pytest.mark.parametrize("part", ["header", "body"])
def test_what_drips_is_cut_off(fetching: Any, web: Any, part: str) -> None:
    """Every byte comes soon after the last, so that no time-out of a socket would end it."""
    over = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        try:
            handler.wfile.write(b"HTTP/1.0 200 OK\r\n" + (b"\r\n" if part == "body" else b"X: "))
            while not over.wait(0.02):
                handler.wfile.write(b"x")
        except OSError:
            over.set()

    web.replies["/"] = drip
    try:
        assert "took too long" in refused(fetching, f"{web.url}/", seconds=0.5).message
    finally:
        over.set()


def test_no_answer_and_no_success_are_refused(fetching: Any, web: Any) -> None:
    web.replies["/404"] = reply(b"nothing", 404)
    web.replies["/noise"] = lambda handler: handler.wfile.write(b"\xff\x00 no http\r\n\r\n")
    assert "404" in refused(fetching, f"{web.url}/404").message
    assert refused(fetching, f"{web.url}/noise").status == 422
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    assert refused(fetching, f"http://127.0.0.1:{port}/").status == 422

    def unknown(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    assert "not known" in refused(fetching, "http://no-such-name.invalid/", unknown).message


def test_a_search_by_address(client: Any, library: Site, web: Any) -> None:
    from django.test import override_settings

    web.replies["/7.png"] = reply((library.images / "red/7.png").read_bytes())
    web.replies["/text"] = reply(b"<script>no picture</script>")
    ask = {"url": f"{web.url}/7.png", "top": 1}
    assert post(client, "/api/v1/search", ask).status_code == 422
    with override_settings(FETCH_NETWORKS=["127.0.0.0/8"]):
        answer = post(client, "/api/v1/search", ask).json()
        assert (answer["hits"][0]["name"], answer["hits"][0]["distance"]) == ("red/7.png", 0)
        assert answer["query"]["kind"] == "url"
        assert client.get(answer["query"]["thumbnail"]).status_code == 200
        crop = {"x": 0, "y": 0, "width": 0.5, "height": 0.5}
        again = {"upload": answer["query"]["upload"], "crop": crop}
        assert post(client, "/api/v1/search", again).status_code == 200
        text = post(client, "/api/v1/search", {"url": f"{web.url}/text"})
        assert text.status_code == 415
        with override_settings(FETCH=False):
            assert post(client, "/api/v1/search", ask).status_code == 422
