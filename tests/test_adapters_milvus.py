"""The suite of the indexes over Milvus, against a real server; and what needs none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latenthash.adapters.milvus import MilvusIndex, MilvusWriter, build_index
from latenthash.adapters.milvus import coarse as coarse_step
from latenthash.adapters.milvus.address import Address, parse
from latenthash.adapters.milvus.coarse import Answer, nearest
from latenthash.adapters.milvus.layouts import buckets_of
from latenthash.adapters.milvus.server import Server
from latenthash.adapters.milvus.text import clause, from_stored, to_stored
from latenthash.codes import CodeSet, Rows
from latenthash.errors import DataError, EngineError, MismatchError, StorageError
from latenthash.hamming import distances
from latenthash.index import Filter, LinearIndex, SearchOptions, open_index, parse_address
from latenthash.index.contents import Image
from milvus_server import MISSING, free_ports
from test_index import (
    CLASSES,
    DIM,
    OPTIONS,
    clustered,
    code_file,
    oracle,
    require_same,
    two_bit_rows,
)
from test_index import add as add_to_folder
from test_index import build as build_folder
from test_index import remove as remove_from_folder

ROOT = Path(__file__).resolve().parent.parent
NUMBERS = count()
EXACT = SearchOptions(top=100_000, exact=True)


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def build(milvus: str, folder: Path, rows: Rows, bits: int) -> str:
    """A new index; its address."""
    address = f"{milvus}set_{next(NUMBERS)}"
    with CodeSet(code_file(folder, rows, bits)) as codes:
        build_index(codes, address)
    return address


def add(address: str, folder: Path, rows: Rows, bits: int) -> None:
    with CodeSet(code_file(folder, rows, bits)) as codes, MilvusWriter(address) as writer:
        assert writer.add(codes).added == len(rows)


def remove(address: str, ids: Iterable[int]) -> int:
    with MilvusWriter(address) as writer:
        return writer.remove(ids)


# ---- without a server ----------------------------------------------------------------


def test_addresses() -> None:
    assert parse("milvus://host/set") == Address("host", 19530, "set")
    whole = "milvus://host:7/set_1?db=photos&secure=yes"
    assert parse(whole) == Address("host", 7, "set_1", "photos", True)
    assert str(parse(whole)) == whole
    assert parse(whole).uri == "https://host:7"


@pytest.mark.parametrize(
    ("text", "words"),
    [("milvus://h:1/", "no name of a collection"), ("milvus://h:1/a-b", "no name"),
     ("milvus://h:1/9a", "no name"), ("milvus://h:1/a/b", "no name"),
     ("milvus://h:x/a", "milvus"), ("milvus:///a", "no address"),
     ("milvus://h/a?tls=1", "no address"), ("milvus://me:secret@h/a", "TOKEN")],
)  # fmt: skip
def test_wrong_addresses_are_named(text: str, words: str) -> None:
    with pytest.raises(DataError, match=words) as raised:
        parse(text)
    assert "secret" not in str(raised.value)


def test_an_address_decides_which_index_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert parse_address("run/index") == Path("run/index")
    assert parse_address("milvus://h/a") == "milvus://h/a"
    with pytest.raises(DataError, match=r"unknown faiss://.*milvus://"):
        parse_address("faiss://h/a")
    with pytest.raises(DataError, match="no index there"):
        open_index(tmp_path / "nowhere")
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(EngineError, match="not installed - pip install"):
        open_index("milvus://127.0.0.1:1/a")


def test_the_library_imports_no_adapter_unasked() -> None:
    program = (
        "import sys, latenthash.index, latenthash.search\n"
        "loaded = [name for name in sys.modules if 'milvus' in name or 'adapters' in name]\n"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@given(st.binary(max_size=40), st.text(st.characters(codec="utf-8"), max_size=20))
def test_every_file_name_is_kept(raw: bytes, text: str) -> None:
    for name in (raw.decode(errors="surrogateescape"), text, f"{text}\uf780\uf7ff{text}"):
        stored = to_stored(name)
        stored.encode()  # valid
        assert from_stored(stored) == name


@given(st.integers(1, 200), st.integers(0, 2**32))
def test_buckets_are_equal_where_codes_are(bits: int, seed: int) -> None:
    codes = clustered(30, bits, seed).codes
    same = (codes[:, None] == codes[None]).all(axis=2)
    buckets = buckets_of(codes)
    assert ((buckets[:, None] == buckets[None]) == same).all()


def test_a_filter_in_milvus_words() -> None:
    wanted = Filter(labels=["b"], not_labels=[""], ids=[3, 1], names=["a/*", "b_c*"])
    said = clause(wanted, CLASSES)
    assert said.condition == (
        "(label in [1]) and (not (label in [-1])) and (id in [1,3]) and "
        '(name like "a/%" or name like "b%")'
    )
    assert said.passes is not None
    assert [said.passes(name) for name in ("a/1", "b_c", "bxc")] == [True, True, False]
    assert clause(None, CLASSES).condition == ""
    for impossible in (Filter(labels=[]), Filter(ids=[]), Filter(names=[])):
        assert clause(impossible, CLASSES).nothing
    with pytest.raises(DataError, match="no class 'c'"):
        clause(Filter(labels=["c"]), CLASSES)


class Careless:
    """What Milvus promises and no more: ties in any order, cut anywhere; strangers among them."""

    def __init__(self, codes: Any, passing: Any, stop: int, seed: int) -> None:
        self.codes, self.passing, self.stop = codes, passing, stop
        self.rng, self.asked = np.random.default_rng(seed), 0

    def __call__(self, codes: Sequence[bytes], first: int, stop: int, limit: int) -> list[Answer]:
        return [self.one(code, first, stop, limit) for code in codes]

    def one(self, code: bytes, first: int, stop: int, limit: int) -> Answer:
        self.asked += 1
        whole = (first, stop) == (0, self.stop) and limit < stop
        ids = np.arange(len(self.codes)) if whole else np.arange(first, stop)
        away = distances(np.frombuffer(code, np.uint8)[None], self.codes[ids])[0]
        best = np.lexsort((self.rng.random(len(ids)), away))[:limit]
        counts = (ids[best] < self.stop) & self.passing[ids[best]]
        last = int(away[best].max()) if len(best) else -1
        chosen = best[counts]
        numbers = ids[chosen].astype(np.int64)
        return Answer(first, stop, limit, numbers, numbers, away[chosen], len(best), last)


@settings(max_examples=150)
@given(
    images=st.integers(1, 120),
    strangers=st.integers(0, 40),
    bits=st.sampled_from([1, 4, 12, 70]),
    seed=st.integers(0, 2**32),
    share=st.sampled_from([0.0, 0.1, 0.6, 1.0]),
    radius=st.integers(0, 12),
    wanted=st.none() | st.integers(1, 130),
    cap=st.none() | st.integers(1, 130),
    most=st.integers(1, 40),
)
def test_the_last_ring_is_whole_however_milvus_cuts_it(
    images: int, strangers: int, bits: int, seed: int, share: float, radius: int,
    wanted: int | None, cap: int | None, most: int,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    codes = clustered(images + strangers, bits, seed).codes
    passing = rng.random(images + strangers) < share
    query, radius = clustered(1, bits, seed + 1).codes, min(radius, bits)
    ask = Careless(codes, passing, images, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coarse_step, "MOST_HITS", most)
        patch.setattr(coarse_step, "_LEAST", 1)
        [near] = nearest(ask, [query.tobytes()], images, radius, wanted, cap)
    ids = np.flatnonzero(passing[:images])
    away = distances(query, codes[ids])[0]
    order = np.lexsort((ids, away))
    reach = radius
    if wanted is not None and wanted < len(ids):
        reach = min(radius, int(away[order[wanted - 1]]))
    within = ids[order][: int((away <= reach).sum())]
    assert near.ids.tolist() == within[:cap].tolist()
    assert near.within == len(within)
    assert near.all == (len(near.ids) == len(ids))


# ---- against a server ----------------------------------------------------------------

PARTS, BITS = (40, 20, 25), 20
REMOVED = {3, 41, 59, 60, 84}


@pytest.fixture(scope="module")
def parts() -> list[Rows]:
    starts = np.cumsum([0, *PARTS]).tolist()
    return [clustered(size, BITS, start, start) for size, start in zip(PARTS, starts, strict=False)]


@pytest.fixture(scope="module")
def address(milvus: str, parts: list[Rows], tmp_path_factory: pytest.TempPathFactory) -> str:
    """An index that was built, added to twice, and has lost some images; nobody changes it."""
    folder = tmp_path_factory.mktemp("parts")
    address = build(milvus, folder, parts[0], BITS)
    for part in parts[1:]:
        add(address, folder, part, BITS)
    assert remove(address, [*REMOVED, 999]) == len(REMOVED)
    return address


@pytest.fixture(scope="module", params=["here", "milvus"])
def index(request: pytest.FixtureRequest, address: str) -> Iterator[MilvusIndex]:
    with MilvusIndex(address, request.param) as index:
        yield index


def require_answers(
    index: MilvusIndex, linear: LinearIndex, queries: Rows, options: SearchOptions
) -> None:
    found = index.search(queries.codes, queries.features, options)
    expected = linear.search(queries.codes, queries.features, options)
    everything = linear.search(
        queries.codes, queries.features, replace(EXACT, metric=options.metric)
    )
    for triple in zip(found, expected, everything, strict=True):
        require_same(*triple, one_segment=True)
    [single] = index.search(queries.codes[:1], queries.features[:1], options)
    assert single.ids.tolist() == found[0].ids.tolist()


@settings(max_examples=8)
@given(
    seed=st.integers(0, 2**32),
    most=st.sampled_from([8, coarse_step.MOST_HITS]),
    options=st.lists(OPTIONS, min_size=2, max_size=2),
)
def test_milvus_answers_as_the_oracle(
    index: MilvusIndex, parts: list[Rows], seed: int, most: int, options: list[SearchOptions]
) -> None:
    linear, queries = oracle(index, parts, REMOVED), clustered(3, BITS, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coarse_step, "MOST_HITS", most)
        for one in options:
            require_answers(index, linear, queries, one)


def test_top_5_is_a_prefix_of_top_15(index: MilvusIndex, parts: list[Rows]) -> None:
    queries = parts[1]
    fifteen = index.search(queries.codes, queries.features, SearchOptions(top=15))
    for top in (1, 5):
        for few, many in zip(
            index.search(queries.codes, queries.features, SearchOptions(top=top)),
            fifteen,
            strict=True,
        ):
            assert few.ids.tolist() == many.ids[:top].tolist()


def test_names_labels_and_stored_images_by_id(index: MilvusIndex, parts: list[Rows]) -> None:
    ids = np.array([39, 4, 45, 4], np.int64)
    rows = [parts[0], parts[0], parts[1], parts[0]]
    own = [39, 4, 5, 4]
    assert index.names(ids) == [part.names[at] for part, at in zip(rows, own, strict=True)]
    labels = [[*CLASSES, ""][part.labels[at]] for part, at in zip(rows, own, strict=True)]
    assert index.labels(ids) == labels
    assert index.paths(ids[:1]) == [None]
    codes, features = index.stored(ids)
    assert (codes == [part.codes[at] for part, at in zip(rows, own, strict=True)]).all()
    assert (features == [part.features[at] for part, at in zip(rows, own, strict=True)]).all()
    assert index.find_name("d/4.png") == 4
    assert index.find_name("é/41.png") is None
    assert index.find_name('no"bo\\dy') is None
    for wrong in (-1, 3, 85):
        with pytest.raises(DataError, match=f"no image with id {wrong}"):
            index.names(np.array([4, wrong]))
        with pytest.raises(DataError, match=f"no image with id {wrong}"):
            index.search_ids(np.array([wrong]), SearchOptions())


def test_images_of_the_index_find_themselves(index: MilvusIndex) -> None:
    assert len(index) == sum(PARTS) - len(REMOVED)
    ids = np.array([7, 50])
    for asked, hits in zip(ids, index.search_ids(ids, EXACT), strict=True):
        assert hits.distances[0] == 0
        assert asked in hits.ids[hits.distances == 0]
        assert not set(hits.ids.tolist()) & REMOVED
        assert list(hits.timings_ms) == ["coarse", "fine", "rank"]
        assert (hits.ways, hits.exact) == (("milvus",), True)


def test_it_is_whole_and_has_the_facts(index: MilvusIndex) -> None:
    index.verify()
    facts = index.manifest
    assert (facts["bits"], facts["dim"], facts["next_id"]) == (BITS, DIM, sum(PARTS))
    assert facts["images"] == len(index)
    assert facts["classes"] == CLASSES
    assert (index.model_folder / "deploy.prototxt").read_text() == "name: 'net'"
    assert not index.refresh()


def test_queries_that_do_not_fit_are_refused(index: MilvusIndex, parts: list[Rows]) -> None:
    rows, wide = parts[0], clustered(3, 32, 0)
    bad = rows.features.copy()
    bad[3, 2] = np.nan
    for codes, features, error, words in [
        (wide.codes, rows.features[:3], MismatchError, "codes of 3 bytes"),
        (rows.codes, rows.features[:, 1:], MismatchError, "has 3 and 4"),
        (rows.codes | 1, rows.features, MismatchError, "more than 20 bits"),
        (rows.codes, bad, DataError, "not finite"),
    ]:
        with pytest.raises(error, match=words):
            index.search(codes, features, SearchOptions())
    with pytest.raises(DataError, match="no class 'c'"):
        index.search(rows.codes, rows.features, SearchOptions(filter=Filter(labels=["c"])))


def test_nobody_answers(tmp_path: Path) -> None:
    if MISSING:
        pytest.skip(f"{' and '.join(MISSING)} not installed")
    [port] = free_ports(1)
    with pytest.raises(StorageError, match="no connection"):
        open_index(f"milvus://127.0.0.1:{port}/set")


def test_where_no_index_is(milvus: str) -> None:
    with pytest.raises(DataError, match="no index there"):
        open_index(f"{milvus}nothing")
    with pytest.raises(DataError, match="no index there"):
        MilvusWriter(f"{milvus}nothing")


def with_content(rows: Rows, first: int) -> Rows:
    content = np.zeros((len(rows), 32), np.uint8)
    content[:, 0] = np.arange(first, first + len(rows))
    return replace(rows, content=content)


@pytest.mark.slow
def test_a_change_is_seen_after_refresh_and_a_removal_at_once(milvus: str, tmp_path: Path) -> None:
    """Also what is the same content, and what a writer that died has left."""
    rows, more = with_content(clustered(30, 8, 0), 1), with_content(clustered(12, 8, 1, 30), 29)
    address = build(milvus, tmp_path, rows, 8)
    with MilvusIndex(address) as index:

        def found() -> list[int]:
            [hits] = index.search(rows.codes[:1], rows.features[:1], EXACT)
            return sorted(hits.ids.tolist())

        with CodeSet(code_file(tmp_path, more, 8)) as codes, MilvusWriter(address) as writer:
            with pytest.raises(KeyboardInterrupt):
                add_and_die_between_features_and_codes(writer, codes)
            assert found() == list(range(30))
            with pytest.raises(StorageError, match="rows for 30 images"):
                index.verify()
        with CodeSet(code_file(tmp_path, more, 8)) as codes, MilvusWriter(address) as writer:
            index.verify()  # the new writer has cleaned up
            done = writer.add(codes)
            assert done.added == 10
            assert [name for name, _ in done.duplicates] == more.names[:2]
            assert [other for _, other in done.duplicates] == rows.names[28:]
            assert found() == list(range(30))
            assert index.refresh()
            assert (len(index), found()) == (40, list(range(40)))
            assert writer.ids_of([more.names[2], rows.names[0]]) == [30, 0]
            assert writer.remove([0, 35]) == 2
            assert writer.remove([0, 35]) == 0
            assert found() == sorted(set(range(40)) - {0, 35})
        assert index.refresh()
        assert len(index) == 38
        index.verify()


def add_and_die_between_features_and_codes(writer: MilvusWriter, codes: CodeSet) -> None:
    """As a writer that is killed: nothing is taken back."""
    server = writer._server
    insert: Callable[..., None] = server.insert

    def stops(name: str, rows: list[Any]) -> None:
        if name.endswith("_codes"):
            raise KeyboardInterrupt
        insert(name, rows)

    server.insert = stops  # type: ignore[method-assign]
    writer._take_back = lambda: None  # type: ignore[method-assign]
    writer.add(codes)


@pytest.mark.slow
def test_a_feature_without_a_code_and_a_code_without_a_feature(milvus: str, tmp_path: Path) -> None:
    rows = two_bit_rows()
    address = build(milvus, tmp_path, rows, 2)
    with MilvusIndex(address) as index, Server(parse(address)) as raw:
        raw.delete(index.manifest["codes"], [0])  # a removal that was cut short
        raw.count(index.manifest["codes"])
        [hits] = index.search(rows.codes[:1], rows.features[:1], EXACT)
        assert hits.ids.tolist() == [1, 2, 3]
        with pytest.raises(StorageError, match="4 rows for 3 images"):
            index.verify()
        with MilvusWriter(address) as writer:
            writer.compact()
        index.verify()
        raw.delete(index.manifest["features"], [2])
        raw.count(index.manifest["features"])
        with pytest.raises(StorageError, match="image 2 has a code and no feature"):
            index.search(rows.codes[:1], rows.features[:1], EXACT)
        with pytest.raises(StorageError, match="image 2: it has a code and no feature"):
            index.verify()
        assert remove(address, [2]) == 1
        index.verify()


@pytest.mark.slow
@settings(max_examples=60)
@given(options=st.lists(OPTIONS, min_size=2, max_size=2), seed=st.integers(0, 2**32))
def test_milvus_answers_as_the_oracle_many_times(
    index: MilvusIndex, parts: list[Rows], seed: int, options: list[SearchOptions]
) -> None:
    linear, queries = oracle(index, parts, REMOVED), clustered(3, BITS, seed)
    for one in options:
        require_answers(index, linear, queries, one)


@pytest.mark.slow
@pytest.mark.parametrize("bits", [1, 7, 8, 48, 64, 65, 128, 1024])
def test_any_width(milvus: str, tmp_path: Path, bits: int) -> None:
    rows, queries = clustered(60, bits, bits), clustered(3, bits, 1)
    with MilvusIndex(build(milvus, tmp_path, rows, bits)) as index:
        linear = oracle(index, [rows])
        for options in (
            SearchOptions(candidates=9),
            SearchOptions(radius=bits // 4, metric="chi2"),
            SearchOptions(candidates=20, max_candidates=20, metric="cosine"),
            EXACT,
        ):
            require_answers(index, linear, queries, options)


@pytest.mark.slow
def test_built_again_it_serves_the_old_one_until_the_new_is_whole(
    milvus: str, tmp_path: Path
) -> None:
    rows, other = clustered(30, 8, 0), clustered(20, 16, 1)
    address = build(milvus, tmp_path, rows, 8)
    with Server(parse(address)) as raw:
        before = set(raw.collections())

        def fails(done: int, total: int) -> None:
            raise KeyboardInterrupt

        with CodeSet(code_file(tmp_path, other, 16)) as codes:
            with pytest.raises(KeyboardInterrupt):
                build_index(codes, address, fails)
            assert set(raw.collections()) == before
            with MilvusIndex(address) as index:
                assert (index.bits, len(index)) == (8, 30)
                build_index(codes, address)
                with pytest.raises(StorageError, match="open it again"):
                    index.search(rows.codes[:1], rows.features[:1], SearchOptions())
                assert index.refresh()
                assert (index.bits, len(index)) == (16, 20)
                index.verify()
        assert len(set(raw.collections())) == len(before)


@pytest.mark.slow
def test_large_enough_for_an_index_of_its_own(milvus: str, tmp_path: Path) -> None:
    """Sealed segments: codes and features come from Milvus' indexes, not from what grows."""
    rows, queries = clustered(12_000, 32, 5), clustered(5, 32, 6)
    with MilvusIndex(build(milvus, tmp_path, rows, 32), "milvus") as index:
        linear = oracle(index, [rows])
        for options in (SearchOptions(top=50), SearchOptions(top=50, candidates=5000, metric="l1")):
            require_answers(index, linear, queries, options)


