"""The package as others get it: one version, its licences, and a wheel that needs no checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import latenthash

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = ROOT / "python/latenthash"
NETWORK = ("No matching distribution", "Temporary failure", "ConnectionError", "timed out")
USE = """
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import latenthash
from latenthash.demo import Demo
from latenthash.engines import get_engine
from latenthash.kernels.library import native
from latenthash.proto import read_net

assert Path(latenthash.__file__).is_relative_to(sys.argv[1]), latenthash.__file__
assert native() is not None
rng = np.random.default_rng(0)
for channel, name in ((0, "red"), (2, "blue")):
    Path("images", name).mkdir(parents=True)
    for number in range(12):
        pixels = rng.integers(0, 60, (32, 32, 3), dtype=np.uint8)
        pixels[..., channel] += 150
        Image.fromarray(pixels).save(Path("images", name, f"{number}.png"))
report = Demo(Path("out"), get_engine("fake")).run(Path("images"), "two colours")
assert report["database_images"] + report["queries"] == 24
print(read_net(Path("out/net/quick_48/deploy.prototxt")).name)
"""


def run(command: list[str], cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, check=False
    )


def test_the_version_is_the_same_everywhere() -> None:
    stated = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.M)
    newest = re.search(r"^## (\S+?),? ", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert stated and newest
    assert re.fullmatch(r"\d+\.\d+\.\d+", latenthash.__version__)
    assert latenthash.__version__ == stated[1] == newest[1]


def test_the_version_command_names_what_numbers_depend_on(tmp_path: Path) -> None:
    ended = run([sys.executable, "-m", "latenthash", "--version"], tmp_path)
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert lines[0] == f"latenthash {latenthash.__version__}"
    assert f"NumPy {np.__version__}" in lines
    assert any(re.fullmatch(r"Caffe (not )?built", line) for line in lines)


def test_without_an_option_it_points_to_the_tools(tmp_path: Path) -> None:
    ended = run([sys.executable, "-m", "latenthash"], tmp_path)
    assert ended.returncode == 0
    assert "tools/" in ended.stdout


@pytest.mark.parametrize(
    "readme", sorted(ROOT.glob("caffe_models/*/readme.md")), ids=lambda path: path.parent.name
)
def test_the_notice_names_the_licence_of_all_weights(readme: Path) -> None:
    licence = re.search(r"^licence: (.+)$", readme.read_text(), re.M)
    assert licence
    assert licence[1] in (ROOT / "NOTICE").read_text()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel that is built of a copy of the sources."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    leftovers = shutil.ignore_patterns("__pycache__", "*.so", "*.egg-info")
    shutil.copytree(ROOT / "python", source / "python", ignore=leftovers)
    built = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(built), str(source)]
    ended = run(pip, source)
    if ended.returncode and any(sign in ended.stderr for sign in NETWORK):
        pytest.skip("building a wheel takes setuptools from the network")
    assert ended.returncode == 0, ended.stderr
    [made] = built.glob("latenthash-*.whl")
    return made


@pytest.mark.slow
def test_the_wheel_holds_all_of_the_library_and_the_licences(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    kinds = {".py", ".pyi", ".proto", ".csv", ".typed", ".c", ".h"}
    wanted = {
        f"latenthash/{file.relative_to(LIBRARY).as_posix()}"
        for file in LIBRARY.rglob("*")
        if file.suffix in kinds
    } | {"latenthash/py.typed"}
    assert wanted <= names
    assert any(re.fullmatch(r"latenthash/kernels/_native\S*\.so", name) for name in names)
    info = f"latenthash-{latenthash.__version__}.dist-info/licenses"
    assert {f"{info}/LICENSE", f"{info}/NOTICE"} <= names
    assert all(name.startswith("latenthash") for name in names)


@pytest.mark.slow
def test_the_wheel_works_outside_the_tree(wheel: Path, tmp_path: Path) -> None:
    """From pictures to a search with what the wheel brings; its dependencies are those here."""
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index"]
    installed = run([*pip, "--target", str(site), str(wheel)], elsewhere)
    assert installed.returncode == 0, installed.stderr
    used = run([sys.executable, "-c", USE, str(site)], elsewhere, PYTHONPATH=str(site))
    assert used.returncode == 0, used.stderr
    assert used.stdout.strip() == "quick_48"
    version = [sys.executable, "-m", "latenthash", "--version"]
    told = run(version, elsewhere, PYTHONPATH=str(site))
    assert told.stdout.startswith(f"latenthash {latenthash.__version__}\n")
