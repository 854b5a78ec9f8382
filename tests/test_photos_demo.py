from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latenthash.codes import CodeSet, CodeWriter, Rows
from latenthash.engines import get_engine
from latenthash.errors import DataError
from latenthash.hamming import pack
from latenthash.index import build_index
from latenthash.label_free import mean_reciprocal_rank, measure
from latenthash.model import FeatureModel
from latenthash.photos_demo import PhotosDemo
from latenthash.progress import Progress
from latenthash.weights import write_weights
from small import write_published

ROOT = Path(__file__).resolve().parent.parent
WIDE = 70  # values of a feature: 64 bits fit


def wide(folder: Path) -> FeatureModel:
    """The published net with features wide enough for 64 bits."""
    from latenthash.model import open_features

    model = write_published(folder)
    text = model.deploy.read_text().replace("num_output: 6", f"num_output: {WIDE}")
    model.deploy.write_text(text)
    rng = np.random.default_rng(0)
    shapes = ((WIDE, 3 * 8 * 8), (WIDE,))
    values = [rng.normal(0, 0.01, shape).astype(np.float32) for shape in shapes]
    write_weights({"fc7": values}, model.weights)
    return open_features(model.deploy, model.weights)


def write_photos(folder: Path, count: int) -> Path:
    (folder / "trip").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (3, 3, 3), dtype=np.uint8))
        place = folder if number % 2 else folder / "trip"
        coarse.resize((40, 30), Image.Resampling.BICUBIC).save(place / f"{number:03}.png")
    return folder


def test_from_photos_to_a_report_and_a_sheet(tmp_path: Path) -> None:
    stages: list[str] = []

    @contextmanager
    def announce(stage: str) -> Iterator[Progress]:
        stages.append(stage)
        yield lambda done, total: None

    photos = write_photos(tmp_path / "photos", 140)
    (photos / "broken.jpg").write_bytes(b"")
    output = tmp_path / "demo"
    report = PhotosDemo(output, get_engine("fake"), announce).run(photos, wide(tmp_path / "net"))
    assert json.loads((output / "report.json").read_text()) == report
    assert (report["images"], report["skipped"], report["bits"]) == (140, 1, 64)
    assert (report["engine"], report["hash"], report["images_from"]) == ("fake", "itq", "photos")
    assert (report["crops"], report["shortlist"]) == (100, 20)
    assert list(report["seconds"]) == list(dict.fromkeys(stages))
    # the double's features are projections of pixels: crops find little, but some
    assert 0 < report["crop_map_codes"] <= 1 and 0 < report["crop_map_features"] <= 1
    assert 0.3 < report["recall_at_10_codes"] <= report["recall_at_10_shortlist"] <= 1
    with Image.open(output / "results.png") as sheet:
        assert sheet.width > 1000 and sheet.height > 1500


def test_few_photos_get_random_planes(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 9)
    report = PhotosDemo(tmp_path / "demo", get_engine("fake")).run(photos, wide(tmp_path / "net"))
    assert (report["hash"], report["images"], report["crops"]) == ("lsh", 9, 9)


def test_two_runs_give_the_same_files(tmp_path: Path) -> None:
    photos, model = write_photos(tmp_path / "photos", 130), wide(tmp_path / "net")
    for name in ("one", "two"):
        PhotosDemo(tmp_path / name, get_engine("fake")).run(photos, model)
    for file in ("photos.h5.hash.h5", "results.png"):
        one, two = ((tmp_path / name / file).read_bytes() for name in ("one", "two"))
        assert one == two


def test_a_folder_without_photos_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty"):
        PhotosDemo(tmp_path / "demo", get_engine("fake")).run(
            tmp_path / "empty", wide(tmp_path / "net")
        )


