from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import ArrayLike

from coded import code_file, labels_of
from latenthash.codes import CodeSet
from latenthash.errors import DataError, MismatchError
from latenthash.evaluate import PROTOCOLS, Choices, Pool, choose
from latenthash.evaluate.protocols import Plan

ROOT = Path(__file__).resolve().parent.parent
CIFAR = list("abcdefghij")
SMALL = Choices(other_data=True)


class Files:
    """Pools of code files with these labels."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.opened: list[CodeSet] = []

    def pool(self, *labels: ArrayLike, classes: list[str] = CIFAR) -> Pool:
        for number, of in enumerate(labels):
            path = code_file(self.folder / f"{number}.h5", of, number, classes=classes)
            self.opened.append(CodeSet(path))
        return Pool(*self.opened[-len(labels) :])


@pytest.fixture
def files(tmp_path: Path):
    made = Files(tmp_path)
    yield made
    for codes in made.opened:
        codes.close()


def plan(name: str, pool: Pool, choices: Choices = SMALL) -> Plan:
    return choose(PROTOCOLS[name], pool, choices)


def test_cifar10_is_what_it_says_and_nothing_else(files: Files) -> None:
    train, test = labels_of(*[5000] * 10), labels_of(*[1000] * 10)
    pool = files.pool(train, test)
    made = plan("cifar10", pool, Choices())
    [task] = made.tasks.values()
    assert task.database.tolist() == list(range(50_000))
    assert task.queries.tolist() == list(range(50_000, 60_000))
    assert (made.facts["name"], made.facts["differs"]) == ("cifar10", "")

    made = plan("cifar10-1000", pool, Choices(seed=3))
    [task] = made.tasks.values()
    assert np.bincount(pool.labels[task.queries]).tolist() == [100] * 10
    assert (task.queries >= 50_000).all()
    assert sorted([*task.queries, *task.database]) == list(range(60_000))
    assert made.facts["name"] == "cifar10-1000"
    other = plan("cifar10-1000", pool, Choices(seed=4)).tasks["all"]
    assert not np.array_equal(other.queries, task.queries)

    with pytest.raises(DataError, match="not the data of protocol mnist: database: 50,000 images"):
        plan("mnist", pool, Choices())


def test_mnist_is_known_by_the_images_of_each_class(files: Files) -> None:
    # as the files of the set have them, digits 0 to 9
    train = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    test = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    made = plan("mnist", files.pool(labels_of(*train), labels_of(*test)), Choices())
    assert (made.facts["name"], made.facts["differs"]) == ("mnist", "")


def test_other_data_are_refused_or_named_so(files: Files) -> None:
    pool = files.pool(labels_of(*[6] * 10), labels_of(*[3] * 9, 4))
    for name in ("cifar10", "cifar10-1000", "cifar10-unseen"):
        with pytest.raises(DataError, match=rf"not the data of protocol {name}: .*--other-data"):
            plan(name, pool, Choices())
    made = plan("cifar10", pool)
    assert made.facts == {
        "name": "cifar10 (other data)",
        "differs": "database: 60 images (10 classes of 6) instead of 50,000 images (10 classes "
        "of 5,000); queries: 31 images (10 classes of 3 to 4) instead of 10,000 images "
        "(10 classes of 1,000)",
    }


def test_swapped_files_are_refused(files: Files) -> None:
    pool = files.pool(labels_of(*[1000] * 10), labels_of(*[5000] * 10))
    with pytest.raises(DataError, match="database: 10,000 images"):
        plan("cifar10", pool, Choices())


def test_unseen_classes_ask_among_themselves_and_among_all(files: Files) -> None:
    pool = files.pool(labels_of(*[6] * 10), labels_of(*[3] * 10))
    choices = Choices(other_data=True, seen=list("abcdefg"))
    made = plan("cifar10-unseen", pool, choices)
    assert list(made.tasks) == ["unseen", "whole_database"]
    for task in made.tasks.values():
        assert set(pool.labels[task.queries].tolist()) == {7, 8, 9}
        assert len(task.queries) == 9
    assert set(pool.labels[made.tasks["unseen"].database].tolist()) == {7, 8, 9}
    assert len(made.tasks["unseen"].database) == 18
    assert made.tasks["whole_database"].database.tolist() == list(range(60))
    assert made.facts["seen"] == list("abcdefg")
    assert made.facts["unseen"] == ["h", "i", "j"]
    assert made.facts["seen_known_from"] == "given"


@pytest.mark.parametrize(
    ("seen", "words"),
    [(list("abz"), r"--seen z: no such class - there are a, b"), (CIFAR, "trained on all classes")],
)
def test_wrong_seen_classes(files: Files, seen: list[str], words: str) -> None:
    pool = files.pool(labels_of(*[6] * 10), labels_of(*[3] * 10))
    with pytest.raises(DataError, match=words):
        plan("cifar10-unseen", pool, Choices(other_data=True, seen=seen))


def test_unknown_training_asks_for_the_seen_classes(files: Files) -> None:
    pool = files.pool(labels_of(*[6] * 10), labels_of(*[3] * 10))
    with pytest.raises(DataError, match=r"is unknown: .* --seen CLASS,CLASS"):
        plan("cifar10-unseen", pool)


def test_unseen_classes_that_nobody_has(files: Files) -> None:
    pool = files.pool(labels_of(*[6] * 9), labels_of(*[3] * 9))  # none of class j
    with pytest.raises(DataError, match="0 queries and 0 images to rank"):
        plan("cifar10-unseen", pool, Choices(other_data=True, seen=CIFAR[:9]))


def test_forty_images_of_the_library_ask_it(files: Files) -> None:
    pool = files.pool(labels_of(30, 30))
    made = plan("caltech101-40", pool)
    [task] = made.tasks.values()
    assert len(set(task.queries.tolist())) == 40
    assert task.database.tolist() == list(range(60))
    assert made.facts["queries_are_ranked_too"] is True
    assert made.facts["name"] == "caltech101-40 (other data)"
    assert made.facts["differs"] == "60 images of 2 classes instead of 8,677 of 101"
    with pytest.raises(DataError, match="39 images, 40 are drawn"):
        plan("caltech101-40", files.pool(labels_of(39)))


def test_caltech_itself(files: Files) -> None:
    counts = [80] * 100 + [677]
    pool = files.pool(labels_of(*counts), classes=[str(number) for number in range(101)])
    assert plan("caltech101-40", pool, Choices()).facts["name"] == "caltech101-40"


def test_a_folder_is_split_within_each_class(files: Files) -> None:
    pool = files.pool(labels_of(40, 10, 1))
    made = plan("folder", pool, Choices(seed=2, query_share=0.2))
    [task] = made.tasks.values()
    assert np.bincount(pool.labels[task.queries], minlength=3).tolist() == [8, 2, 0]
    assert sorted([*task.queries, *task.database]) == list(range(51))
    assert made.facts == {"name": "folder", "differs": "", "query_share": 0.2}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_says_how_many_files_it_takes(files: Files, name: str) -> None:
    one, two = files.pool(labels_of(30, 30)), files.pool(labels_of(30, 30), labels_of(5, 5))
    wrong, words = (one, "give --queries") if PROTOCOLS[name].files == 2 else (two, "leave out")
    with pytest.raises(DataError, match=f"protocol {name} - .*{words}"):
        plan(name, wrong)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_is_documented(name: str) -> None:
    page = (ROOT / "docs/protocols.md").read_text()
    assert f"\n## `{name}`\n" in page
    assert f"--protocol {name}" in page
    assert PROTOCOLS[name].source.split(",")[0].split(" et al")[0] in page


def test_a_pool_reads_and_writes_rows_of_both_files(files: Files, tmp_path: Path) -> None:
    pool = files.pool(labels_of(5, 5), labels_of(4, 4), classes=["a", "b"])
    rows = np.array([3, 4, 8, 9, 10, 11, 17, 0])  # across the border, and back
    first, second = pool.sets
    expected = np.concatenate([first.features(), second.features()])[rows]
    assert np.array_equal(pool.features(rows), expected)
    assert (len(pool), pool.rows_of(1).tolist()) == (18, list(range(10, 18)))
    pool.write(rows, tmp_path / "some.h5")
    with CodeSet(tmp_path / "some.h5") as written:
        assert np.array_equal(written.features(), expected)
        assert written.names == [pool.names[row] for row in rows]
        assert np.array_equal(written.codes, pool.codes[rows])
        assert np.array_equal(written.content, pool.content[rows])
        assert np.array_equal(written.labels, pool.labels[rows])
        assert written.manifest["model"] == first.manifest["model"]


def test_a_pool_joins_classes_by_name(tmp_path: Path) -> None:
    one = code_file(tmp_path / "1.h5", [0, 1, 2], classes=["a", "b", "c"])
    other = code_file(tmp_path / "2.h5", [0, 1], 1, classes=["z", "b"])
    with CodeSet(one) as first, CodeSet(other) as second:
        pool = Pool(first, second)
        assert pool.classes == ["a", "b", "c", "z"]
        assert pool.labels.tolist() == [0, 1, 2, 3, 1]
        assert [pool.class_name(row) for row in range(5)] == list("abczb")
        assert pool.of_classes(np.arange(5), ["b", "z"]).tolist() == [1, 3, 4]


def test_a_pool_is_of_one_network(tmp_path: Path) -> None:
    one = code_file(tmp_path / "1.h5", [0, 1])
    other = code_file(tmp_path / "2.h5", [0, 1], weights_sha256="other")
    with (
        CodeSet(one) as first,
        CodeSet(other) as second,
        pytest.raises(MismatchError, match="weights_sha256 'other'"),
    ):
        Pool(first, second)
