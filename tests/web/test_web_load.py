"""`tools/serve.py` under load: a worker that is killed, memory that stays as it is."""

from __future__ import annotations

import http.client
import itertools
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from web_library import PER_CLASS, Server, picture, server

from latenthash.index import BucketIndex

ALL = 2 * PER_CLASS


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
