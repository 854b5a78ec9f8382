"""Libraries, pictures and servers for the tests of the service."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from latenthash.codes import CodeSet
from latenthash.engines import get_engine
from latenthash.extract import extract
from latenthash.index import build_index
from latenthash.sources import open_source
from small import write_images, write_model

ROOT = Path(__file__).resolve().parent.parent.parent
PER_CLASS = 20
TOKEN = "a-token-for-changes"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@dataclass(frozen=True)
class Site:
    """A service in this process and its folders."""

    index: Path
    data: Path
    images: Path


def build(folder: Path) -> Path:
    """images/, model/ and index/ in `folder`."""
    model = write_model(folder / "model")
    images = write_images(folder / "images", per_class=PER_CLASS)
    extract(open_source(images), model, get_engine("fake"), folder / "codes.h5")
    with CodeSet(folder / "codes.h5") as codes:
        build_index(codes, folder / "index")
    return folder


def environment(index: Path, data: Path, **more: str) -> dict[str, str]:
    """Settings of a service on a tiny index."""
    return {
        "DJANGO_SETTINGS_MODULE": "latenthash_web.settings",
        "LATENTHASH_INDEX": str(index),
        "LATENTHASH_DATA": str(data),
        "LATENTHASH_ENGINE": "fake",
        "LATENTHASH_TOKEN": TOKEN,
        "LATENTHASH_RATE": "0",
        "LATENTHASH_HOSTS": "localhost 127.0.0.1 testserver",
        "LATENTHASH_MAX_BYTES": "2000000",
        "LATENTHASH_MAX_PIXELS": "1000000",
        "LATENTHASH_CLIENT": str(data / "no-client"),
        **more,
    }


@contextmanager
def serving(built: Path, folder: Path) -> Iterator[Site]:
    """This process serves a copy of the index, from an empty catalogue."""
    from django.conf import settings
    from django.test import override_settings

    from catalogue import services
    from catalogue.models import Feedback, State
    from catalogue.models import Image as Row

    index, data = folder / "index", folder / "data"
    shutil.copytree(built / "index", index)
    data.mkdir()
    added = {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": data / "added"},
    }
    for model in (Feedback, State, Row):
        model.objects.all().delete()
    services.open_library.cache_clear()
    storages = {**settings.STORAGES, "added": added}
    with override_settings(INDEX=index, DATA=data, STORAGES=storages):
        yield Site(index, data, built / "images")
    services.open_library.cache_clear()


def picture(seed: int = 0, size: tuple[int, int] = (40, 30), form: str = "PNG") -> bytes:
    """A picture of noise."""
    return png(np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3), np.uint8), form)


def png(pixels: Any, form: str = "PNG") -> bytes:
    """(H, W, 3) uint8 RGB as a file."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def opened(data: bytes) -> Image.Image:
    """A picture, decoded by Pillow."""
    return Image.open(BytesIO(data))


def post(client: Any, path: str, body: Mapping[str, Any], **headers: str) -> Any:
    """POST JSON."""
    return client.post(path, json.dumps(body), content_type="application/json", headers=headers)


def upload(
    client: Any,
    path: str,
    data: bytes,
    name: str = "x.png",
    headers: Mapping[str, str] | None = None,
    **fields: str,
) -> Any:
    """POST a file as a form."""
    from django.core.files.uploadedfile import SimpleUploadedFile

    return client.post(path, {"file": SimpleUploadedFile(name, data), **fields}, headers=headers)


@dataclass
class Server:
    """`tools/serve.py`, running."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def open(
        self, path: str, data: bytes | None = None, method: str | None = None, **headers: str
    ) -> tuple[int, bytes]:
        """Status and body; a refusal is an answer too."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data, named, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def json(self, path: str, body: Any = None, **headers: str) -> Any:
        """Answer of a request that succeeds."""
        data = None if body is None else json.dumps(body).encode()
        status, answer = self.open(path, data, content_type="application/json", **headers)
        assert status < 300, (status, answer)
        return json.loads(answer) if answer else None

    def send(self, path: str, picture: bytes, **fields: str) -> tuple[int, Any]:
        """POST a form with a file, with the token for changes."""
        body, kind = form(picture, **fields)
        bearer = f"Bearer {TOKEN}"
        status, answer = self.open(path, body, content_type=kind, authorization=bearer)
        return status, json.loads(answer) if answer else None

    def workers(self) -> list[int]:
        """Processes that answer."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(number) for number in path.read_text().split()]


def form(data: bytes, name: str = "x.png", **fields: str) -> tuple[bytes, str]:
    """Body and content type of a form with a file."""
    parts = [
        f'--edge\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in fields.items()
    ]
    head = f'--edge\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
    kind = "Content-Type: application/octet-stream\r\n\r\n"
    parts += [(head + kind).encode(), data, b"\r\n--edge--\r\n"]
    return b"".join(parts), "multipart/form-data; boundary=edge"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def server(index: Path, data: Path, *options: str, **more: str) -> Iterator[Server]:
    """Start `tools/serve.py` on an index; it ends with the context, whatever happens."""
    port, log = free_port(), data.with_suffix(".log")
    command = [sys.executable, str(ROOT / "tools/serve.py"), "--index", str(index),
               "--data", str(data), "--port", str(port), "--engine", "fake", *options]  # fmt: skip
    settings = {**os.environ, **environment(index, data, **more)}
    with log.open("wb") as file, subprocess.Popen(
        command, env=settings, stdout=file, stderr=subprocess.STDOUT
    ) as process:  # fmt: skip
        running = Server(process, port, log)
        try:
            await_ready(running)
            yield running
        finally:
            process.send_signal(signal.SIGINT)  # at once, not when all is answered
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def await_ready(running: Server) -> None:
    """Wait until a server answers."""
    for _ in range(600):
        assert running.process.poll() is None, running.log.read_text()
        try:
            if running.open("/readyz")[0] == 200:
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"not ready: {running.log.read_text()}")
