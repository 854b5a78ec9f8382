"""A service over a tiny index: in this process, or as `tools/serve.py` starts it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "web/server"), str(Path(__file__).parent)]

import web_library  # noqa: E402  (it lies in this folder)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images/, model/ and index/: 40 images of two classes, not to be changed."""
    return web_library.build(tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="session")
def site(built: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Django set up in this process, its tables made."""
    django = pytest.importorskip("django", reason="pip install '.[web]'")
    data = tmp_path_factory.mktemp("data")
    os.environ.update(web_library.environment(built / "index", data))
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


@pytest.fixture
def library(built: Path, site: None, tmp_path: Path) -> Iterator[web_library.Site]:
    """A service of its own: a copy of the index, a new catalogue, no limits of rate."""
    with web_library.serving(built, tmp_path) as found:
        yield found


@pytest.fixture
def client(library: web_library.Site) -> Any:
    """Django's test client; what goes wrong in a view is a 500, as for everyone."""
    from django.test import Client

    return Client(raise_request_exception=False)