@pytest.mark.slow
def test_contents_are_those_of_a_folder(address: str, parts: list[Rows], tmp_path: Path) -> None:
    """What the web system lists: the same from Milvus and from a folder."""
    build_folder(tmp_path, parts[0], BITS)
    for part in parts[1:]:
        add_to_folder(tmp_path, part, BITS)
    remove_from_folder(tmp_path, REMOVED)
    with open_index(tmp_path / "index") as folder, open_index(address) as remote:
        one, other = folder.contents, remote.contents
        assert one.label_counts() == other.label_counts()
        for label in (None, -1, 0, 1, 7):
            assert one.ids(label).tolist() == other.ids(label).tolist()
        for only in (None, {4, 7, 3, 999}):
            pairs = zip(one.images(only), other.images(only), strict=True)
            assert all(as_tuple(a) == as_tuple(b) for a, b in pairs)
        ids = np.array([84, 0, 50, 3], np.int64)
        assert [one.has(n) for n in ids.tolist()] == [other.has(n) for n in ids.tolist()]
        assert (one.packed(ids[1:3]) == other.packed(ids[1:3])).all()
        code, away = parts[1].codes[2], np.arange(BITS + 1, dtype=np.uint16)
        for wanted in (None, Filter(labels=["a"]), Filter(names=["d/*"]), Filter(ids=[])):
            expected = one.nearer(code, away, wanted).tolist()
            assert other.nearer(code, away, wanted).tolist() == expected
        assert one.find_content(bytes(31) + b"x") is other.find_content(bytes(31) + b"x") is None


def as_tuple(image: Image) -> tuple[Any, ...]:
    return image.number, image.name, image.label, image.code.tobytes(), image.content
