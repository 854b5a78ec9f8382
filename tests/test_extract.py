from __future__ import annotations

import csv
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latenthash import extract as extract_module
from latenthash.codes import CodeSet
from latenthash.engines import get_engine
from latenthash.engines.fake import FakeEngine
from latenthash.errors import DataError, EngineError, ImageError, MismatchError, NetError
from latenthash.evaluate import evaluate
from latenthash.extract import extract
from latenthash.hashing import HashSettings, read_hash
from latenthash.images import load
from latenthash.index import IndexWriter, SearchOptions, build_index
from latenthash.model import FeatureModel, HashModel
from latenthash.search import Searcher, index_model
from latenthash.sources import Sample, Source, open_source
from small import BITS, DIM, write_images, write_model, write_published


@pytest.fixture
def model(tmp_path: Path) -> HashModel:
    return write_model(tmp_path / "model")


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return open_source(write_images(tmp_path / "images"))


def test_rows_equal_one_image_at_a_time(tmp_path: Path, model: HashModel, source: Source) -> None:
    told: list[tuple[int, int]] = []
    report = extract(source, model, get_engine("fake"), tmp_path / "codes.h5", batch=5,
                     on_progress=lambda *progress: told.append(progress))  # fmt: skip
    assert (report.images, report.skipped) == (12, [])
    assert told == [(5, 12), (10, 12), (12, 12)]
    with (
        get_engine("fake").load(model.deploy, model.weights) as net,
        CodeSet(report.output) as found,
    ):
        assert found.names == [sample.name for sample in source.samples]
        assert found.labels.tolist() == [sample.label for sample in source.samples]
        for row, sample in enumerate(source.samples):
            assert sample.path is not None
            feature, code = model.encode(net, load(sample.path, model.preprocess)[None])
            assert (found.features(row, row + 1) == feature).all()
            assert (found.codes[row] == code).all()
            digest = hashlib.sha256(Path(sample.path).read_bytes()).digest()
            assert found.content[row].tobytes() == digest
        assert found.manifest["classes"] == ["blue", "red"]
        assert found.bits == BITS
    assert not (tmp_path / "codes.h5.parts").exists()


def test_arrays_and_files_give_the_same(tmp_path: Path, model: HashModel, source: Source) -> None:
    from latenthash.images import decode

    arrays = [
        Sample(s.name, s.label, pixels=decode(s.path)) for s in source.samples if s.path is not None
    ]
    outputs = []
    for name, samples in (("files", source.samples), ("arrays", arrays)):
        given = Source("test", source.labels, samples)
        outputs.append(extract(given, model, get_engine("fake"), tmp_path / f"{name}.h5").output)
    with CodeSet(outputs[0]) as one, CodeSet(outputs[1]) as two:
        assert (one.codes == two.codes).all()
        assert (one.features() == two.features()).all()


def test_bad_images_are_listed_and_the_rest_goes_on(
    tmp_path: Path, model: HashModel, source: Source
) -> None:
    broken = Path(source.samples[3].path or "")
    broken.write_bytes(b"")
    output = tmp_path / "codes.h5"
    report = extract(source, model, get_engine("fake"), output)
    assert (report.images, report.skipped) == (11, [(source.samples[3].name, "empty file")])
    rows = list(csv.reader((tmp_path / "codes.h5.skipped.csv").read_text().splitlines()))
    assert rows == [["name", "reason"], [source.samples[3].name, "empty file"]]
    with CodeSet(output) as codes:
        assert source.samples[3].name not in codes.names
    with pytest.raises(ImageError, match=f"{source.samples[3].name}: empty file"):
        extract(source, model, get_engine("fake"), tmp_path / "strict.h5", strict=True)
    broken.write_bytes(Path(source.samples[4].path or "").read_bytes())
    assert extract(source, model, get_engine("fake"), output).images == 12
    assert not (tmp_path / "codes.h5.skipped.csv").exists()


def test_nothing_usable_is_an_error(tmp_path: Path, model: HashModel, source: Source) -> None:
    for sample in source.samples:
        assert sample.path is not None
        Path(sample.path).write_text("no image")
    with pytest.raises(DataError, match="no image could be used"):
        extract(source, model, get_engine("fake"), tmp_path / "codes.h5")
    assert not (tmp_path / "codes.h5").exists()


