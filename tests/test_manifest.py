from __future__ import annotations

import json
from pathlib import Path

import pytest

from latenthash.errors import DataError, MismatchError
from latenthash.manifest import new_manifest, read_manifest, require_same, write_manifest


def test_what_is_written_is_read_and_equal_manifests_are_equal_files(tmp_path: Path) -> None:
    manifest = new_manifest("extract", bits=48, seed=3)
    write_manifest(manifest, tmp_path / "one")
    write_manifest(dict(reversed(manifest.items())), tmp_path / "two")
    assert read_manifest(tmp_path / "one", "extract") == manifest
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        ("{", "no JSON"),
        ("[]", "no manifest of extract"),
        (json.dumps({"stage": "train"}), "no manifest of extract"),
        (json.dumps({"stage": "extract", "format": 99}), "format 99"),
    ],
)
def test_what_is_no_manifest_is_named(tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "m.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=rf"m\.json.*{words}"):
        read_manifest(path, "extract")


def test_every_difference_is_named() -> None:
    one, two = {"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 5}
    with pytest.raises(MismatchError, match="codes: b 2 instead of 5; c 3 instead of None"):
        require_same(one, two, ("a", "b", "c"), "codes")
    require_same(one, two, ("a",), "codes")
