from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from latenthash.codes import CodeSet
from latenthash.demo import Demo, choose_family
from latenthash.engines import get_engine
from latenthash.errors import DataError
from latenthash.progress import Progress
from latenthash.sources import open_source
from small import write_images

KEYS = {"engine", "dataset", "bits", "train_images", "database_images", "queries",
        "map_at_1000", "precision_at_10", "seconds", "search_p50_ms"}  # fmt: skip


def write_digits(path: Path, per_class: int = 5) -> Path:
    rng = np.random.default_rng(0)
    lines = [
        ",".join(map(str, [*rng.integers(0, 256, 784), label]))
        for label in range(10)
        for _ in range(per_class)
    ]
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return path


def test_from_class_folders_to_a_report(tmp_path: Path) -> None:
    stages: list[str] = []

    @contextmanager
    def announce(stage: str) -> Iterator[Progress]:
        stages.append(stage)
        yield lambda done, total: None

    images = write_images(tmp_path / "images", per_class=20)
    (images / "red/broken.jpg").write_bytes(b"")
    output = tmp_path / "demo"
    report = Demo(output, get_engine("fake"), announce).run(images, "two colours")
    assert set(report) > KEYS
    assert json.loads((output / "report.json").read_text()) == report
    assert (report["engine"], report["net"], report["bits"]) == ("fake", "quick_48", 48)
    assert (report["train_images"], report["database_images"], report["queries"]) == (32, 32, 8)
    assert report["skipped"] == 1
    assert 0 <= report["map_at_1000"] <= 1
    assert list(report["seconds"]) == list(dict.fromkeys(stages))
    assert (output / "results.png").stat().st_size > 10_000
    with CodeSet(output / "database.h5") as database, CodeSet(output / "queries.h5") as queries:
        assert not set(database.names) & set(queries.names)


def test_digits_in_a_csv_become_files_and_train_a_lenet(tmp_path: Path) -> None:
    digits = write_digits(tmp_path / "digits.csv.gz")
    report = Demo(tmp_path / "demo", get_engine("fake")).run(digits, "digits")
    assert (report["net"], report["classes"]) == ("lenet_48", 10)
    assert (report["train_images"], report["queries"]) == (40, 10)
    assert len(list((tmp_path / "demo/images").glob("[0-9]/*.png"))) == 50


def test_two_runs_give_the_same_codes(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", per_class=10)
    for name in ("one", "two"):
        Demo(tmp_path / name, get_engine("fake")).run(images, "x")
    with CodeSet(tmp_path / "one/database.h5") as a, CodeSet(tmp_path / "two/database.h5") as b:
        assert a.names == b.names
        assert (a.codes == b.codes).all()


def test_colour_wants_the_quick_net(tmp_path: Path) -> None:
    source = open_source(write_images(tmp_path / "images"))
    assert choose_family(source.samples).name == "quick"


def test_a_folder_that_holds_no_images_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty"):
        Demo(tmp_path / "demo", get_engine("fake")).run(tmp_path / "empty", "x")


def test_photos_of_no_class_are_told_apart_by_their_crops(tmp_path: Path) -> None:
    photos = write_images(tmp_path / "images", per_class=12) / "red"
    (photos / "broken.jpg").write_bytes(b"\xff\xd8")
    report = Demo(tmp_path / "demo", get_engine("fake")).run(photos, "photos")
    assert report["net"] == "quick_48"
    assert (report["classes"], report["database_images"]) == (13, 12)
    assert report["queries"] == 12 * 8
    with CodeSet(tmp_path / "demo/database.h5") as database:
        assert sorted(database.names) == sorted(f"{number}.png" for number in range(12))
    with CodeSet(tmp_path / "demo/queries.h5") as queries:
        for name, label in zip(queries.names, queries.labels.tolist(), strict=True):
            assert int(name.split("/")[0]) == label
