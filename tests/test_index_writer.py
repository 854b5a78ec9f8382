"""Adding, removing, compacting: against a dictionary that does the same."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latenthash.codes import CodeSet
from latenthash.errors import DataError, MismatchError, StorageError
from latenthash.index import build_index
from latenthash.index.bucket import IndexWriter
from latenthash.index.bucket.generation import open_generation
from latenthash.index.bucket.verify import verify
from numbered import BITS, CLASSES, MEMORY, build, code_file, contents, files, image, left_over


def add(folder: Path, numbers: list[int], **facts: object) -> list[tuple[str, str]]:
    with (
        CodeSet(code_file(folder.with_name("more.h5"), numbers, **facts)) as codes,  # type: ignore[arg-type]
        IndexWriter(folder) as writer,
    ):
        report = writer.add(codes)
        assert report.added + len(report.duplicates) == len(numbers)
        assert report.generation == open_generation(folder).number
    return report.duplicates


_STEP = st.one_of(
    st.tuples(st.just("add"), st.lists(st.integers(0, 60), min_size=1, max_size=12, unique=True)),
    st.tuples(st.just("remove"), st.lists(st.integers(0, 50), max_size=20)),
    st.tuples(st.just("compact"), st.just([])),
    st.tuples(st.just("build"), st.lists(st.integers(0, 60), min_size=1, unique=True)),
)


@settings(max_examples=25, deadline=None)
@given(first=st.lists(st.integers(0, 60), min_size=1, max_size=30, unique=True),
       steps=st.lists(_STEP, max_size=8))  # fmt: skip
def test_changes_do_what_a_dictionary_does(
    first: list[int], steps: list[tuple[str, list[int]]]
) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as place:
        folder = build(Path(place), first)
        known, next_id = dict(enumerate(first)), len(first)
        for what, numbers in steps:
            before = open_generation(folder)
            if what == "add":
                duplicates = add(folder, numbers)
                held = set(known.values())
                same = [image(number)[0] for number in numbers if number in held]
                assert duplicates == [(name, name) for name in same]
                new = [number for number in numbers if number not in held]
                known.update(enumerate(new, start=next_id))
                next_id += len(new)
            elif what == "build":
                build(Path(place), numbers)
                known, next_id = dict(enumerate(numbers)), len(numbers)
            else:
                with IndexWriter(folder) as writer:
                    if what == "remove":
                        assert writer.remove(numbers) == len(set(numbers) & set(known))
                        known = {key: n for key, n in known.items() if key not in numbers}
                    else:
                        assert len(writer.compact().segments) == bool(known)
            now = verify(folder)
            expected = {number: image(known[number]) for number in known}
            assert contents(now) == expected
            assert now.images == len(known)
            assert left_over(folder, now) == set()
            assert now.number >= before.number


def test_a_reader_keeps_the_generation_that_it_opened(tmp_path: Path) -> None:
    folder = build(tmp_path, range(30))
    old = open_generation(folder)
    with IndexWriter(folder) as writer:
        writer.remove(range(20))
        writer.compact()
    assert not old.segments[0].folder.exists()
    assert contents(old) == {number: image(number) for number in range(30)}
    assert contents(open_generation(folder)) == {n: image(n) for n in range(20, 30)}


@pytest.mark.parametrize("storage", ["float32", "float16", "int8"])
def test_every_storage_survives_every_change(tmp_path: Path, storage: str) -> None:
    folder = build(tmp_path, range(40), storage)
    before = contents(open_generation(folder))
    add(folder, list(range(40, 60)))
    with IndexWriter(folder) as writer:
        writer.remove([3, 50])
        generation = writer.compact()
    verify(folder)
    [segment] = generation.segments
    steps = 0 if segment.scale is None else np.abs(segment.scale).max()
    for number, (*facts, feature) in contents(generation).items():
        assert facts == [*image(number)[:4]]
        # outliers may be cut off at 40 % of the largest value; all else is off by a step
        assert np.abs(np.array(feature) - image(number)[4]).max() <= (60 if steps else 0)
        if number < 40:
            assert np.abs(np.array(feature) - before[number][4]).max() <= steps


def test_same_content_is_reported_not_stored(tmp_path: Path) -> None:
    folder = build(tmp_path, [1, 2, 3])
    assert add(folder, [2, 9]) == [("2.png", "2.png")]
    assert add(folder, [2, 9]) == [("2.png", "2.png"), ("9.png", "9.png")]
    with IndexWriter(folder) as writer:
        writer.remove([1])
    assert add(folder, [2]) == []  # it was removed, so it is new again
    assert sorted(contents(open_generation(folder))) == [0, 2, 3, 4]


def test_same_content_within_the_new_set_and_unknown_content(tmp_path: Path) -> None:
    folder = build(tmp_path, [1])
    path = code_file(tmp_path / "more.h5", [5, 6, 7, 8])
    with h5py.File(path, "r+") as file:
        file["content"][1] = file["content"][0]
        file["content"][2:] = 0
    with CodeSet(path) as codes, IndexWriter(folder) as writer:
        report = writer.add(codes)
    assert (report.added, report.duplicates) == (3, [("6.png", "5.png")])


def test_a_taken_name_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    folder = build(tmp_path, range(100))
    path = code_file(tmp_path / "more.h5", [200, 201])
    with h5py.File(path, "r+") as file:
        file["names"][1] = "77.png"
    before = files(folder)
    with CodeSet(path) as codes, IndexWriter(folder) as writer:
        with pytest.raises(DataError, match=r"77\.png"):
            writer.add(codes)
        writer.remove([77])
        assert writer.add(codes).added == 2
    assert before <= files(folder)


def test_new_classes_are_appended_and_labels_follow(tmp_path: Path) -> None:
    folder = build(tmp_path, [0, 1, 2])
    add(folder, [3, 4, 5], classes=["z", *reversed(CLASSES)])
    generation = open_generation(folder)
    assert generation.manifest["classes"] == [*CLASSES, "z"]
    assert contents(generation) == {number: image(number) for number in range(6)}


def test_images_from_elsewhere_keep_their_full_path(tmp_path: Path) -> None:
    folder = build(tmp_path, [0], root="/photos")
    add(folder, [1], root="/photos")
    add(folder, [2], root="/more")
    names = [one[0] for one in contents(open_generation(folder)).values()]
    assert names == ["0.png", "1.png", "/more/2.png"]


@pytest.mark.parametrize(
    ("facts", "what"),
    [({"bits": BITS + 1}, "bits 21 instead of 20"), ({"dim": 7}, "dim 7 instead of 6"),
     ({"model": {"weights_sha256": "1"}}, "weights_sha256 '1' instead of '0'")],
)  # fmt: skip
def test_codes_of_another_network_are_refused(
    tmp_path: Path, facts: dict[str, object], what: str
) -> None:
    folder = build(tmp_path, [0, 1])
    with pytest.raises(MismatchError, match=what):
        add(folder, [2], **facts)
    assert open_generation(folder).number == 1


def test_a_second_writer_is_told_who_is_at_work(tmp_path: Path) -> None:
    folder = build(tmp_path, [0, 1])
    script = (
        "import sys, pathlib\nfrom latenthash.index.bucket import IndexWriter\n"
        "with IndexWriter(pathlib.Path(sys.argv[1])):\n print('in', flush=True)\n input()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", script, str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert other.stdout is not None and other.stdout.readline() == "in\n"
    with pytest.raises(StorageError, match=f"process {other.pid}"), IndexWriter(folder):
        pass
    with pytest.raises(StorageError, match=f"process {other.pid}"):
        build(tmp_path, [5])
    other.kill()
    other.communicate()
    with IndexWriter(folder) as writer:  # the kernel has freed the lock
        assert writer.remove([0]) == 1


def test_no_change_makes_no_generation(tmp_path: Path) -> None:
    folder = build(tmp_path, [0, 1])
    with IndexWriter(folder) as writer:
        assert writer.remove([7, -1]) == 0
        assert writer.compact().number == 1
    add(folder, [0, 1])
    assert open_generation(folder).number == 1


def test_progress_reaches_its_end(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    with CodeSet(code_file(tmp_path / "codes.h5", range(50))) as codes:
        build_index(codes, tmp_path / "index", on_progress=lambda *at: seen.append(at))
    assert seen[-1] == (50, 50)
    assert seen == sorted(seen)


def test_writing_to_no_index_makes_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no index there"), IndexWriter(tmp_path / "none"):
        pass
    assert files(tmp_path) == set()


def test_a_failed_build_leaves_what_was_there(tmp_path: Path) -> None:
    with CodeSet(code_file(tmp_path / "codes.h5", [1, 2])) as codes:
        (tmp_path / "deploy.prototxt").unlink()
        mine = tmp_path / "mine"
        (mine / "model").mkdir(parents=True)
        for place, what in ((tmp_path / "new", "no such file"), (mine, "is no index")):
            with pytest.raises(DataError, match=what):
                build_index(codes, place)
    assert not (tmp_path / "new").exists()
    assert (mine / "model").is_dir()


@pytest.mark.parametrize("what", ["manifest.json", "segments/000001/offsets.npy"])
def test_building_over_a_damaged_index_replaces_it(tmp_path: Path, what: str) -> None:
    folder = build(tmp_path, range(5))
    (folder / what).write_text("{")
    build(tmp_path, range(5, 9))
    generation = verify(folder)
    assert contents(generation) == {number: image(number + 5) for number in range(4)}
    assert generation.number == 2
    assert left_over(folder, generation) == set()


def test_an_unknown_storage_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="float64"):
        build(tmp_path, range(5), "float64")
    assert not (tmp_path / "index").exists()
