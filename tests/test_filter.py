from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latenthash.errors import DataError
from latenthash.index import Filter
from latenthash.index.filter import literal_prefix, matcher

TEXT = st.text("ab/*?[].", max_size=6)


@given(st.lists(TEXT, max_size=3), TEXT)
def test_a_name_matches_if_one_pattern_does(patterns: list[str], name: str) -> None:
    found = matcher(patterns)(name) is not None
    assert found == any(fnmatchcase(name, pattern) for pattern in patterns)


@given(TEXT, TEXT)
def test_what_matches_begins_with_the_literal_prefix(pattern: str, name: str) -> None:
    if fnmatchcase(name, pattern):
        assert name.startswith(literal_prefix(pattern))


def test_equal_filters_are_equal_keys() -> None:
    first, second = Filter(labels=["a", "b"], ids=[3, 1]), Filter(labels=("b", "a"), ids={1, 3})
    assert first == second
    assert hash(first) == hash(second)
    assert first != Filter(labels=["a"])


def test_classes_are_numbered_and_unknown_is_minus_one() -> None:
    wanted, refused = Filter(labels=["dog", ""], not_labels=["cat"]).label_numbers(["cat", "dog"])
    assert (wanted, refused) == ({1, -1}, {0})
    assert Filter().label_numbers(["cat"]) == (None, set())


def test_a_class_that_there_is_not_is_named() -> None:
    with pytest.raises(DataError, match=r"no class 'cow' - choose from cat, dog"):
        Filter(not_labels=["cow"]).label_numbers(["cat", "dog"])


def test_a_string_is_no_list() -> None:
    with pytest.raises(DataError, match="labels 'cat'"):
        Filter(labels="cat")
