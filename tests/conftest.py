"""Settings of the whole suite."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import tiny
from latenthash.kernels import library
from milvus_server import MISSING, running

# Examples that touch the disk take as long as the disk does. In CI the same examples
# are tried each time, so that a run says something of the change and not of the dice.
settings.register_profile("latenthash", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("latenthash")

# A shell starts what runs in the background with SIGINT ignored, and what tests start would
# inherit that: an interrupt that they send would be none.
signal.signal(signal.SIGINT, signal.default_int_handler)


NUMPY = "numpy"
LEVELS = {"plain": 0, "avx2": 1, "avx512": 2, NUMPY: None}


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Every way that this processor can take: the compiled kernels, and doing without."""
    wanted = LEVELS[request.param]
    if wanted is None:
        monkeypatch.setattr(library, "native", lambda: None)
        yield NUMPY
        return
    native = library.native()
    assert native is not None, "the compiled kernels are missing: pip install -e ."
    if native.lh_use_level(wanted) == wanted:
        yield request.param
        native.lh_use_level(library.BEST)
    else:
        native.lh_use_level(library.BEST)
        pytest.skip("not on this processor")


@pytest.fixture
def lenet_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: 24 images for LeNet in each of train_lmdb and val_lmdb."""
    monkeypatch.chdir(tmp_path)
    for split in ("train", "val"):
        tiny.write_lmdb(tmp_path / f"{split}_lmdb", 24, size=28)
    return tmp_path


@pytest.fixture(scope="module")
def milvus(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`milvus://host:port/` of a running server."""
    if MISSING:
        pytest.skip(f"{' and '.join(MISSING)} not installed: pip install '.[milvus,test]'")
    binaries = pytestconfig.cache.mkdir("milvus") / "bin"
    with running(tmp_path_factory.mktemp("milvus") / "server", binaries) as started:
        yield f"milvus://127.0.0.1:{started.port}/"
