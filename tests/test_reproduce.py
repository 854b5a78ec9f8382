"""The reproduction run on tiny code files; the report against its own JSON files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latenthash.cache import Cache
from latenthash.codes import CodeSet
from latenthash.engines import get_engine
from latenthash.errors import DataError
from latenthash.hashing import HashSettings, learn
from latenthash.progress import silent
from latenthash.reproduce import Reproduction, experiments, write_report
from latenthash.reproduce.materials import Material, code_file, content_hash, half
from latenthash.reproduce.published import CIFAR10_BITS, CIFAR10_MAP_AT_1000, thesis_queries
from latenthash.reproduce.reproduction import thinned
from latenthash.reproduce.text import between, percent, table
from latenthash.sources import open_source
from sets import write_set


def tiny(folder: Path) -> Material:
    """300 images and 40 that ask them."""
    return Material(
        "tiny", "mnist", write_set(folder / "db.h5", 300, seed=0),
        write_set(folder / "q.h5", 40, seed=1), whole=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Reproduction:
    folder = tmp_path_factory.mktemp("reproduce")
    run = Reproduction(
        folder / "made", get_engine("fake"), results=folder / "docs/results",
        pictures=folder / "docs/images",
    )  # fmt: skip
    run.on_codes(tiny(folder))
    write_report(run.results, run.pictures, folder / "docs/results.md")
    return run


def told(run: Reproduction, name: str) -> dict:
    return json.loads((run.results / f"{name}.json").read_text())


def test_every_experiment_leaves_a_file_that_names_its_data(run: Reproduction) -> None:
    names = {path.stem for path in run.results.iterdir()}
    assert names == {"learned", "in_library", "reach", "hashes", "searches", "health"}
    for name in ("hashes", "searches", "reach"):
        assert len(told(run, name)["data"]["sha256"]["database"]) == 64
    assert told(run, "learned")["protocol"]["name"] == "mnist (other data)"


def test_the_report_says_what_the_files_say(run: Reproduction) -> None:
    report = (run.results.parent / "results.md").read_text()
    learned = told(run, "learned")
    assert f"By code alone mAP at 1,000 is {100 * learned['map_at_1000']:.2f}" in report
    own = next(one for one in told(run, "hashes")["results"] if one["method"] == "own")
    assert own["means"]["map_at_1000"] == learned["map_at_1000"]
    for one in told(run, "searches")["results"]:
        assert f"{100 * one['recall']:.2f} | {100 * one['map_at_k']:.2f}" in report
    for one in told(run, "in_library")["in_library"]["queries"]:
        assert f"| {one['class']} |" in report
    assert "12 bits" not in report  # what was published on CIFAR-10 stands beside CIFAR-10 only


def test_what_training_left_stands_beside_what_was_set_since(
    run: Reproduction, tmp_path: Path
) -> None:
    folder = run.results.parents[1]
    with CodeSet(folder / "db.h5") as codes:
        left = learn(codes.features(), HashSettings("pca", 12), codes.labels)
    material = Material("tiny", "mnist", folder / "db.h5", folder / "q.h5", False, left)
    found = experiments.hashes(material, Cache(tmp_path), silent, ("own", "pca"))["results"]
    assert [(one["method"], one["bits"]) for one in found[:3]] == [
        ("own", 16), ("trained", 12), ("pca", 12),
    ]  # fmt: skip
    assert found[1]["means"] == found[2]["means"] != found[0]["means"]
    results = tmp_path / "results"
    shutil.copytree(run.results, results)
    hashes = json.loads((results / "hashes.json").read_text())
    hashes["results"] += [{**found[1], "bits": bits} for bits in (16, 48)]
    (results / "hashes.json").write_text(json.dumps(hashes))
    write_report(results, tmp_path / "images", tmp_path / "results.md")
    report = (tmp_path / "results.md").read_text()
    left_it = f"training end to end left {100 * found[1]['means']['map_at_1000']:.2f}"
    assert left_it in report and "| latent layer as trained end to end | yes |" in report


def test_every_picture_of_the_report_is_there(run: Reproduction) -> None:
    folder = run.results.parent
    linked = [
        line.split("](")[1].rstrip(")")
        for line in (folder / "results.md").read_text().splitlines()
        if line.startswith("![")
    ]
    assert len(linked) == len(set(linked)) == 6
    for link in linked:
        with Image.open(folder / link) as picture:
            assert min(picture.size) > 400


def test_reach_ends_at_the_exact_search(run: Reproduction) -> None:
    rows = told(run, "reach")["results"]
    assert rows[0]["exact"] and rows[0]["recall_of_exact"] == 1
    whole = next(row for row in rows if row["candidates"] == 10_000)
    assert whole["compared"] == 300 and whole["recall_of_exact"] == 1
    radii = [row["compared"] for row in rows if row["radius"] is not None]
    assert radii == sorted(radii)


def test_neural_codes_are_ranked_as_by_a_loop(tmp_path: Path) -> None:
    material = tiny(tmp_path)
    found = experiments.compressed(material, silent)
    with CodeSet(material.database) as database, CodeSet(material.queries) as queries:
        ranked, asked = (rows_of_length_1(codes) for codes in (database, queries))
        labels, wanted = database.labels, queries.labels
    values = []
    for query, label in zip(asked, wanted, strict=True):
        hits = labels[np.argsort(((ranked - query) ** 2).sum(axis=1), kind="stable")] == label
        places = np.flatnonzero(hits) + 1
        values.append(np.mean(np.arange(1, len(places) + 1) / places))
    assert found["results"][-1]["whole"]
    assert found["results"][-1]["map_at_1000"] == pytest.approx(np.mean(values), abs=1e-4)
    dims = [one["dim"] for one in found["results"]]
    assert dims == [*(dim for dim in experiments.COMPRESSED if dim <= ranked.shape[1]), dims[-1]]
    report = write_neural_report(found, tmp_path)
    assert f"{dims[-1]:,}, not compressed" in report


def rows_of_length_1(codes: CodeSet) -> np.ndarray:
    rows = codes.features().astype(np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def write_neural_report(found: dict, folder: Path) -> str:
    (folder / "results").mkdir()
    (folder / "results/neural.json").write_text(json.dumps(found))
    write_report(folder / "results", folder / "images", folder / "results.md")
    return (folder / "results.md").read_text()


def test_a_second_run_gives_the_same_qualities(run: Reproduction) -> None:
    before = told(run, "hashes"), told(run, "in_library")["in_library"]["with_self"]
    material = Material(
        "tiny", "mnist", run.results.parents[1] / "db.h5", run.results.parents[1] / "q.h5", False
    )
    run.on_codes(material)
    assert (told(run, "hashes"), told(run, "in_library")["in_library"]["with_self"]) == before


def test_a_report_of_nothing_says_what_was_not_run(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    write_report(tmp_path / "results", tmp_path / "images", tmp_path / "results.md")
    text = (tmp_path / "results.md").read_text()
    assert "Not run here" in text and "In short" not in text


def test_published_figures() -> None:
    assert CIFAR10_BITS == (12, 32, 48)
    assert {len(values) for values in CIFAR10_MAP_AT_1000.values()} == {3}
    queries = thesis_queries()
    assert [one.query for one in queries] == list(range(1, 41))
    assert np.mean([one.precision_hashed for one in queries]) == 74.75
    assert np.mean([one.seconds_plain for one in queries]) == pytest.approx(0.37, abs=0.005)
    wrong = [
        one.query
        for one in queries
        if abs(100 * (1 - one.seconds_hashed / one.seconds_plain) - one.reduction) > 0.5
    ]
    assert wrong == [29]


def test_curves_keep_their_ends_and_lose_points() -> None:
    ranks = list(range(1, 2001))
    found = thinned({"a": [{"ranks": ranks, "curves": {"p": ranks, "r": [1, 2]}}], "b": 3})
    [one] = found["a"]
    assert one["ranks"] == one["curves"]["p"]
    assert one["ranks"][:5] == [1, 2, 3, 4, 5] and one["ranks"][-1] == 2000
    assert len(one["ranks"]) < 300 and one["curves"]["r"] == [1, 2] and found["b"] == 3


def test_text() -> None:
    assert table(["a", "b"], [["x", 1]]) == "| a | b |\n| --- | ---: |\n| x | 1 |"
    assert percent(0.12345) == "12.35" and percent(None) == "-"
    assert between(0.5, (0.4, 0.6)) == "50.00 (40.0 to 60.0)"


def write_images(folder: Path) -> Path:
    for split, count in (("train", 6), ("test", 2)):
        for label in "ab":
            for number in range(count):
                path = folder / split / label / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (4, 4), (number, ord(label), len(split))).save(path)
    return folder


def test_halves_and_parts_of_them(tmp_path: Path) -> None:
    source = open_source(write_images(tmp_path))
    whole = half(source, "train", None).samples
    assert sorted(one.name for one in whole) == sorted(
        one.name for one in source.samples if one.split == "train"
    )
    assert [one.label for one in whole] != sorted(one.label for one in whole)
    assert len(half(source, "val", None).samples) == 4
    part = half(source, "train", 6)
    assert np.bincount([sample.label for sample in part.samples]).tolist() == [3, 3]
    assert part.samples == half(source, "train", 6).samples
    assert len(half(part, "train", 4).samples) == 4  # part of a part
    with pytest.raises(DataError, match="no folders train and test"):
        half(part, "val", None)


def test_a_changed_image_is_another_code_file(tmp_path: Path) -> None:
    source = open_source(write_images(tmp_path))
    before = code_file(tmp_path, "x", source, {"weights": 1})
    assert code_file(tmp_path, "x", source, {"weights": 2}) != before
    content = content_hash(source.samples)
    Image.new("RGB", (4, 4), (99, 0, 0)).save(source.samples[0].path)
    assert content_hash(source.samples) != content
    assert code_file(tmp_path, "x", source, {"weights": 1}) != before
