from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latenthash import cache as module
from latenthash.cache import NOTHING_KEPT, Cache, Stage, array_hash, key_of, versions
from latenthash.errors import DataError, EngineError, StorageError

STAGE = Stage("square", 1)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


class Maker:
    """Makes a value and counts how often."""

    def __init__(self, value: object = 9) -> None:
        self.value, self.calls = value, 0

    def __call__(self) -> object:
        self.calls += 1
        return self.value


def write(value: str, path: Path) -> None:
    path.write_text(value)


def read(path: Path) -> str:
    text = path.read_text()
    if text == "damaged":
        raise DataError(f"{path}: damaged", "remove it")
    return text


def test_the_same_inputs_are_made_once_also_by_another_process(tmp_path: Path) -> None:
    make = Maker("nine")
    for _ in range(2):
        found = Cache(tmp_path).recall(STAGE, {"side": 3}, ".txt", make, write, read)
        assert found == "nine"
    assert make.calls == 1
    [file] = (tmp_path / "square").iterdir()
    assert file.name == f"{key_of(STAGE, {'side': 3})}.txt"


@pytest.mark.parametrize(
    ("stage", "inputs"),
    [
        (Stage("square", 2), {"side": 3}),
        (Stage("cube", 1), {"side": 3}),
        (STAGE, {"side": 4}),
        (STAGE, {"side": "3"}),
        (STAGE, {"side": 3, "more": None}),
    ],
)
def test_any_change_is_another_key(tmp_path: Path, stage: Stage, inputs: dict[str, object]) -> None:
    cache, make = Cache(tmp_path), Maker()
    cache.recall_json(STAGE, {"side": 3}, make)
    cache.recall_json(stage, inputs, make)
    assert make.calls == 2


def test_another_version_of_the_package_is_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key_of(STAGE, {})
    monkeypatch.setattr(module, "__version__", "99")
    assert key_of(STAGE, {}) != before


def test_the_order_of_the_inputs_does_not_count() -> None:
    assert key_of(STAGE, {"a": 1, "b": 2}) == key_of(STAGE, {"b": 2, "a": 1})


@given(JSON)
def test_json_comes_back_as_it_went(
    tmp_path_factory: pytest.TempPathFactory, value: object
) -> None:
    cache = Cache(tmp_path_factory.mktemp("cache"))
    make = Maker(value)
    assert cache.recall_json(STAGE, {}, make) == cache.recall_json(STAGE, {}, make) == value
    assert make.calls == 1


def test_fresh_and_kept_json_are_alike(tmp_path: Path) -> None:
    for cache in (Cache(tmp_path), Cache(tmp_path), NOTHING_KEPT):
        assert cache.recall_json(STAGE, {}, Maker({"pair": (1, 2)})) == {"pair": [1, 2]}


def test_without_a_folder_nothing_is_kept() -> None:
    make = Maker()
    for _ in range(2):
        assert NOTHING_KEPT.recall_json(STAGE, {}, make) == 9
    assert make.calls == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_text("{"),
        lambda path: path.write_bytes(b"\xff\xfe"),
        lambda path: path.write_text("[]"),
        lambda path: path.write_text(path.read_text().replace('"value": 9', '"value": 8')),
        lambda path: path.write_text(json.dumps({"value": 9})),
    ],
)
def test_a_damaged_result_is_made_anew(
    tmp_path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    cache, make = Cache(tmp_path), Maker()
    cache.recall_json(STAGE, {}, make)
    [file] = (tmp_path / "square").iterdir()
    before = file.read_bytes()
    damage(file)
    assert file.read_bytes() != before
    assert cache.recall_json(STAGE, {}, make) == 9
    assert make.calls == 2 and file.read_bytes() == before
    assert f"{file}: " in caplog.text and "made anew" in caplog.text


def test_a_reader_that_refuses_has_it_made_anew(tmp_path: Path) -> None:
    cache, make = Cache(tmp_path), Maker("damaged")
    for _ in range(2):
        assert cache.recall(STAGE, {}, ".txt", make, write, read) == "damaged"
    assert make.calls == 2


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> object:
        raise DataError("no square")

    def half(value: object, path: Path) -> None:
        path.write_text("ha")
        raise KeyboardInterrupt

    cache = Cache(tmp_path)
    with pytest.raises(DataError, match="no square"):
        cache.recall_json(STAGE, {}, fail)
    with pytest.raises(KeyboardInterrupt):
        cache.recall(STAGE, {}, ".txt", Maker(), half, read)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(StorageError, match=r"cache.*something else is there"):
        Cache(tmp_path / "cache").recall_json(STAGE, {}, Maker())


def test_inputs_that_json_cannot_hold_are_refused() -> None:
    with pytest.raises(TypeError):
        key_of(STAGE, {"array": np.zeros(3)})
    with pytest.raises(ValueError):
        key_of(STAGE, {"number": float("nan")})


def test_arrays_differ_by_type_shape_and_value() -> None:
    given = [
        (np.zeros((2, 3), np.float32),),
        (np.zeros((3, 2), np.float32),),
        (np.zeros((2, 3), np.int32),),
        (np.array([[0, 0, 0], [0, 0, 1]], np.float32),),
        (np.zeros((2, 3), np.float32), None),
        (None, np.zeros((2, 3), np.float32)),
        (),
    ]
    assert len({array_hash(*arrays) for arrays in given}) == len(given)
    wide = np.arange(12).reshape(3, 4)
    assert array_hash(wide[:, ::2]) == array_hash(wide[:, ::2].copy())


def test_versions_are_those_imported() -> None:
    assert versions("numpy") == {"numpy": np.__version__}
    with pytest.raises(EngineError, match="no_such_module is not installed"):
        versions("no_such_module")
