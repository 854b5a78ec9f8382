"""`tools/serve.py` as it runs: workers that agree, that die and come back; slow clients."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from web_library import (
    PER_CLASS,
    ROOT,
    TOKEN,
    Server,
    await_ready,
    environment,
    free_port,
    picture,
    server,
)

from latenthash.index import BucketIndex

ALL = 2 * PER_CLASS
BEARER = f"Bearer {TOKEN}"


@pytest.fixture(scope="module")
def running(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server over an index that no test here changes."""
    folder = tmp_path_factory.mktemp("server")
    with server(built / "index", folder / "data", "--workers", "2",
                LATENTHASH_BODY_SECONDS="1") as found:  # fmt: skip
        yield found


def test_it_says_where_it_is(running: Server) -> None:
    text = running.log.read_text()
    assert f"{ALL} images" in text
    assert f"http://localhost:{running.port}" in text


def test_it_listens_on_loopback_only(running: Server) -> None:
    listening = Path("/proc/net/tcp").read_text().splitlines()[1:]
    addresses = [line.split()[1] for line in listening if line.split()[3] == "0A"]
    own = [address for address in addresses if address.endswith(f":{running.port:04X}")]
    assert own == [f"0100007F:{running.port:04X}"]


def test_figures_are_those_of_all_workers(running: Server) -> None:
    for _ in range(20):
        running.json("/api/v1/labels")
    text = running.open("/metrics")[1].decode()
    [line] = [x for x in text.splitlines() if x.startswith("latenthash_requests_total{")
              and "/labels" in x]  # fmt: skip
    assert float(line.split()[-1]) >= 20