def code_file(path: Path, features: np.ndarray, bits: np.ndarray) -> Path:
    deploy = path.with_name("deploy.prototxt")
    deploy.write_text("name: 'net'")
    model = {"deploy": str(deploy), "preprocess": {"mean": None}}
    with CodeWriter(path, bits.shape[1], features.shape[1], len(bits)) as writer:
        writer.append(
            Rows(
                names=[str(number) for number in range(len(bits))],
                labels=np.full(len(bits), -1, np.int32),
                features=features.astype(np.float16),
                codes=pack(bits),
                content=np.random.default_rng(0).integers(0, 256, (len(bits), 32), np.uint8),
            )
        )
        writer.finish({"stage": "extract", "format": 1, "bits": bits.shape[1], "model": model,
                       "classes": [], "root": None})  # fmt: skip
    return path


def test_measures_equal_the_naive_loops(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 8)).astype(np.float16)
    planes = rng.normal(size=(8, 16))
    truth = rng.integers(0, 300, 40)
    shown = (features[truth] + rng.normal(0, 0.6, (40, 8))).astype(np.float16)
    with (
        CodeSet(code_file(tmp_path / "photos.h5", features, features @ planes > 0)) as photos,
        CodeSet(code_file(tmp_path / "crops.h5", shown, shown @ planes > 0)) as crops,
    ):
        from latenthash.index import BucketIndex

        with BucketIndex(build_index(photos, tmp_path / "index")) as index:
            found = measure(index, photos, crops, truth)

    def ranked(query: np.ndarray, by_code: bool) -> list[int]:
        exact = ((features.astype(float) - query.astype(float)) ** 2).sum(axis=1)
        bits = ((features @ planes > 0) != (query @ planes > 0)).sum(axis=1)
        return np.argsort(bits if by_code else exact, kind="stable").tolist()

    def place(number: int, by_code: bool) -> float:
        rank = ranked(shown[number], by_code).index(truth[number])
        return 1 / (1 + rank) if rank < 100 else 0.0

    recall, shortlisted = [], []
    for row in range(300):
        nearest = [other for other in ranked(features[row], False) if other != row][:10]
        first = [other for other in ranked(features[row], True)[:11] if other != row][:10]
        recall.append(len(set(nearest) & set(first)) / 10)
        listed = ranked(features[row], True)[:30]
        shortlisted.append(len(set(nearest) & set(listed)) / 10)
    expected = {
        "queries": 300,
        "recall_at_10_codes": np.mean(recall),
        "shortlist": 30,
        "recall_at_10_shortlist": np.mean(shortlisted),
        "crops": 40,
        "crop_map_codes": np.mean([place(number, True) for number in range(40)]),
        "crop_map_features": np.mean([place(number, False) for number in range(40)]),
        "distinct_codes": len(np.unique(features @ planes > 0, axis=0)),
    }
    assert asdict(found) == pytest.approx(expected, abs=0.01)


def test_a_photo_that_is_not_ranked_counts_nothing() -> None:
    ranked = [np.array([3, 1, 2]), np.array([5, 6]), np.array([7])]
    assert mean_reciprocal_rank(ranked, np.array([1, 6, 8])) == pytest.approx(1 / 3)


