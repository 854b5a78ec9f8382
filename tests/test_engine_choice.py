"""Engines by name, and which of them `auto` takes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from latenthash.engines import get_engine
from latenthash.errors import EngineError


def install(monkeypatch: pytest.MonkeyPatch, folder: Path, torch: bool, caffe: bool) -> None:
    """Hide PyTorch, or Caffe, from this process."""
    monkeypatch.setattr(sys, "prefix", str(folder))
    monkeypatch.delenv("LATENTHASH_CAFFE", raising=False)
    if caffe:
        (folder / "python/caffe").mkdir(parents=True)
        (folder / "python/caffe/_caffe.so").touch()
        monkeypatch.setenv("LATENTHASH_CAFFE", str(folder))
    if not torch:
        monkeypatch.setitem(sys.modules, "torch", None)


@pytest.mark.parametrize(
    ("torch", "caffe", "few", "taken"),
    [
        (True, True, False, "torch"),
        (True, True, True, "caffe"),
        (True, False, True, "torch"),
        (False, True, False, "caffe"),
        (False, True, True, "caffe"),
    ],
)
def test_auto_takes_the_faster_one_that_is_installed(
    torch: bool,
    caffe: bool,
    few: bool,
    taken: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if torch:
        pytest.importorskip("torch")
    install(monkeypatch, tmp_path, torch, caffe)
    assert get_engine("auto", few=few).name == taken


def test_auto_without_any_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, tmp_path, torch=False, caffe=False)
    with pytest.raises(EngineError, match=r"neither .* - run `make setup`"):
        get_engine("auto")


def test_unknown_name() -> None:
    with pytest.raises(
        EngineError, match="no engine named 'tensorflow' - choose one of auto, caffe"
    ):
        get_engine("tensorflow")


def test_caffe_has_one_precision() -> None:
    with pytest.raises(EngineError, match="caffe does not compute in bfloat16"):
        get_engine("caffe", precision="bfloat16")
    assert get_engine("caffe", precision="float32").name == "caffe"
