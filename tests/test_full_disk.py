"""Stages on a disk that really fills up: a tiny file system, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from latenthash.engines import get_engine
from latenthash.extract import extract
from latenthash.sources import open_source
from small import write_images, write_model

_RUN = """
import sys
from pathlib import Path
import latenthash.extract as stage
from latenthash.codes import CodeSet
from latenthash.engines import get_engine
from latenthash.errors import StorageError
from latenthash.index import build_index
from latenthash.model import open_model
from latenthash.sources import open_source
folder, disk = Path(sys.argv[2]), Path(sys.argv[3])
stage.require_room = lambda *_: None  # as if the disk had filled up since
try:
    if sys.argv[1] == "extract":
        model = open_model(folder / "model/deploy.prototxt", folder / "model/small.caffemodel")
        source = open_source(folder / "images")
        stage.extract(source, model, get_engine("fake"), disk / "codes.h5")
    else:
        with CodeSet(folder / "codes.h5") as codes:
            build_index(codes, disk / "index")
except StorageError as error:
    print(error)
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB; where it cannot be mounted, the test has nothing to say."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("stage", ["extract", "index"])
def test_a_full_disk_is_one_line_and_nothing_half_is_left(
    tmp_path: Path, disk: Path, stage: str
) -> None:
    model = write_model(tmp_path / "model")
    source = open_source(write_images(tmp_path / "images", per_class=200))
    extract(source, model, get_engine("fake"), tmp_path / "codes.h5")
    (disk / "other").write_bytes(bytes(50_000))
    ended = subprocess.run(
        [sys.executable, "-c", _RUN, stage, str(tmp_path), str(disk)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "the disk is full" in ended.stdout
    assert ended.stderr == ""
    left = {path.name for path in disk.rglob("*") if path.is_file()}
    assert left == ({"other", "plan.json"} if stage == "extract" else {"other"})
