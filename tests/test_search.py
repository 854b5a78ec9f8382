from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latenthash.codes import CodeSet, CodeWriter
from latenthash.distances import l2
from latenthash.engines import get_engine
from latenthash.errors import DataError, EngineError, ImageError, MismatchError
from latenthash.extract import extract
from latenthash.hamming import Codes
from latenthash.index import Filter, SearchOptions, build_index
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
    assert list(report["coarse"]) == [
        "radius", "buckets", "candidates", "exact", "left_out", "ways"
    ]  # fmt: skip
    assert list(report["hits"][0]) == [
        "rank", "name", "label", "hamming", "distance", "near_copies"
    ]  # fmt: skip
    assert list(report["timings_ms"]) == ["decode", "encode", "coarse", "fine", "rank", "names"]


def index_with(folder: Path, codes: Codes) -> Path:
    """The index, but its images have these codes (one, or as many as there are images)."""
    with CodeSet(folder / "codes.h5") as old:
        rows = old.rows(0, len(old))
        with CodeWriter(folder / "changed.h5", old.bits, old.dim, len(old)) as writer:
            writer.append(replace(rows, codes=np.broadcast_to(codes, rows.codes.shape)))
            writer.finish(old.manifest)
    with CodeSet(folder / "changed.h5") as changed:
        return build_index(changed, folder / "index")


def test_nothing_within_the_radius_says_so(folder: Path) -> None:
    with CodeSet(folder / "codes.h5") as codes:
        far = ~codes.codes & np.array([0xFF, 0xF0], np.uint8)
    with Searcher(index_with(folder, far), get_engine("fake")) as searcher:
        answer = searcher.search(folder / "images/red/0.png", SearchOptions(radius=0))
    assert answer.hits == []
    assert "radius 0" in answer.warnings[0]


def test_nothing_that_passes_the_filter_says_so(folder: Path) -> None:
    with Searcher(folder / "index", None) as searcher:
        wanted = SearchOptions(filter=Filter(names=["nobody*"]))
        answer = searcher.search_name("red/0.png", wanted)
    assert answer.hits == []
    assert "passes the filter" in answer.warnings[0]


def test_collapsed_codes_are_told_of(folder: Path) -> None:
    collapsed = index_with(folder, np.zeros(2, np.uint8))
    with Searcher(collapsed, get_engine("fake")) as searcher:
        options = SearchOptions(top=1, candidates=1)
        answer = searcher.search(folder / "images/red/0.png", options)
        assert answer.candidates == 40
        [crowded] = answer.warnings
        assert "100% of all images" in crowded
        capped = replace(options, max_candidates=30)
        answer = searcher.search(folder / "images/red/0.png", capped)
        assert (answer.candidates, answer.exact) == (30, False)
        crowded, cut = answer.warnings
        assert "100% of all images" in crowded
        assert cut.startswith("10 images within reach were not compared")
        exact = replace(capped, exact=True)
        assert searcher.search(folder / "images/red/0.png", exact).warnings == []


def test_by_name_it_finds_what_it_finds_by_file(folder: Path) -> None:
    options = SearchOptions(top=7)
    with Searcher(folder / "index", get_engine("fake")) as searcher:
        by_file = searcher.search(folder / "images/red/3.png", options)
        by_name = searcher.search_name("red/3.png", options)
        assert by_name.hits == by_file.hits
        assert (by_name.query, by_name.code) == ("red/3.png", by_file.code)
        assert list(by_name.timings_ms) == ["lookup", "coarse", "fine", "rank", "names"]
        with pytest.raises(DataError, match=r"no image named 'red/99\.png'"):
            searcher.search_name("red/99.png")


def test_without_an_engine_only_names_are_searched(folder: Path) -> None:
    (folder / "model/small.caffemodel").unlink()
    with Searcher(folder / "index", None, ram=0) as searcher:
        only_blue = SearchOptions(filter=Filter(labels=["blue"]))
        answer = searcher.search_name("red/3.png", only_blue)
        assert {hit.label for hit in answer.hits} == {"blue"}
        with pytest.raises(EngineError, match=r"red/3\.png: no network"):
            searcher.search(folder / "images/red/3.png")


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
