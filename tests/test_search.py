from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from latenthash.codes import CodeSet
from latenthash.distances import l2
from latenthash.engines import get_engine
from latenthash.errors import DataError, ImageError, MismatchError
from latenthash.extract import extract
from latenthash.index import SearchOptions, build_index
from latenthash.search import Searcher
from latenthash.sources import open_source
from small import BITS, write_images, write_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Holds images/, model/, codes.h5 and index/."""
    model = write_model(tmp_path / "model")
    images = write_images(tmp_path / "images", per_class=20)
    extract(open_source(images), model, get_engine("fake"), tmp_path / "codes.h5")
    with CodeSet(tmp_path / "codes.h5") as codes:
        build_index(codes, tmp_path / "index")
    return tmp_path


def test_an_image_of_the_index_finds_itself_first(folder: Path) -> None:
    with Searcher(folder / "index", get_engine("fake")) as searcher:
        answer = searcher.search(folder / "images/red/7.png")
        first = answer.hits[0]
        assert (first.rank, first.name, first.label) == (1, "red/7.png", "red")
        assert (first.hamming, first.distance) == (0, 0.0)
        assert searcher.image_path(first.name) == folder / "images/red/7.png"
        assert len(answer.code) == BITS
        assert set(answer.code) <= {"0", "1"}
        assert [hit.rank for hit in answer.hits] == list(range(1, 11))


def test_hits_equal_a_scan_of_the_code_file(folder: Path) -> None:
    with CodeSet(folder / "codes.h5") as codes:
        names, features = codes.names, codes.features()
    query = features[names.index("blue/3.png")]
    expected = [names[row] for row in np.argsort(l2(query, features), kind="stable")[:5]]
    with Searcher(folder / "index", get_engine("fake")) as searcher:
        answer = searcher.search(folder / "images/blue/3.png", SearchOptions(top=5))
    assert [hit.name for hit in answer.hits] == expected


def test_json_has_the_documented_keys(folder: Path) -> None:
    with Searcher(folder / "index", get_engine("fake")) as searcher:
        report = searcher.search(folder / "images/red/0.png", SearchOptions(top=1)).to_json()
    assert list(report) == ["query", "code", "coarse", "hits", "timings_ms", "warnings"]
    assert list(report["coarse"]) == ["radius", "buckets", "candidates"]
    assert list(report["hits"][0]) == ["rank", "name", "label", "hamming", "distance"]
    assert list(report["timings_ms"]) == ["decode", "encode", "coarse", "fine", "names"]


def test_nothing_within_the_radius_says_so(folder: Path) -> None:
    with Searcher(folder / "index", get_engine("fake")) as searcher:
        padding = np.array([0xFF, 0xF0], np.uint8)
        searcher.index._buckets = ~np.asarray(searcher.index._buckets) & padding
        answer = searcher.search(folder / "images/red/0.png", SearchOptions(radius=0))
    assert answer.hits == []
    assert "radius 0" in answer.warnings[0]


def test_collapsed_codes_are_told_of(folder: Path) -> None:
    with Searcher(folder / "index", get_engine("fake")) as searcher:
        searcher.index._buckets = np.zeros_like(searcher.index._buckets)
        answer = searcher.search(folder / "images/red/0.png", SearchOptions(top=1, candidates=1))
    assert answer.candidates == 40
    assert "100% of all images" in answer.warnings[0]


def test_a_bad_query_is_named_by_its_reason(folder: Path) -> None:
    (folder / "note.jpg").write_text("not a picture")
    with Searcher(folder / "index", get_engine("fake")) as searcher:
        with pytest.raises(ImageError, match="not an image"):
            searcher.search(folder / "note.jpg")
        with pytest.raises(ImageError, match="no such file"):
            searcher.search(folder / "nowhere.jpg")


def test_changed_weights_are_refused(folder: Path) -> None:
    write_model(folder / "model", seed=5)
    with pytest.raises(MismatchError, match=r"small\.caffemodel: changed"):
        Searcher(folder / "index", get_engine("fake"))


def test_no_index_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        Searcher(tmp_path / "nowhere", get_engine("fake"))
