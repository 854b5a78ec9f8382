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
from latenthash.errors import DataError, EngineError, ImageError
from latenthash.extract import extract
from latenthash.images import load
from latenthash.model import HashModel
from latenthash.sources import Sample, Source, open_source
from small import BITS, write_images, write_model


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