class Dying(FakeEngine):
    """Dies after some forward passes; counts them over all runs."""

    def __init__(self, passes: int) -> None:
        self.passes = passes

    def load(self, prototxt: Path, weights: Path):  # type: ignore[no-untyped-def]
        net, engine = super().load(prototxt, weights), self
        forward = net.forward

        def counted(batch, blobs):  # type: ignore[no-untyped-def]
            engine.passes -= 1
            if engine.passes < 0:
                raise EngineError("it died")
            return forward(batch, blobs)

        net.forward = counted  # type: ignore[method-assign]
        return net


def test_an_interrupted_run_goes_on_where_it_stopped(
    tmp_path: Path, model: HashModel, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract_module, "PART", 4)
    whole = extract(source, model, get_engine("fake"), tmp_path / "whole.h5", batch=2).output
    with pytest.raises(EngineError, match="it died"):
        extract(source, model, Dying(passes=3), tmp_path / "codes.h5", batch=2)
    assert not (tmp_path / "codes.h5").exists()
    # 3 passes made one part of 2; the other 2 parts need 4 more
    extract(source, model, Dying(passes=4), tmp_path / "codes.h5", batch=2)
    assert (tmp_path / "codes.h5").read_bytes() == whole.read_bytes()


def test_parts_of_other_weights_are_not_taken_up(
    tmp_path: Path, model: HashModel, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract_module, "PART", 4)
    with pytest.raises(EngineError):
        extract(source, model, Dying(passes=3), tmp_path / "codes.h5", batch=2)
    other = write_model(tmp_path / "other", seed=1)
    extract(source, other, get_engine("fake"), tmp_path / "codes.h5")
    extract(source, other, get_engine("fake"), tmp_path / "fresh.h5")
    with CodeSet(tmp_path / "codes.h5") as one, CodeSet(tmp_path / "fresh.h5") as two:
        assert (one.features() == two.features()).all()


