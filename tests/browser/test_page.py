"""The page in a real browser, against a real server: every flow that a person can take."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CLIENT = ROOT / "web/client"
sys.path[:0] = [str(HERE), str(HERE.parent / "web")]

import page_library  # noqa: E402  (it lies in this folder)
import web_library  # noqa: E402  (it lies beside this folder)

CHROMIUM = shutil.which("chromium")
READ_TOKEN = "a-token-for-reading"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("npm"), reason="needs Node.js and npm"),
]


@pytest.fixture(scope="module")
def client() -> Path:
    """The built page, of the sources as they are."""
    _install(CLIENT)
    _npm(CLIENT, "run", "build")
    return CLIENT / "dist"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page_library.build(tmp_path_factory.mktemp("library"))


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """Where pictures of the page go: LATENTHASH_SHOTS, if they are to be kept."""
    folder = Path(os.environ.get("LATENTHASH_SHOTS", tmp_path / "shots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


@pytest.fixture
def addresses(client: Path, index: Path, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A server open to readers, and one that asks them for a token."""
    more = {"LATENTHASH_CLIENT": str(client), "LATENTHASH_FETCH_NETWORKS": "127.0.0.0/8"}
    with (
        web_library.server(index, tmp_path / "open", "--workers", "1", **more) as free,
        web_library.server(
            index, tmp_path / "closed", "--workers", "1", "--read-token", READ_TOKEN, **more
        ) as closed,
    ):
        yield {
            "PAGE": f"http://127.0.0.1:{free.port}",
            "PAGE_CLOSED": f"http://127.0.0.1:{closed.port}",
        }


def test_units_of_the_client(client: Path) -> None:
    """Types and the tests of what needs no browser."""
    _npm(CLIENT, "run", "check")
    _npm(CLIENT, "test")


@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium: apt-get install chromium")
def test_flows(addresses: dict[str, str], shots: Path) -> None:
    """flows.mjs, each of its flows; what it says is shown if one fails."""
    _install(HERE)
    settings = {
        **addresses,
        "CHROMIUM": str(CHROMIUM),
        "SHOTS": str(shots),
        "TOKEN": web_library.TOKEN,
        "READ_TOKEN": READ_TOKEN,
    }
    _run(HERE, ["node", "--test-reporter=spec", "flows.mjs"], settings)
    assert len(list(shots.glob("*.png"))) >= 10


def _install(folder: Path) -> None:
    lock, done = folder / "package-lock.json", folder / "node_modules/.package-lock.json"
    if not done.is_file() or done.stat().st_mtime < lock.stat().st_mtime:
        _npm(folder, "ci")


def _npm(folder: Path, *words: str) -> None:
    _run(folder, ["npm", *words], {})


def _run(folder: Path, command: list[str], more: dict[str, str]) -> None:
    environment = {**os.environ, **more, "NO_COLOR": "1"}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
