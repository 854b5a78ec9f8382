from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from latenthash.codes import CodeSet
from latenthash.index import BucketIndex, SearchOptions, build_index
from latenthash.index.duplicates import fold
from latenthash.index.folding import folded_into, search_folded
from test_index_tool import code_file, rows

COUNT = 40


@pytest.fixture
def index(tmp_path: Path) -> BucketIndex:
    """40 images; the first 30 have a near-copy each, image 0 has thirty."""
    content = rows(COUNT, 0, copies=30)
    features = np.concatenate([content.features, np.repeat(content.features[:1], 29, axis=0)])
    more = rows(COUNT + 59, 0)
    codes = np.concatenate([content.codes, np.repeat(content.codes[:1], 29, axis=0)])
    whole = type(content)(more.names, more.labels, features, codes, more.content)
    with CodeSet(code_file(tmp_path / "codes.h5", whole)) as opened:
        return BucketIndex(build_index(opened, tmp_path / "index"))


@pytest.mark.parametrize("top", [1, 3, 8, 39, 40, 200])
@pytest.mark.parametrize("options", [SearchOptions(candidates=None), SearchOptions(candidates=20)])
def test_hits_are_the_leaders_of_all_candidates(
    index: BucketIndex, top: int, options: SearchOptions
) -> None:
    """Whatever is fetched first, the answer is that of folding every candidate."""
    for query in (0, 5, 35):
        [code], [feature] = index.stored(np.array([query]))
        everything = SearchOptions(top=1000, candidates=options.candidates)
        [all_hits] = index.search(code[None], feature[None], everything)
        leaders = fold(index.stored(all_hits.ids)[1])
        known = all_hits.ids[np.unique(leaders)[:top]]
        wanted = SearchOptions(top=top, candidates=options.candidates)
        found, copies = search_folded(index, code, feature, wanted)
        assert found.ids.tolist() == known.tolist()
        assert len(found.hamming) == len(found.distances) == len(copies) == len(known)
        assert found.candidates == all_hits.candidates
        total = np.array([(leaders == leader).sum() - 1 for leader in np.unique(leaders)[:top]])
        assert (copies <= total).all()
        if top == 200:
            assert copies.tolist() == total.tolist()
            assert len(found.ids) + copies.sum() == len(all_hits.ids)


@pytest.mark.parametrize("top", [1, 8, 200])
def test_what_folds_into_a_hit_is_listed_once(index: BucketIndex, top: int) -> None:
    """As many as were counted; of all hits together, with them, all that was found."""
    options = SearchOptions(top=top, candidates=None)
    [code], [feature] = index.stored(np.array([0]))
    found, copies = search_folded(index, code, feature, options)
    listed = [folded_into(index, code, feature, options, hit) for hit in found.ids.tolist()]
    assert [len(hits.ids) for hits in listed] == copies.tolist()
    everything = np.concatenate([found.ids, *(hits.ids for hits in listed)])
    assert len(np.unique(everything)) == len(everything)
    for hits in listed:
        order = np.lexsort((hits.ids, hits.distances))
        assert order.tolist() == list(range(len(order)))
        assert len(hits.hamming) == len(hits.ids)
    if top == 200:
        assert len(everything) == len(index)
        assert set(listed[0].ids.tolist()) == {COUNT, *range(COUNT + 30, COUNT + 59)}
    copy = int(listed[0].ids[0])
    assert len(folded_into(index, code, feature, options, copy).ids) == 0
    assert len(folded_into(index, code, feature, options, 10**6).ids) == 0


def test_nothing_found_folds_to_nothing(index: BucketIndex) -> None:
    [code], [feature] = index.stored(np.array([0]))
    found, copies = search_folded(index, code, feature + 1, SearchOptions(max_distance=0.0))
    assert (len(found.ids), len(copies)) == (0, 0)
    nothing = folded_into(index, code, feature + 1, SearchOptions(max_distance=0.0), 0)
    assert len(nothing.ids) == 0