def raw(running: Server, *parts: bytes, wait: float = 0) -> bytes:
    """Answer to bytes that are sent as they are, with a pause after each part."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=30) as wire:
        try:
            for part in parts:
                wire.sendall(part)
                time.sleep(wait)
            answer = b""
            while part := wire.recv(65536):
                answer += part
        except OSError:  # the server closed it
            return b""
        return answer


HEAD = b"POST /api/v1/uploads HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
FORM = HEAD + b"Content-Type: multipart/form-data; boundary=edge\r\n"


@pytest.mark.parametrize(
    "parts",
    [
        (b"GET /healthz HTTP/1.1\r\n",),  # headers that never end
        (b"\x16\x03\x01\x02\x00",),  # TLS
        (b"\0" * 100,),
        (b"GET /healthz HTTP/9.9\r\n\r\n",),
        (b"GET " + b"/a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n",),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\nX: " + b"a" * 90_000 + b"\r\n\r\n",),
        (FORM + b"Content-Length: 5000\r\n\r\n", b"--edge\r\n"),  # a body that never comes
        (FORM + b"Content-Length: 10\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",),
        (FORM + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx",),
        (FORM + b"Content-Length: 3000000\r\n\r\n",),
        (HEAD + b"Content-Length: 4\r\n\r\nnull",),
    ],
    ids=range(12),
)
def test_hostile_connections_are_ended(running: Server, parts: tuple[bytes, ...]) -> None:
    answer = raw(running, *parts)
    assert not answer or answer.split()[1] in (b"400", b"408", b"413", b"414", b"422", b"431",
                                               b"505"), answer[:200]  # fmt: skip
    assert b"Traceback" not in answer
    assert running.open("/healthz")[0] == 200


def test_slow_bodies_do_not_keep_others_waiting(running: Server) -> None:
    """More slow clients than threads: each is ended, and then all answer again."""
    answers: list[bytes] = []

    def slow() -> None:
        drip = [b"x"] * 40
        begin = FORM + b"Content-Length: 1000\r\n\r\n"
        answers.append(raw(running, begin, *drip, wait=0.1))

    threads = [threading.Thread(target=slow) for _ in range(24)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        assert running.open("/healthz")[0] == 200
    for thread in threads:
        thread.join()
    assert len(answers) == 24
    others = [answer for answer in answers if answer and b" 400 " not in answer[:20]]
    assert not others, others[0]
    assert running.open("/healthz")[0] == 200


def test_a_change_is_seen_by_all_workers_and_after_a_restart(built: Path, tmp_path: Path) -> None:
    shutil.copytree(built / "index", tmp_path / "index")
    index, data = tmp_path / "index", tmp_path / "data"
    with server(index, data, "--workers", "2") as running:
        status, image = running.send("/api/v1/images", picture(3), label="green")
        assert (status, image["id"]) == (201, ALL)
        for _ in range(20):  # of two workers, both
            assert running.json("/api/v1/stats")["images"] == ALL + 1
            hits = running.json("/api/v1/search", {"id": ALL, "top": 1})["hits"]
            assert hits[0]["id"] == ALL
        for _ in range(3):
            status, again = running.send("/api/v1/images", picture(3))
            assert (status, again["id"]) == (200, ALL)
        running.open("/api/v1/images/5", method="DELETE", authorization=BEARER)
        for _ in range(10):
            assert running.open("/api/v1/images/5")[0] == 404
    with server(index, data) as running:
        assert running.json("/api/v1/stats")["images"] == ALL
        assert running.json(f"/api/v1/images/{ALL}")["label_name"] == "green"
        assert running.open(f"/images/{ALL}")[0] == 200
        assert running.open("/api/v1/images/5")[0] == 404


def test_many_add_at_once(built: Path, tmp_path: Path) -> None:
    """Pictures that come at the same time to two workers all join, under ids of their own."""
    shutil.copytree(built / "index", tmp_path / "index")
    with server(tmp_path / "index", tmp_path / "data", "--workers", "2") as running:
        found: list[tuple[int, Any]] = []

        def add(seed: int) -> None:
            found.append(running.send("/api/v1/images", picture(seed % 6)))

        threads = [threading.Thread(target=add, args=(seed,)) for seed in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(status for status, _ in found) == [200] * 6 + [201] * 6
        assert {image["id"] for _, image in found} == set(range(ALL, ALL + 6))
        items = running.json("/api/v1/images?size=100")["items"]
        assert [item["id"] for item in items] == list(range(ALL + 6))


class Load:
    """Clients that search and add until it is over.

    Attributes:
        found: one entry a search that was answered.
        added: ids of pictures that were added.
        lost: what was asked, "search" or "add", when the connection broke.
    """

    CLIENTS = 6

    def __init__(self, running: Server) -> None:
        self._running, self._over = running, threading.Event()
        self.found: list[int] = []
        self.added: list[int] = []
        self.lost: list[str] = []
        kinds = ["add", "add", *["search"] * (self.CLIENTS - 2)]
        self._threads = [
            threading.Thread(target=self._go, args=(what, first))
            for first, what in enumerate(kinds)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _go(self, what: str, first: int) -> None:
        act = {"add": self._add, "search": self._search}[what]
        for number in itertools.count(first, self.CLIENTS):
            if self._over.is_set():
                return
            try:
                act(number)
            except (OSError, http.client.HTTPException):  # it was one of the worker that died
                self.lost.append(what)

    def _search(self, _: int) -> None:
        answer = self._running.json("/api/v1/search", {"id": 1, "top": 5})
        self.found.append(answer["hits"][0]["id"])

    def _add(self, number: int) -> None:
        status, image = self._running.send("/api/v1/images", picture(number))
        assert status == 201, image
        self.added.append(image["id"])


def test_a_worker_that_is_killed_comes_back(built: Path, tmp_path: Path) -> None:
    """Under load: the other one answers on, two serve again, what was added is there."""
    shutil.copytree(built / "index", tmp_path / "index")
    with server(tmp_path / "index", tmp_path / "data", "--workers", "2") as running:
        before = running.workers()
        assert len(before) == 2
        with Load(running) as load:
            until(lambda: len(load.added) >= 3)
            os.kill(before[0], signal.SIGKILL)
            searches, additions = len(load.found) + 50, len(load.added) + 3
            until(lambda: before[0] not in running.workers() and len(running.workers()) == 2)
            until(lambda: len(load.found) >= searches and len(load.added) >= additions)
        assert len(load.lost) <= Load.CLIENTS  # what each had asked the worker that died
        assert set(load.found) == {1}
        assert len(set(load.added)) == len(load.added)
        images = running.json("/api/v1/stats")["images"] - ALL
        assert 0 <= images - len(load.added) <= load.lost.count("add")  # in, but not told so
        assert running.json("/api/v1/images?size=1")["total"] == ALL + images
        for number in load.added:
            assert running.json(f"/api/v1/images/{number}")["in_library"]
    with BucketIndex(tmp_path / "index") as index:
        index.verify()
        assert len(index) == ALL + images


def until(probe: Callable[[], bool]) -> None:
    for _ in range(1200):
        if probe():
            return
        time.sleep(0.1)
    raise AssertionError("it does not come about")


@pytest.mark.slow
def test_memory_is_flat(built: Path, tmp_path: Path) -> None:
    """Once a worker has done everything often, doing it more often takes no more memory."""
    with server(built / "index", tmp_path / "data", "--workers", "1",
                LATENTHASH_UPLOADS_KEPT="20") as running:  # fmt: skip
        [worker] = running.workers()
        ask_everything(running, 100)
        before = own_memory(worker)
        ask_everything(running, 500)
        assert own_memory(worker) - before < 7e6  # of 3,500 requests: 2 kB each
        assert running.workers() == [worker]


def ask_everything(running: Server, rounds: int) -> None:
    """Every kind of request that changes nothing, so often, by four clients."""

    def ask(number: int) -> None:
        image = number % ALL
        hits = running.json("/api/v1/search", {"id": image, "top": 20, "compare": True})["hits"]
        running.json("/api/v1/explain", {"id": image, "hit": hits[-1]["id"], "liked": [image]})
        running.json("/api/v1/copies", {"id": image, "hit": hits[0]["id"]})
        assert running.send("/api/v1/search/upload", picture(number % 50))[0] == 200
        assert running.send("/api/v1/uploads", b"no picture")[0] == 415
        running.json(f"/api/v1/images?page={1 + number % 3}&size=20&seed={number}")
        assert running.open(f"/thumbnails/{image}.jpg")[0] == 200

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(rounds)))


def own_memory(process: int) -> int:
    """Bytes that a process shares with no file."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    [size] = [line.split()[1] for line in lines if line.startswith("RssAnon:")]
    return 1024 * int(size)