def test_memory_does_not_grow_with_the_images(
    tmp_path: Path, model: HashModel, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more images are decoded at once than a few batches, whatever their number."""
    alive, most = set(), 0
    prepare = extract_module.prepare

    def counted(*args):  # type: ignore[no-untyped-def]
        nonlocal most
        values = prepare(*args)
        alive.add(id(values))
        most = max(most, len(alive))
        return values

    class Forgetting(FakeEngine):
        def load(self, prototxt: Path, weights: Path):  # type: ignore[no-untyped-def]
            net = super().load(prototxt, weights)
            forward = net.forward

            def clearing(batch, blobs):  # type: ignore[no-untyped-def]
                alive.clear()
                return forward(batch, blobs)

            net.forward = clearing  # type: ignore[method-assign]
            return net

    monkeypatch.setattr(extract_module, "prepare", counted)
    many = replace(source, samples=[replace(source.samples[0], name=str(n)) for n in range(400)])
    extract(many, model, Forgetting(), tmp_path / "codes.h5", batch=4, workers=2)
    assert most <= 4 + 2 * 4 + 2


def test_two_runs_give_the_same_bytes(tmp_path: Path, model: HashModel, source: Source) -> None:
    one, two = (
        extract(source, model, get_engine("fake"), tmp_path / name, workers=workers).output
        for name, workers in (("a.h5", 1), ("b.h5", 3))
    )
    assert one.read_bytes() == two.read_bytes()


def test_images_of_no_class(tmp_path: Path, model: HashModel) -> None:
    folder = write_images(tmp_path / "flat") / "red"
    source = open_source(folder, labelled=False)
    extract(source, model, get_engine("fake"), tmp_path / "codes.h5")
    with CodeSet(tmp_path / "codes.h5") as codes:
        assert codes.names == [f"{n}.png" for n in range(6)]
        assert np.unique(codes.labels).tolist() == [-1]


@pytest.fixture
def published(tmp_path: Path) -> FeatureModel:
    return write_published(tmp_path / "published")


LEARNING = HashSettings("itq", 5)


def test_a_hash_is_learned_on_the_features_and_gives_the_codes(
    tmp_path: Path, published: FeatureModel, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract_module, "PART", 5)
    report = extract(
        source, published, get_engine("fake"), tmp_path / "codes.h5", learning=LEARNING
    )
    function = read_hash(tmp_path / "codes.h5.hash.h5")
    assert report.model.hash_file == tmp_path / "codes.h5.hash.h5"
    assert (function.method, function.learned_from) == ("itq", 12)
    with (
        get_engine("fake").load(published.deploy, published.weights) as net,
        CodeSet(report.output) as found,
    ):
        assert (found.bits, found.dim, len(found)) == (5, DIM, 12)
        assert found.manifest["model"]["hash_sha256"] == function.identity
        for row, sample in enumerate(source.samples):
            assert sample.path is not None
            batch = load(sample.path, published.preprocess)[None]
            feature, code = report.model.encode(net, batch)
            assert (found.features(row, row + 1) == feature).all()
            assert (found.codes[row] == code).all()
        assert len(np.unique(found.codes, axis=0)) > 1


def test_two_runs_learn_the_same_bytes(
    tmp_path: Path, published: FeatureModel, source: Source
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        extract(
            source, published, get_engine("fake"), tmp_path / name / "codes.h5", learning=LEARNING
        )
    one, two = (tmp_path / name / "codes.h5.hash.h5" for name in ("a", "b"))
    assert one.read_bytes() == two.read_bytes()


def test_features_of_an_interrupted_run_serve_any_hash(
    tmp_path: Path, published: FeatureModel, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract_module, "PART", 4)
    output = tmp_path / "codes.h5"
    with pytest.raises(EngineError, match="it died"):
        extract(source, published, Dying(passes=2), output, batch=4, learning=LEARNING)
    assert not output.exists() and not (tmp_path / "codes.h5.hash.h5").exists()
    extract(source, published, Dying(1), output, batch=4, learning=HashSettings("pca", 3))
    with CodeSet(output) as codes:
        assert codes.bits == 3
    assert not (tmp_path / "codes.h5.parts").exists()


def test_what_cannot_be_learned_is_said_before_the_work(
    tmp_path: Path, published: FeatureModel, source: Source
) -> None:
    output, idle = tmp_path / "codes.h5", Dying(passes=0)
    with pytest.raises(DataError, match=rf"7 bits of features of {DIM} values"):
        extract(source, published, idle, output, learning=HashSettings("pca", 7))
    few = replace(source, samples=source.samples[:5])
    with pytest.raises(DataError, match=r"5 images.*6 or more"):
        extract(few, published, idle, output, learning=LEARNING)
    with pytest.raises(NetError, match="gives features, no codes"):
        extract(source, published, idle, output)


def test_nothing_usable_is_an_error_when_learning_too(
    tmp_path: Path, published: FeatureModel, source: Source
) -> None:
    for sample in source.samples:
        assert sample.path is not None
        Path(sample.path).write_text("no image")
    with pytest.raises(DataError, match="no image could be used"):
        extract(source, published, get_engine("fake"), tmp_path / "codes.h5", learning=LEARNING)


def test_learned_codes_from_folder_to_search_and_added_images(
    tmp_path: Path, published: FeatureModel, source: Source
) -> None:
    engine = get_engine("fake")
    first = replace(source, samples=source.samples[:10])
    output = extract(first, published, engine, tmp_path / "codes.h5", learning=LEARNING).output
    with CodeSet(output) as codes:
        index = build_index(codes, tmp_path / "index")
    (tmp_path / "codes.h5.hash.h5").unlink()  # the index has its own
    more = replace(source, samples=source.samples[10:])
    added = extract(more, index_model(index), engine, tmp_path / "more.h5").output
    with CodeSet(added) as codes, IndexWriter(index) as writer:
        assert writer.add(codes).added == 2
    with Searcher(index, engine) as searcher:
        for sample in source.samples:  # of both: as query files they find themselves
            assert sample.path is not None
            answer = searcher.search(sample.path, SearchOptions(top=1, candidates=1))
            assert [(hit.name, hit.hamming) for hit in answer.hits] == [(sample.name, 0)]
            assert answer.hits[0].distance == pytest.approx(0, abs=1e-3)
            assert answer.code == searcher.search_name(sample.name).code


def test_another_hash_is_refused_everywhere(
    tmp_path: Path, published: FeatureModel, source: Source
) -> None:
    engine = get_engine("fake")
    one, two = (
        extract(source, published, engine, tmp_path / f"{seed}.h5",
                learning=HashSettings("lsh", 9, seed)).output
        for seed in (0, 1)
    )  # fmt: skip
    with CodeSet(one) as a, CodeSet(two) as b:
        index = build_index(a, tmp_path / "index")
        with IndexWriter(index) as writer, pytest.raises(MismatchError, match="hash_sha256"):
            writer.add(b)
        with pytest.raises(MismatchError, match="hash_sha256"):
            evaluate(a, b)
        (tmp_path / "1.h5.hash.h5").replace(tmp_path / "0.h5.hash.h5")
        with pytest.raises(MismatchError, match=r"0\.h5\.hash\.h5: is not the hash that made"):
            build_index(a, tmp_path / "index2")
        with pytest.raises(DataError, match=r"1\.h5\.hash\.h5: no such file, but it made"):
            build_index(b, tmp_path / "index2")
