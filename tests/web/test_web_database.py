"""The catalogue in other databases than SQLite: a real PostgreSQL, MongoDB where there is one."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from web_library import PER_CLASS, TOKEN, free_port, picture, server

ALL = 2 * PER_CLASS


def programs() -> Path | None:
    """Folder of PostgreSQL's own programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


@pytest.fixture
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a PostgreSQL server of its own, on loopback; it ends with the test."""
    folder = programs()
    if folder is None:
        pytest.skip("apt-get install postgresql")
    pytest.importorskip("psycopg")
    home = Path("/tmp") / f"latenthash-postgres-{os.getpid()}"  # another user must reach it
    home.mkdir(mode=0o700)
    as_user = {}
    if os.geteuid() == 0:  # the server refuses to run as root
        user = pwd.getpwnam("postgres")
        os.chown(home, user.pw_uid, user.pw_gid)
        as_user = {"user": user.pw_uid, "group": user.pw_gid}
    data, port = home / "data", free_port()

    def run(program: str, *options: str) -> None:
        with (home.with_suffix(".log")).open("ab") as log:
            subprocess.run([folder / program, "-D", data, *options], check=True, cwd="/",
                           stdout=log, stderr=log, timeout=120, **as_user)  # type: ignore[call-overload]  # fmt: skip

    try:
        run("initdb", "-U", "tester", "--auth=trust", "--no-sync", "--encoding=UTF8")
        settings = f"-p {port} -c listen_addresses=127.0.0.1 -k {home} -c fsync=off"
        run("pg_ctl", "start", "-w", "-o", settings)
        try:
            yield f"postgres://tester@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "stop", "-m", "immediate")
    finally:
        shutil.rmtree(home, ignore_errors=True)
        home.with_suffix(".log").unlink(missing_ok=True)


def use(index: Path, data: Path, **database: str) -> None:
    """Every kind of question to the catalogue, from two workers, and again after a restart."""
    with server(index, data, "--workers", "2", **database) as running:
        assert running.json("/api/v1/images?label=1")["total"] == PER_CLASS
        status, image = running.send("/api/v1/images", picture(3), label="grün")
        assert (status, image["id"], image["label_name"]) == (201, ALL, "grün")
        assert len(running.json("/api/v1/search", {"id": ALL, "fold": False})["hits"]) == ALL + 1
        for verdict in (1, -1, 1):
            body = {"query": {"id": 1}, "hit": ALL, "verdict": verdict}
            running.json("/api/v1/feedback", body)
        assert running.open("/thumbnails/2.jpg")[0] == 200
        assert running.json("/api/v1/images/2")["width"] == 8
        bearer = f"Bearer {TOKEN}"
        assert running.open("/api/v1/images/5", method="DELETE", authorization=bearer)[0] == 204
        assert running.json("/cnn_vgg19?name=blue/0.png")["query"]["intID"] == 0
    with server(index, data, "--workers", "2", **database) as running:
        assert running.json("/api/v1/stats")["images"] == ALL
        [item] = running.json("/api/v1/feedback/export?format=json")["items"]
        assert (item["hit"], item["verdict"]) == (ALL, 1)
        assert not (data / "catalogue.sqlite3").exists()


def test_postgresql(built: Path, tmp_path: Path, postgres: str) -> None:
    shutil.copytree(built / "index", tmp_path / "index")
    use(tmp_path / "index", tmp_path / "data", DATABASE_URL=postgres)


@pytest.mark.skipif("MONGODB_URI" not in os.environ, reason="set MONGODB_URI to a server")
def test_mongodb(built: Path, tmp_path: Path) -> None:
    pytest.importorskip("django_mongodb_backend")
    import pymongo

    name = f"latenthash_test_{os.getpid()}"
    shutil.copytree(built / "index", tmp_path / "index")
    uri = os.environ["MONGODB_URI"]
    try:
        use(tmp_path / "index", tmp_path / "data", MONGODB_URI=uri, LATENTHASH_MONGODB_NAME=name)
    finally:
        with pymongo.MongoClient(uri) as mongo:
            mongo.drop_database(name)
