"""Spark: the result is the single machine's, whatever is interrupted, changed or broken."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pyspark", reason="needs '.[spark]'")
pytest.importorskip("pandas", reason="needs '.[spark]'")
if shutil.which("java") is None:
    pytest.skip("needs Java 17", allow_module_level=True)

import pyarrow as pa
import pyarrow.parquet as pq

from latenthash.adapters.spark import (
    CodeTable,
    ImageFolder,
    ImageTable,
    extract_table,
    index_shards,
    shipping,
    worker,
    write_shards,
)
from latenthash.adapters.spark.hadoop import HadoopFolder, literal
from latenthash.adapters.spark.session import reason_of
from latenthash.codes import CodeSet
from latenthash.engines import get_engine
from latenthash.engines.fake import FakeEngine
from latenthash.errors import DataError, EngineError, MismatchError, StorageError
from latenthash.extract import extract
from latenthash.hashing import HashSettings, learn, write_hash
from latenthash.images import load
from latenthash.index import BucketIndex, SearchOptions, build_index
from latenthash.model import HashModel, open_model, with_hash
from latenthash.proto import write_mean
from latenthash.sources import open_source
from latenthash.weights import write_weights
from small import BITS, DIM, SIZE, write_images, write_model, write_published
from spark_cluster import ROOT, WARNINGS, Cluster, cluster, session

pytestmark = WARNINGS
ODD = "red/жук [1] {a,b} 50%.png"
CAMERA = "red/_DSC0001.PNG"


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with session("local[2]", tmp_path_factory.mktemp("spark")) as opened:
        yield opened


@pytest.fixture
def model(tmp_path: Path) -> HashModel:
    return write_model(tmp_path / "model")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """12 images, two of odd names; 2 that are broken, one in no class, one that is hidden."""
    folder = write_images(tmp_path / "photos")
    (folder / "red/0.png").rename(folder / ODD)
    (folder / "red/1.png").rename(folder / CAMERA)
    (folder / "red/deep").mkdir()
    (folder / "red/2.png").rename(folder / "red/deep/2.png")
    (folder / "blue/broken.jpg").write_text("no image")
    (folder / "blue/empty.png").touch()
    (folder / "stray.png").write_bytes((folder / "blue/0.png").read_bytes())
    (folder / "blue/.hidden.png").write_bytes((folder / "blue/0.png").read_bytes())
    (folder / "blue/note.txt").write_text("no image, and not named like one")
    return folder


def run(spark: Any, source: Any, model: HashModel, table: Path, **more: Any) -> Any:
    images = ImageFolder(str(source)) if isinstance(source, Path) else source
    return extract_table(spark, images, model, str(table), engine="fake", batch=4, **more)


def counts(report: Any) -> tuple[int, int, int, int]:
    return report.found, report.written, report.quarantined, report.unchanged


def single(photos: Path, model: HashModel, output: Path) -> Path:
    """What one machine makes of the same images."""
    return extract(open_source(photos), model, get_engine("fake"), output).output


def same(one: CodeSet, two: CodeSet) -> None:
    """All columns and facts of two code files are equal, bit for bit."""
    assert one.names == two.names
    assert one.labels.tolist() == two.labels.tolist()
    assert one.codes.tobytes() == two.codes.tobytes()
    assert one.features().tobytes() == two.features().tobytes()
    assert one.content.tobytes() == two.content.tobytes()
    for key in ("stage", "model", "bits", "dim", "classes", "root"):
        assert one.manifest[key] == two.manifest[key]


def by_name(path: Path) -> dict[str, tuple[bytes, ...]]:
    """Label, content, code and feature of each image of a code file."""
    with CodeSet(path) as codes:
        columns = (codes.labels, codes.content, codes.codes, codes.features())
        return {
            name: tuple(column[row].tobytes() for column in columns)
            for row, name in enumerate(codes.names)
        }


def test_the_result_is_the_single_machines(
    spark: Any, photos: Path, model: HashModel, tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    report = run(spark, photos, model, tmp_path / "table", images_per_batch=6,
                 on_progress=lambda *progress: told.append(progress))  # fmt: skip
    assert counts(report) == (15, 12, 3, 0)
    assert told == [(6, 15), (12, 15), (15, 15)]
    table = CodeTable(spark, str(tmp_path / "table"))
    reasons = {row["name"]: row["reason"] for row in table.quarantine().collect()}
    assert reasons == {
        "blue/broken.jpg": "not an image",
        "blue/empty.png": "empty file",
        "stray.png": "not in a class folder",
    }
    for row in table.codes().collect():
        content = (photos / row["name"]).read_bytes()
        assert bytes(row["sha256"]) == hashlib.sha256(content).digest()
        assert row["label"] == row["name"].split("/")[0]
    [shard] = write_shards(table, tmp_path / "shards")
    with CodeSet(shard) as one, CodeSet(single(photos, model, tmp_path / "one.h5")) as two:
        same(one, two)
        assert {ODD, CAMERA, "red/deep/2.png"} < set(one.names)


@pytest.mark.slow
def test_a_rerun_does_what_is_missing_and_no_more(
    spark: Any, photos: Path, model: HashModel, tmp_path: Path
) -> None:
    place = tmp_path / "table"
    assert counts(run(spark, photos, model, place)) == (15, 12, 3, 0)
    assert counts(run(spark, photos, model, place)) == (15, 0, 3, 12)
    good = (photos / "blue/0.png").read_bytes()
    (photos / "blue/empty.png").write_bytes(good)  # can be used now
    (photos / "blue/1.png").write_bytes((photos / CAMERA).read_bytes())  # changed
    (photos / "blue/2.png").write_text("broken now")
    (photos / "green").mkdir()  # a new class, before red
    (photos / "green/new.png").write_bytes((photos / "red/3.png").read_bytes())
    (photos / ODD).unlink()
    assert counts(run(spark, photos, model, place)) == (15, 3, 3, 9)
    table = CodeTable(spark, str(place))
    written = table.rows(3).where("kind = 'codes'").select("name", "id").collect()
    ids = {row["name"]: row["id"] for row in written}
    assert ids == {"blue/empty.png": ids["blue/empty.png"], "blue/1.png": ids["blue/1.png"],
                   "green/new.png": 15}  # fmt: skip
    first = {row["name"]: row["id"] for row in table.rows(1).select("name", "id").collect()}
    assert first["blue/1.png"] == ids["blue/1.png"]
    assert first["blue/empty.png"] == ids["blue/empty.png"]
    assert {row["name"] for row in table.quarantine().collect()} == {
        "blue/broken.jpg", "blue/2.png", "stray.png",
    }  # fmt: skip
    [shard] = write_shards(table, tmp_path / "shards")
    assert by_name(shard) == by_name(single(photos, model, tmp_path / "one.h5"))
    with CodeSet(shard) as codes:
        assert codes.manifest["classes"] == ["blue", "green", "red"]


class _StopError(Exception):
    """The driver is gone."""


def _stop_after(images: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done >= images:
            raise _StopError

    return progress


@pytest.mark.slow
def test_an_interrupted_run_leaves_whole_batches(
    spark: Any, photos: Path, model: HashModel, tmp_path: Path
) -> None:
    place = tmp_path / "table"
    with pytest.raises(_StopError):
        run(spark, photos, model, place, images_per_batch=4, on_progress=_stop_after(8))
    table = CodeTable(spark, str(place))
    assert len(table.whole_batches(1)) == 2
    with pytest.raises(DataError, match="its last run did not finish"):
        table.codes()
    half = place / table.whole_batches(1)[1]
    (half / "_SUCCESS").unlink()  # as if it had died while it wrote the second
    kept = table.rows(1).where("kind = 'codes'").count()
    assert table.rows(1).count() == 4
    report = run(spark, photos, model, place, images_per_batch=4)
    assert counts(report) == (15, 12 - kept, 3, kept)
    assert not half.exists()
    [shard] = write_shards(table, tmp_path / "shards")
    assert by_name(shard) == by_name(single(photos, model, tmp_path / "one.h5"))


class _Losing(ImageFolder):
    """Loses an image between listing and reading."""

    def contents(self, spark: Any, units: Sequence[str]) -> Any:
        return super().contents(spark, units).where("name != 'blue/0.png'")


@pytest.mark.slow
def test_counts_that_do_not_add_up_are_an_error(
    spark: Any, photos: Path, model: HashModel, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="15 images were found, but 11 codes, 3 quarantine came"):
        run(spark, _Losing(str(photos)), model, tmp_path / "table")
    table = CodeTable(spark, str(tmp_path / "table"))
    with pytest.raises(DataError, match="did not finish"):
        write_shards(table, tmp_path / "shards")
    assert counts(run(spark, photos, model, tmp_path / "table")) == (15, 1, 3, 11)


@pytest.mark.slow
def test_another_model_is_refused(
    spark: Any, photos: Path, model: HashModel, tmp_path: Path
) -> None:
    run(spark, photos, model, tmp_path / "table")
    other = write_model(tmp_path / "other", seed=1)
    with pytest.raises(MismatchError, match="weights_sha256"):
        run(spark, photos, other, tmp_path / "table")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/thesis.tex").touch()
    with pytest.raises(DataError, match="holds something else"):
        run(spark, photos, model, tmp_path / "taken")


@pytest.mark.slow
def test_what_a_worker_says_is_one_line(
    spark: Any, photos: Path, model: HashModel, tmp_path: Path
) -> None:
    write_weights({"fc7": [np.zeros((3, 3), np.float32)]}, model.weights)
    with pytest.raises(EngineError) as raised:
        run(spark, photos, open_model(model.deploy, model.weights), tmp_path / "table")
    assert "weights-small.caffemodel" in raised.value.problem
    assert "\n" not in raised.value.problem


def write_table(folder: Path, photos: Path, labels: Callable[[str], Any], files: int = 2) -> Path:
    """The photos as rows of Parquet files, whose names have to be quoted in an address."""
    folder.mkdir()
    source = open_source(photos)
    rows = [
        {"key": s.name, "data": Path(s.path or "").read_bytes(), "class": labels(s.name)}
        for s in source.samples
    ]
    for number in range(files):
        part = pa.Table.from_pylist(rows[number::files])
        pq.write_table(part, folder / f"part {number} é%.parquet")
    return folder


@pytest.mark.slow
def test_a_parquet_table_gives_the_same(
    spark: Any, photos: Path, model: HashModel, tmp_path: Path
) -> None:
    names = write_table(tmp_path / "names", photos, lambda name: name.split("/")[0])
    source = ImageTable(str(names), "key", "data", "class")
    report = run(spark, source, model, tmp_path / "table", images_per_batch=3)
    assert counts(report) == (14, 12, 2, 0)
    table = CodeTable(spark, str(tmp_path / "table"))
    assert len(table.whole_batches(1)) == 2  # a file is not split
    [shard] = write_shards(table, tmp_path / "shards")
    expected = single(photos, model, tmp_path / "one.h5")
    assert by_name(shard) == by_name(expected)
    with CodeSet(shard) as codes:
        assert codes.manifest["root"] is None  # rows are no files
        assert codes.manifest["classes"] == ["blue", "red"]


@pytest.mark.slow
def test_labels_of_a_parquet_table(
    spark: Any, photos: Path, model: HashModel, tmp_path: Path
) -> None:
    numbers = write_table(tmp_path / "n", photos, lambda name: 10 if name < "c" else None)
    listing = ImageTable(str(numbers), "key", "data", "class").listing(spark)
    assert listing.classes == [str(number) for number in range(11)]
    assert ImageTable(str(numbers), "key", "data", None).listing(spark).classes == []
    with pytest.raises(DataError, match="no fitting column 'klass' among key string"):
        ImageTable(str(numbers), "key", "data", "klass").listing(spark)
    with pytest.raises(DataError, match="no fitting column 'key'"):
        ImageTable(str(numbers), "key", "key", None).listing(spark)
    negative = write_table(tmp_path / "m", photos, lambda name: -2)
    with pytest.raises(DataError, match="label -2"):
        ImageTable(str(negative), "key", "data", "class").listing(spark)
    twice = ImageTable(str(numbers), "class", "data", None)
    with pytest.raises(DataError, match="no fitting column 'class'"):
        twice.listing(spark)
    again = write_table(tmp_path / "again", photos, lambda name: name[:1], files=1)
    with pytest.raises(DataError, match="12 of 14 images have no name, or that of another"):
        run(spark, ImageTable(str(again), "class", "data", None), model, tmp_path / "table")


@pytest.mark.slow
def test_images_of_no_class_and_folders_that_are_none(
    spark: Any, photos: Path, model: HashModel, tmp_path: Path
) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for number in range(3):
        (flat / f"{number}.png").write_bytes((photos / f"blue/{number}.png").read_bytes())
    assert counts(run(spark, flat, model, tmp_path / "table")) == (3, 3, 0, 0)
    [shard] = write_shards(CodeTable(spark, str(tmp_path / "table")), tmp_path / "shards")
    with CodeSet(shard) as codes:
        assert (codes.names, codes.labels.tolist()) == (["0.png", "1.png", "2.png"], [-1] * 3)
    with pytest.raises(DataError, match="no such folder"):
        run(spark, tmp_path / "nowhere", model, tmp_path / "t2")
    (tmp_path / "split/train/a").mkdir(parents=True)
    (tmp_path / "split/test/a").mkdir(parents=True)
    with pytest.raises(DataError, match="holds test, train, not classes"):
        run(spark, tmp_path / "split", model, tmp_path / "t3")
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="no images were found"):
        run(spark, tmp_path / "none", model, tmp_path / "t4")


@pytest.mark.slow
def test_shards_become_segments_of_one_index(
    spark: Any, photos: Path, model: HashModel, tmp_path: Path
) -> None:
    (photos / "red/twin.png").write_bytes((photos / "blue/0.png").read_bytes())
    run(spark, photos, model, tmp_path / "table")
    shards = write_shards(CodeTable(spark, str(tmp_path / "table")), tmp_path / "shards", 5)
    assert [path.name for path in shards] == ["000000.h5", "000001.h5", "000002.h5"]
    made = index_shards(shards, tmp_path / "index")
    assert made.images == 12
    assert made.duplicates == [("red/twin.png", "blue/0.png")]
    with pytest.raises(DataError, match="is there already"):
        index_shards(shards, tmp_path / "index")
    (photos / "red/twin.png").unlink()
    with CodeSet(single(photos, model, tmp_path / "one.h5")) as codes:
        whole = BucketIndex(build_index(codes, tmp_path / "whole"))
        sharded = BucketIndex(tmp_path / "index")
        assert len(sharded) == 12
        for options in (SearchOptions(top=12, exact=True), SearchOptions(top=5, candidates=3)):
            expected = whole.search(codes.codes, codes.features(), options)
            found = sharded.search(codes.codes, codes.features(), options)
            for one, two in zip(found, expected, strict=True):
                assert sharded.names(one.ids) == whole.names(two.ids)
                assert one.distances.tolist() == two.distances.tolist()
    assert index_shards(shards[:1], tmp_path / "index").images == 5  # one replaces what is there


def test_shards_are_not_written_over_other_files(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(DataError, match="holds something else"):
        write_shards(None, tmp_path)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="shards of 0 images"):
        write_shards(None, tmp_path / "new", 0)  # type: ignore[arg-type]


def test_a_folder_of_hadoops(spark: Any, tmp_path: Path) -> None:
    folder = HadoopFolder(spark, str(tmp_path / "new [x]"))
    assert folder.path == f"file:{tmp_path}/new [x]"
    assert (folder.exists(), folder.names(), folder.folders()) == (False, [], [])
    folder.write("a/note.json", "жук\n")
    assert folder.read("a/note.json") == "жук\n"
    assert (folder.names(), folder.names("a"), folder.folders("a")) == (["a"], ["note.json"], [])
    with pytest.raises(StorageError, match="is there already"):
        folder.write("a/note.json", "other")
    assert folder.read("a/note.json") == "жук\n"
    with pytest.raises(DataError, match="no such file"):
        folder.read("b")
    (tmp_path / "new [x]/bytes").write_bytes(b"\xff")
    with pytest.raises(DataError, match="is no text"):
        folder.read("bytes")
    folder.remove("a")
    assert not (tmp_path / "new [x]/a").exists()


def test_names_with_signs_of_patterns_are_taken_literally() -> None:
    assert literal("/a[1]{b}*?\\.jpg") == "/a\\[1\\]\\{b\\}\\*\\?\\\\.jpg"
    assert literal("/жук 50%.jpg") == "/жук 50%.jpg"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x\nlatenthash.errors.NetError: w: no layer fc7 - give\nmore", "w: no layer fc7 - give"),
        ("An error occurred\n: a.B: aborted\n\tat c\nCaused by: d.E: disk full\n\tat f",
         "d.E: disk full"),
        ("[PATH_NOT_FOUND] x\n\nplan", "[PATH_NOT_FOUND] x"),
    ],
)  # fmt: skip
def test_the_line_that_says_why(text: str, reason: str) -> None:
    assert reason_of(text) == reason


@pytest.fixture
def with_mean(tmp_path: Path, model: HashModel) -> HashModel:
    """The small model with a mean image."""
    mean = np.random.default_rng(1).uniform(60, 100, (3, SIZE, SIZE)).astype(np.float32)
    write_mean(mean, tmp_path / "mean.binaryproto")
    settings = {"channels": 3, "resize": [SIZE, SIZE], "crop": [SIZE, SIZE], "scale": 1.0,
                "mean": {"file": "mean.binaryproto", "sha256": _hash_of(mean)}}  # fmt: skip
    return open_model(model.deploy, model.weights, settings, tmp_path)


def _hash_of(mean: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(mean, "<f4").tobytes()).hexdigest()


@pytest.fixture
def with_learned(tmp_path: Path) -> HashModel:
    """A net without a latent layer, and a hash of its features."""
    published = write_published(tmp_path / "published")
    features = np.random.default_rng(2).random((40, DIM)).astype(np.float16)
    function = learn(features, HashSettings("lsh", 9))
    write_hash(function, tmp_path / "learned.h5")
    return with_hash(published, function, tmp_path / "learned.h5")


@pytest.mark.parametrize("kind", ["model", "with_mean", "with_learned"])
def test_a_packed_model_encodes_as_before(
    kind: str, request: pytest.FixtureRequest, photos: Path, tmp_path: Path
) -> None:
    before: HashModel = request.getfixturevalue(kind)
    shipping.pack(before, tmp_path / "model.zip")
    shutil.unpack_archive(tmp_path / "model.zip", tmp_path / "elsewhere")
    after = shipping.open_packed(tmp_path / "elsewhere")
    assert shipping.identity(after.describe()) == shipping.identity(before.describe())
    for file in (after.deploy, after.weights, after.mean_file, after.hash_file):
        assert file is None or file.is_relative_to(tmp_path / "elsewhere")
    batch = load(photos / "red/3.png", before.preprocess)[None]
    with (
        get_engine("fake").load(before.deploy, before.weights) as one,
        get_engine("fake").load(after.deploy, after.weights) as two,
    ):
        for old, new in zip(before.encode(one, batch), after.encode(two, batch), strict=True):
            assert old.tobytes() == new.tobytes()


def test_other_weights_on_a_worker_are_refused(tmp_path: Path, model: HashModel) -> None:
    shipping.pack(model, tmp_path / "model.zip")
    shutil.unpack_archive(tmp_path / "model.zip", tmp_path / "there")
    other = write_model(tmp_path / "other", seed=1)
    shutil.copy(other.weights, tmp_path / "there/weights-small.caffemodel")
    with pytest.raises(MismatchError, match="changed since"):
        shipping.open_packed(tmp_path / "there")
    assert shipping.identity(other.describe()) != shipping.identity(model.describe())


@pytest.fixture
def recipe(
    tmp_path: Path, model: HashModel, monkeypatch: pytest.MonkeyPatch
) -> Iterator[worker.Recipe]:
    """A recipe whose archive this process finds unpacked."""
    shipping.pack(model, tmp_path / "model.zip")
    shutil.unpack_archive(tmp_path / "model.zip", tmp_path / "unpacked/model.zip")
    monkeypatch.setattr(worker, "unpacked", lambda name: tmp_path / "unpacked" / name)
    monkeypatch.setattr(worker, "_loaded", {})
    yield worker.Recipe("model.zip", "fake", None, threads=1, batch=2)


def arrow(*images: dict[str, Any]) -> pa.RecordBatch:
    nothing = dict.fromkeys(("label", "content", "known", "reason"))
    rows = [{**nothing, "id": number, **image} for number, image in enumerate(images)]
    types = {"name": pa.string(), "id": pa.int64(), "label": pa.string(), "content": pa.binary(),
             "known": pa.binary(), "reason": pa.string()}  # fmt: skip
    return pa.RecordBatch.from_pylist(rows, schema=pa.schema(types))


def test_each_image_has_one_row_in_its_place(
    recipe: worker.Recipe, model: HashModel, photos: Path
) -> None:
    good = [(photos / f"red/{number}.png").read_bytes() for number in (3, 4, 5)]
    batch = arrow(
        {"name": "a", "content": good[0], "label": "red"},
        {"name": "b", "content": b"junk"},
        {"name": "c", "content": good[1], "known": hashlib.sha256(good[1]).digest()},
        {"name": "d", "content": good[1], "known": hashlib.sha256(b"older").digest()},
        {"name": "e", "reason": "not in a class folder"},
        {"name": "f"},
        {"name": "g", "content": good[2]},
    )
    [made] = worker.encode([batch], recipe)
    assert made.schema == worker.ROW
    rows = made.to_pylist()
    assert [row["kind"] for row in rows] == [
        "codes", "quarantine", "unchanged", "codes", "quarantine", "quarantine", "codes",
    ]  # fmt: skip
    assert [row["reason"] for row in rows] == [
        None, "not an image", None, None, "not in a class folder", "no bytes", None,
    ]  # fmt: skip
    assert [(row["name"], row["id"]) for row in rows] == list(zip("abcdefg", range(7), strict=True))
    assert (rows[0]["label"], rows[1]["label"]) == ("red", None)
    with get_engine("fake").load(model.deploy, model.weights) as net:
        for place, content in ((0, good[0]), (3, good[1]), (6, good[2])):
            feature, code = model.encode(net, load(content, model.preprocess)[None])
            assert rows[place]["feature"] == feature.astype("<f2").tobytes()
            assert rows[place]["code"] == code.tobytes()
            assert len(rows[place]["code"]) == (BITS + 7) // 8
            assert rows[place]["sha256"] == hashlib.sha256(content).digest()


def test_a_process_loads_a_network_once(
    recipe: worker.Recipe, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    load_net = FakeEngine.load

    def counted(self: FakeEngine, prototxt: Path, weights: Path) -> Any:
        opened.append(weights)
        return load_net(self, prototxt, weights)

    monkeypatch.setattr(FakeEngine, "load", counted)
    batch = arrow({"name": "a", "content": (photos / "red/3.png").read_bytes()})
    list(worker.encode([arrow({"name": "x", "content": b"", "reason": "why"})], recipe))
    assert opened == []  # nothing to encode
    for _ in range(2):  # two tasks
        list(worker.encode([batch, batch], recipe))
    assert len(opened) == 1
    list(worker.encode([batch], worker.Recipe("model.zip", "fake", None, 1, batch=3)))
    assert len(opened) == 2


@pytest.mark.slow
def test_the_tool_from_images_to_an_index(tmp_path: Path, photos: Path, model: HashModel) -> None:
    pytest.importorskip("torch")
    command = [
        sys.executable, ROOT / "tools/spark_extract.py", photos, "-o", tmp_path / "table",
        "--net", model.deploy, "--weights", model.weights, "--engine", "torch",
        "--master", "local[2]", "--conf", "spark.ui.enabled=false", "--conf",
        f"spark.executorEnv.PYTHONPATH={ROOT / 'python'}",
        "--shards", tmp_path / "shards", "--index", tmp_path / "index", "--json",
    ]  # fmt: skip
    ended = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert (report["found"], report["written"], report["quarantined"]) == (15, 12, 3)
    assert (report["images"], report["shards"], report["duplicates"]) == (12, 1, [])
    expected = extract(open_source(photos), model, get_engine("torch", 1), tmp_path / "one.h5")
    with CodeSet(tmp_path / "shards/000000.h5") as one, CodeSet(expected.output) as two:
        assert one.names == two.names
        assert (one.codes == two.codes).all()
        # Batches differ in size, and with it the order in which a product is summed up.
        np.testing.assert_allclose(one.features(), two.features(), rtol=2**-10, atol=1e-3)
    assert len(BucketIndex(tmp_path / "index")) == 12
    ended = subprocess.run(
        [sys.executable, str(ROOT / "tools/spark_extract.py"), "-o", str(tmp_path / "table")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: neither a source nor --shards nor --index")


_FILE_TASKS = 6  # that read and encode; no other stage of a small table has as many


def _kill_when_busy(
    spark: Any, killed: Cluster, table: Path, over: threading.Event, seen: list[str]
) -> None:
    """Kill the second worker while both encode: both have one core, and two tasks run."""
    tracker = spark.sparkContext.statusTracker()
    planned = table / "run=000001/plan/_SUCCESS"
    while not over.is_set():
        for stage in tracker.getActiveStageIds() if planned.exists() else ():
            info = tracker.getStageInfo(stage)
            if info is not None:
                seen.append(f"{info.name}: {info.numActiveTasks} of {info.numTasks}")
                if info.numTasks >= _FILE_TASKS and info.numActiveTasks >= 2:
                    killed.kill(1)
                    seen.append("killed")
                    return
        time.sleep(0.02)


@pytest.mark.slow
def test_a_worker_that_dies_changes_nothing(tmp_path: Path, model: HashModel) -> None:
    photos, table = write_images(tmp_path / "photos", per_class=40), tmp_path / "table"
    (photos / "red/broken.png").write_text("no image")
    settings = {
        "spark.cores.max": "2",
        "spark.scheduler.minRegisteredResourcesRatio": "1.0",
        "spark.scheduler.maxRegisteredResourcesWaitingTime": "120s",
        "spark.sql.files.minPartitionNum": str(_FILE_TASKS),
        "spark.sql.adaptive.coalescePartitions.minPartitionSize": "1k",  # else one task
    }
    over, seen = threading.Event(), list[str]()
    with (
        cluster(tmp_path / "cluster", workers=2) as made,
        session(made.master, tmp_path, **settings) as spark,
    ):
        killer = threading.Thread(target=_kill_when_busy, args=(spark, made, table, over, seen))
        killer.start()
        try:
            report = run(spark, photos, model, table, images_per_batch=60)
        finally:
            over.set()
            killer.join()
        assert seen[-1:] == ["killed"], sorted(set(seen))
        assert made.workers[1].poll() is not None and made.workers[0].poll() is None
        assert counts(report) == (81, 80, 1, 0)
        [shard] = write_shards(CodeTable(spark, str(table)), tmp_path / "shards")
        assert counts(run(spark, photos, model, table)) == (81, 0, 1, 80)
    with CodeSet(shard) as one, CodeSet(single(photos, model, tmp_path / "one.h5")) as two:
        same(one, two)