def tool(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_tools_learn_add_and_refuse(tmp_path: Path) -> None:
    """Real processes, on PyTorch; `search.py` needs no word of the hash."""
    pytest.importorskip("torch")
    photos, model = write_photos(tmp_path / "photos", 80), wide(tmp_path / "net")
    extract, more = ROOT / "tools/extract.py", write_photos(tmp_path / "more", 81)
    given = ("--net", model.deploy, "--weights", model.weights, "--engine", "torch")
    codes, index = tmp_path / "codes.h5", tmp_path / "index"
    done = tool(extract, photos, *given, "--hash", "itq", "--bits", 24, "-o", codes, "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert (facts["images"], facts["bits"], facts["dim"]) == (80, 24, WIDE)
    with CodeSet(codes) as opened:
        build_index(opened, index)
    again = ("--index", index, "--engine", "torch", "-o", tmp_path / "more.h5")
    assert tool(extract, more, *again).returncode == 0
    done = tool(ROOT / "tools/index.py", "add", index, tmp_path / "more.h5", "--json")
    assert json.loads(done.stdout)["added"] == 1
    done = tool(ROOT / "tools/search.py", more / "trip/080.png", "--index", index, "--json",
                "--engine", "torch")  # fmt: skip
    best = json.loads(done.stdout)["hits"][0]
    assert (Path(best["name"]).name, best["hamming"]) == ("080.png", 0)
    for wrong, message in (
        (("--hash", "itq", "--bits", 71), "--bits 70 or fewer"),
        (("--hash", tmp_path / "no.h5"), "no such file"),
        (("--bits", 8), "--hash itq|pca|lsh"),
        ((), "or extract with --hash"),
    ):
        done = tool(extract, photos, *given, *wrong, "-o", tmp_path / "x.h5")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert message in done.stderr
    done = tool(extract, more, *again, "--hash", "itq")
    assert "the index has its own" in done.stderr


@pytest.fixture
def fetching(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A copy of the script with its data folder, and an environment that has no apt-get."""
    for name in ("scripts", "data/stamps"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("photos"))
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "cat", "cp", "dirname", "find", "mkdir", "mktemp", "mv", "rm", "sed",
                 "tail", "wc"):  # fmt: skip
        (tools / name).symlink_to(shutil.which(name) or name)
    return tmp_path / "scripts/01_get_data.sh", {**os.environ, "PATH": str(tools)}


def test_stamps_without_apt_say_what_to_do(fetching: tuple[Path, dict[str, str]]) -> None:
    script, environment = fetching
    done = subprocess.run(
        [script, "stamps"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "no apt-get here" in done.stderr and "make demo-photos IMAGES=DIR" in done.stderr


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg-deb")
def test_stamps_are_the_photos_of_the_package(fetching: tuple[Path, dict[str, str]]) -> None:
    """A package built here; apt-get is a script that hands it over, or fails."""
    script, environment = fetching
    folder = script.parent.parent
    package = folder / "package"
    stamps = package / "usr/share/tuxpaint/stamps"
    for name, size in (("animals/birds/owl.png", 9000), ("food/pea.png", 500),
                       ("food/cartoon/pie.png", 9000), ("food/pizza.png", 9000),
                       ("animals/owl.ogg", 9000), ("symbols/one.png", 9000)):  # fmt: skip
        (stamps / name).parent.mkdir(parents=True, exist_ok=True)
        (stamps / name).write_bytes(bytes(size))
    notice = package / "usr/share/doc/tuxpaint-stamps-default/copyright"
    notice.parent.mkdir(parents=True)
    notice.write_text("GPL-2")
    (package / "DEBIAN").mkdir()
    (package / "DEBIAN/control").write_text(
        "Package: tuxpaint-stamps-default\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b.c>\n"
        "Description: stamps\n"
    )
    built = folder / "stamps.deb"
    subprocess.run(["dpkg-deb", "-b", package, built], check=True, capture_output=True)
    apt = folder / "bin/apt-get"
    environment["PATH"] = f"{folder / 'bin'}:{os.environ['PATH']}"

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [script, "stamps"], env=environment, capture_output=True, text=True, check=False
        )

    apt.write_text("#!/bin/sh\necho 'E: Unable to locate package' >&2\nexit 100\n")
    apt.chmod(0o755)
    failed = run()
    assert failed.returncode == 2
    assert "Unable to locate" in failed.stderr and "apt-get update" in failed.stderr
    apt.write_text(f"#!/bin/sh\ncp {built} .\n")
    done = run()
    assert done.returncode == 0, done.stderr
    found = sorted(path.name for path in (folder / "data/stamps").rglob("*") if path.is_file())
    assert found == ["copyright", "owl.png", "readme.md"]
    assert "have" in run().stdout
