"""Pictures from object storage: a server that speaks S3 stands in for it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from web_library import PER_CLASS, TOKEN, free_port, opened, picture, server

boto3 = pytest.importorskip("boto3", reason="pip install '.[web]'")
pytest.importorskip("moto", reason="pip install '.[test]'")

KEYS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1"}  # fmt: skip
ALL = 2 * PER_CLASS


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[tuple[str, Any]]:
    """Address of the storage, and a bucket in it."""
    port = free_port()
    with (tmp_path / "s3.log").open("wb") as log, subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=log, stderr=log, env={**os.environ, **KEYS},
    ) as process:  # fmt: skip
        try:
            _await(port, process)
            address = f"http://127.0.0.1:{port}"
            storage = boto3.resource(
                "s3", endpoint_url=address, region_name="us-east-1",
                aws_access_key_id="tester", aws_secret_access_key="secret",
            )  # fmt: skip
            yield address, storage.create_bucket(Bucket="pictures")
            storage.meta.client.close()
        finally:
            process.kill()


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("no storage")


def test_pictures_come_from_and_go_to_object_storage(
    built: Path, tmp_path: Path, bucket: tuple[str, Any]
) -> None:
    """What lies in the bucket differs from the files, so that it is seen which is taken."""
    address, things = bucket
    stored = picture(1, (24, 16))
    things.put_object(Key="library/blue/0.png", Body=stored)
    shutil.copytree(built / "index", tmp_path / "index")
    more = {**KEYS, "LATENTHASH_S3_BUCKET": "pictures", "LATENTHASH_S3_ENDPOINT": address,
            "LATENTHASH_S3_PREFIX": "library"}  # fmt: skip
    index, data = tmp_path / "index", tmp_path / "data"
    with server(index, data, "--workers", "1", **more) as running:
        assert running.open("/images/0")[1] == stored
        assert opened(running.open("/thumbnails/0.jpg")[1]).size == (24, 16)
        assert running.open("/images/1")[0] == 404
        status, image = running.send("/api/v1/images", picture(3))
        assert status == 201
        [key] = [thing.key for thing in things.objects.all() if thing.key.startswith("added/")]
        kept = things.Object(key).get()["Body"].read()
        assert running.open(image["url"])[1] == kept
        assert not (data / "added").exists()
        running.open(image["url"].replace("/images", "/api/v1/images"), method="DELETE",
                     authorization=f"Bearer {TOKEN}")  # fmt: skip
        assert key not in [thing.key for thing in things.objects.all()]
    with server(index, data, "--workers", "1", LATENTHASH_S3_PRESIGN="1", **more) as running:
        assert running.open("/images/0")[1] == stored  # by way of a signed address
        assert b"img-src 'self' data: blob: https:" in _headers(running.port)


def _headers(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as wire:
        wire.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return wire.recv(4096)
