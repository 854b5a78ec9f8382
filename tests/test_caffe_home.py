import sys

import pytest

from latenthash.engines.caffe_home import caffe_home, pycaffe_folder
from latenthash.errors import EngineError


def build(folder):
    (folder / "python/caffe").mkdir(parents=True)
    (folder / "python/caffe/_caffe.so").touch()
    return folder


def test_environment_comes_first(monkeypatch, tmp_path):
    named, noted = build(tmp_path / "named"), build(tmp_path / "noted")
    (tmp_path / "caffe-prefix").write_text(f"{noted}\n")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.delenv("LATENTHASH_CAFFE", raising=False)
    assert caffe_home() == noted
    monkeypatch.setenv("LATENTHASH_CAFFE", str(named))
    assert caffe_home() == named
    assert pycaffe_folder() == named / "python/caffe"


def test_not_built(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.delenv("LATENTHASH_CAFFE", raising=False)
    with pytest.raises(EngineError, match=r"not built - .*make setup"):
        caffe_home()


def test_wrong_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("LATENTHASH_CAFFE", str(tmp_path / "nowhere"))
    with pytest.raises(EngineError, match=r"nowhere: holds no .*LATENTHASH_CAFFE names"):
        caffe_home()
