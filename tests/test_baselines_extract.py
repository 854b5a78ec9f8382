"""Descriptors and compressed neural codes as code files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.decomposition import PCA

from latenthash.baselines import (
    compress_codes,
    directions,
    extract_baseline,
    fit_descriptor,
    learn_compression,
    make_descriptor,
    read_descriptor,
)
from latenthash.baselines import extract as module
from latenthash.baselines.aggregated import Aggregated
from latenthash.cache import Cache
from latenthash.coders import coder_of
from latenthash.codes import CodeSet
from latenthash.errors import DataError, ImageError, MismatchError
from latenthash.evaluate import evaluate
from latenthash.hashing import HashSettings, read_hash
from latenthash.images import decode
from latenthash.index import BucketIndex, SearchOptions, build_index
from latenthash.sources import Source, open_source
from latenthash.sources.base import Sample
from small import write_images, write_published

LSH = HashSettings("lsh", 24)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return open_source(write_images(tmp_path / "images", per_class=10))


def test_rows_are_the_descriptors_features_and_their_hash(source: Source, tmp_path: Path) -> None:
    output, seen = tmp_path / "codes.h5", []
    colour = make_descriptor("colour", 32)
    report = extract_baseline(
        source, colour, output, hashing=LSH, on_progress=lambda *step: seen.append(step)
    )
    assert (report.images, report.skipped, seen[-1]) == (20, [], (20, 20))
    assert seen == sorted(seen)
    with CodeSet(output) as codes:
        assert codes.names == [sample.name for sample in source.samples]
        assert codes.labels.tolist() == [sample.label for sample in source.samples]
        for row, sample in enumerate(source.samples):
            expected = colour.describe(decode(Path(str(sample.path))))
            assert codes.features(row, row + 1)[0] == pytest.approx(expected, abs=1e-3)
        function = read_hash(tmp_path / "codes.h5.hash.h5")
        assert (codes.codes == function.encode(codes.features())).all()
        assert codes.bits == 24 and codes.manifest["model"]["hash_sha256"] == function.identity
    assert read_descriptor(tmp_path / "codes.h5.descriptor.h5").identity == colour.identity


def test_two_runs_write_the_same_bytes(source: Source, tmp_path: Path) -> None:
    output, copies = tmp_path / "codes.h5", []
    for workers in (1, 3):
        extract_baseline(
            source, make_descriptor("hog", 32), output, hashing=HashSettings("pca", 8),
            workers=workers,
        )  # fmt: skip
        copies.append(output.read_bytes())
    assert copies[0] == copies[1]


def test_evaluator_and_index_take_them(source: Source, tmp_path: Path) -> None:
    colour = make_descriptor("colour", 32)
    queries = open_source(write_images(tmp_path / "queries", per_class=3, seed=1))
    made = extract_baseline(source, colour, tmp_path / "db.h5", hashing=HashSettings("sh", 16))
    extract_baseline(queries, colour, tmp_path / "q.h5", hashing=made.hash)
    extract_baseline(queries, make_descriptor("lbp", 32), tmp_path / "other.h5", hashing=LSH)
    with CodeSet(tmp_path / "db.h5") as database, CodeSet(tmp_path / "q.h5") as found:
        assert evaluate(database, found, k=10).means["map_at_10"] > 0.9  # red and blue
        with CodeSet(tmp_path / "other.h5") as other, pytest.raises(MismatchError):
            evaluate(database, other)
        build_index(database, tmp_path / "index")
        with BucketIndex(tmp_path / "index") as index:
            answers = index.search(found.codes, found.features(), SearchOptions(top=1))
        nearest = database.labels[[int(hits.ids[0]) for hits in answers]]
        assert (nearest == found.labels).all()


def test_damaged_images_are_reported_or_refused(source: Source, tmp_path: Path) -> None:
    Path(str(source.samples[3].path)).write_bytes(b"no image")
    hog, output = make_descriptor("hog", 32), tmp_path / "codes.h5"
    with pytest.raises(ImageError, match=rf"{source.samples[3].name}: not an image"):
        extract_baseline(source, hog, output, hashing=LSH, strict=True)
    report = extract_baseline(source, hog, output, hashing=LSH)
    assert (report.images, report.skipped) == (19, [(source.samples[3].name, "not an image")])
    assert "not an image" in (tmp_path / "codes.h5.skipped.csv").read_text()


def test_an_interrupted_run_goes_on(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PART", 8)
    monkeypatch.setattr(module, "_BLOCK", 2)
    whole, output = tmp_path / "whole" / "codes.h5", tmp_path / "codes.h5"
    hog = make_descriptor("hog", 32)
    extract_baseline(source, hog, whole, hashing=LSH)

    def stop(done: int, total: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_baseline(source, hog, output, hashing=LSH, on_progress=stop)
    for sample in source.samples[:16]:  # what is done is not read again
        Path(str(sample.path)).unlink()
    report = extract_baseline(source, hog, output, hashing=LSH)
    assert report.images == 20
    with CodeSet(whole) as one, CodeSet(output) as two:
        assert one.names == two.names and (one.codes == two.codes).all()


def test_words_are_learned_of_the_images_that_can_be_used(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    samples = [
        Sample(str(n), 0, pixels=rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
        for n in range(8)
    ]
    (tmp_path / "bad.png").write_bytes(b"no image")
    samples.append(Sample("bad.png", 0, path=str(tmp_path / "bad.png")))
    source = Source("noise", ["noise"], samples)
    one, two = make_descriptor("orb-vlad"), make_descriptor("orb-vlad")
    fit_descriptor(one, source)
    two.fit([sample.pixels for sample in samples[:8] if sample.pixels is not None])
    assert one.identity == two.identity
    report = extract_baseline(source, one, tmp_path / "codes.h5", hashing=LSH)
    assert (report.images, [name for name, _ in report.skipped]) == (8, ["bad.png"])


def noise(seed: int, count: int = 8) -> Source:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)
    return Source("noise", ["noise"], [Sample(str(n), 0, pixels=pixels[n]) for n in range(count)])


def test_words_of_the_same_images_are_learned_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[str] = []
    fit = Aggregated.fit

    def counted(self: Aggregated, *args: Any) -> None:
        fitted.append(self.name)
        fit(self, *args)

    monkeypatch.setattr(Aggregated, "fit", counted)
    cache, plain = Cache(tmp_path), make_descriptor("orb-vlad")
    fit_descriptor(plain, noise(0))

    def learned(name: str = "orb-vlad", size: int = 128, images: int = 0, **settings: Any) -> str:
        descriptor = make_descriptor(name, size)
        fit_descriptor(descriptor, noise(images), cache=cache, **settings)
        return descriptor.identity

    assert [learned(), learned()] == [plain.identity] * 2
    assert fitted == ["orb-vlad"] * 2  # one of them without a cache
    others = [learned(images=1), learned(size=96), learned(seed=1), learned("orb-fisher"),
              learned(images=0, seed=0)]  # fmt: skip
    assert len(set(others)) == 5 and others[-1] == plain.identity
    assert fitted[2:] == ["orb-vlad", "orb-vlad", "orb-vlad", "orb-fisher"]


def test_files_of_other_content_are_learned_from_anew(tmp_path: Path) -> None:
    cache, found = Cache(tmp_path / "cache"), []
    for seed in (0, 1, 0):
        for sample in noise(seed).samples:
            assert sample.pixels is not None
            Image.fromarray(sample.pixels).save(tmp_path / f"{sample.name}.png")
        source = Source(
            "files", ["noise"], [Sample(str(n), 0, str(tmp_path / f"{n}.png")) for n in range(8)]
        )
        descriptor = make_descriptor("orb-vlad")
        fit_descriptor(descriptor, source, cache=cache)
        found.append(descriptor.identity)
    assert found[0] == found[2] != found[1]
    assert len(list((tmp_path / "cache").rglob("*.h5"))) == 2


def test_what_cannot_be_done_is_said_before_the_images_are_read(
    source: Source, tmp_path: Path
) -> None:
    for sample in source.samples:
        Image.new("RGB", (4, 4)).save(str(sample.path))
    output, hog = tmp_path / "codes.h5", make_descriptor("hog", 32)
    with pytest.raises(DataError, match="ksh is learned from labels"):
        extract_baseline(source, hog, output, hashing=HashSettings("ksh", 8))
    with pytest.raises(DataError, match="20 images: pca of 20 bits"):
        extract_baseline(source, hog, output, hashing=HashSettings("pca", 20))
    with pytest.raises(DataError, match="has no words yet"):
        extract_baseline(source, make_descriptor("orb-bow"), output, hashing=LSH)
    made = extract_baseline(source, make_descriptor("lbp", 32), output, hashing=LSH)
    with pytest.raises(MismatchError, match="features of 944 values, the descriptor has 1764"):
        extract_baseline(source, hog, tmp_path / "other.h5", hashing=made.hash)
    assert not list(tmp_path.glob("other.h5*"))


def test_images_are_never_extracted_with_a_hash_of_labels(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="itq-cca is learned from labels"):
        coder_of(write_published(tmp_path), HashSettings("itq-cca", 4), 100)


def spread(count: int = 200, dim: int = 20) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(size=(count, dim)) * np.geomspace(4, 0.2, dim) + 1


@pytest.mark.parametrize("whiten", [False, True])
def test_compression_is_scikit_learns_pca(whiten: bool) -> None:
    features = spread()
    found = learn_compression(features, 6, whiten).apply(features)
    rows = features / np.linalg.norm(features, axis=1, keepdims=True)
    expected = PCA(6, whiten=whiten, svd_solver="full").fit_transform(rows)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    signs = np.sign((found * expected).sum(axis=0))
    assert found == pytest.approx(expected * signs, abs=1e-4)


def test_directions_are_those_that_can_be_kept() -> None:
    flat = np.pad(spread()[:, :4], ((0, 0), (0, 8)))
    for features in (flat, spread(), spread(5)):
        most = directions(features)
        assert learn_compression(features, most).dim == most
        with pytest.raises(DataError):
            learn_compression(features, most + 1)


def test_compression_of_more_than_there_is_is_refused() -> None:
    with pytest.raises(DataError, match="give 1 to 20"):
        learn_compression(spread(), 21)
    with pytest.raises(DataError, match="give 1 to 4"):
        learn_compression(spread(5), 5)
    with pytest.raises(DataError, match="vary in fewer than 6 directions"):
        learn_compression(np.pad(spread()[:, :4], ((0, 0), (0, 8))), 6)
    with pytest.raises(MismatchError, match=r"\(3, 21\).*\(N, 20\)"):
        learn_compression(spread(), 4).apply(np.zeros((3, 21)))


def test_a_compressed_code_file_differs_in_features_alone(source: Source, tmp_path: Path) -> None:
    hog = make_descriptor("hog", 32)
    extract_baseline(source, hog, tmp_path / "codes.h5", hashing=LSH)
    with CodeSet(tmp_path / "codes.h5") as codes:
        compression = learn_compression(codes.features(), 7)
        compress_codes(codes, compression, tmp_path / "small.h5")
        with CodeSet(tmp_path / "small.h5") as small:
            assert (small.names, small.dim, len(small)) == (codes.names, 7, 20)
            assert (small.codes == codes.codes).all() and (small.content == codes.content).all()
            expected = compression.apply(codes.features())
            assert small.features() == pytest.approx(expected, abs=1e-3)
            assert small.manifest["model"]["compression"]["sha256"] == compression.identity
            with pytest.raises(MismatchError, match="weights_sha256"):
                evaluate(codes, small)