def test_uvicorn_serves_it_too(running: Server, built: Path) -> None:
    """On the same index and catalogue; one of many servers that speak ASGI."""
    pytest.importorskip("uvicorn")
    port, data = free_port(), running.log.with_suffix("")
    command = [sys.executable, "-m", "uvicorn", "latenthash_web.asgi:application",
               "--port", str(port), "--lifespan", "off"]  # fmt: skip
    settings = {**os.environ, **environment(built / "index", data)}
    log = data.with_name("uvicorn.log")
    with log.open("wb") as file, subprocess.Popen(
        command, cwd=ROOT / "web/server", env=settings, stdout=file, stderr=file
    ) as process:  # fmt: skip
        try:
            other = Server(process, port, log)
            await_ready(other)
            assert other.json("/api/v1/search", {"id": 1, "top": 1})["hits"][0]["id"] == 1
            assert other.send("/api/v1/search/upload", picture(3))[0] == 200
            assert other.send("/api/v1/uploads", b"no picture")[0] == 415
            assert other.open("/")[0] == 200
        finally:
            process.kill()


def test_an_index_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "tools/serve.py"), "--index", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1


def test_it_writes_into_its_folder_only(running: Server) -> None:
    """The service writes into its data folder only."""
    data = running.log.with_suffix("")
    known = {"catalogue.sqlite3", "catalogue.sqlite3-shm", "catalogue.sqlite3-wal", "uploads",
             "catalogue.lock", "metrics", "rates.bin", "thumbnails", "added"}  # fmt: skip
    assert {path.name for path in data.iterdir()} <= known
    assert json.loads(running.open("/healthz")[1])["status"] == "ok"
