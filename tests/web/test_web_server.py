"""`tools/serve.py` as it runs: workers that agree, slow and hostile clients, restarts."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
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


@pytest.mark.parametrize("module", ["tools/serve.py", "web/server/latenthash_web/wsgi.py"])
def test_blas_has_one_thread_however_it_is_started(module: str, tmp_path: Path) -> None:
    """More would spin while the searches of other threads wait for a core."""
    pytest.importorskip("threadpoolctl")
    script = f"""
import runpy, sys
sys.path[:0] = [{str(ROOT / "tools")!r}, {str(ROOT / "web/server")!r}]
runpy.run_path({str(ROOT / module)!r}, run_name="not main")
import numpy, threadpoolctl
print([one["num_threads"] for one in threadpoolctl.threadpool_info() if one["user_api"] == "blas"])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False,
        env={name: value for name, value in os.environ.items() if "NUM_THREADS" not in name}
        | {"LATENTHASH_INDEX": str(tmp_path), "LATENTHASH_DATA": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    threads = json.loads(done.stdout)
    assert threads and set(threads) == {1}


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
