"""The documentation: nothing dead in it, nothing left out, nothing that the tools do not know."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml

from doc_blocks import NEEDS, ROOT, RUN, SHELL, Block, blocks, prose

DOCS = ROOT / "docs"
ROOT_PAGES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
PAGES = sorted(DOCS.rglob("*.md"))
READMES = sorted([*ROOT.glob("caffe_models/*/readme.md"), *ROOT.glob("data/*/readme.md")])
ALL = [ROOT / "README.md", *(ROOT / name for name in ROOT_PAGES), *PAGES, *READMES]
LINK = re.compile(r"\]\(([^)\s]+)\)")
FETCHED = re.compile(r"(?:src|href)=\"(?:https?:)?//[^\"]+\.(?:css|js|woff2?)\"")


def named(menu: Any) -> Iterator[str]:
    """Pages of mkdocs.yml's nav, in order."""
    if isinstance(menu, str):
        yield menu
    elif isinstance(menu, list):
        for entry in menu:
            yield from named(entry)
    else:
        for entry in menu.values():
            yield from named(entry)


def test_the_menu_names_every_page_once() -> None:
    found = list(named(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    there = [page.relative_to(DOCS).as_posix() for page in PAGES] + list(ROOT_PAGES.values())
    assert sorted(found) == sorted(there)


def slug(heading: str) -> str:
    """A heading's anchor, as Python-Markdown makes it."""
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("*", "")
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", text).strip().lower())


def anchors(page: Path) -> set[str]:
    """Of all headings."""
    lines, inside = page.read_text().splitlines(), False
    found = set()
    for line in lines:
        if line.lstrip().startswith("```"):
            inside = not inside
        elif not inside and (heading := re.match(r"#+ (.+)", line)):
            found.add(slug(heading[1]))
    return found


def test_headings_become_the_anchors_that_markdown_makes() -> None:
    assert slug("`cifar10-1000`") == "cifar10-1000"
    assert slug("Augmentation, an option of training") == "augmentation-an-option-of-training"
    assert slug("index.py add") == "indexpy-add"
    assert slug("1. [Run](x.md) *it*, naïvely") == "1-run-it-naively"


@pytest.mark.parametrize("page", ALL, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue  # an address
        name, _, anchor = unquote(link).partition("#")
        target = page.parent / name if name else page
        assert target.exists(), f"{page.relative_to(ROOT)}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{page.relative_to(ROOT)}: {link}"


def test_pages_link_to_a_page_that_is_built_from_the_root() -> None:
    """Root pages are built under other names; a link by the built name would be dead here."""
    for page in ALL:
        for name in ROOT_PAGES.values():
            assert f"]({name}" not in page.read_text(), page


@pytest.mark.parametrize("page", RUN, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_is_run_or_says_why_not(page: Path) -> None:
    found = list(blocks(page))
    for block in found:
        assert block.language, f"{block.where}: name the language behind the fence"
        assert block.needs <= NEEDS, f"{block.where}: {block.mark}; there is {sorted(NEEDS)}"
        if block.language == "console":
            assert block.lines[0].startswith("$ "), f"{block.where}: begin with a command"
        if block.fails:
            assert block.shown(), f"{block.where}: show the error"
    assert any(block.language in SHELL for block in found) or page.name == "index.md"


def test_blocks_are_read_with_their_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- needs: network, hours -->\n```sh\nmake demo\n```\n\n<!-- fails -->\ntext\n\n"
        "  <!-- fails -->\n\n  ```console\n  $ a \\\n      b\n  error: x\n  …\n  $ c\n  ```\n"
    )
    first, second = blocks(page)
    assert (first.line, first.needs, first.fails) == (3, {"network", "hours"}, False)
    assert first.script() == "make demo"
    assert (second.needs, second.fails) == (set(), True)
    assert second.script() == "a \\\n    b\nc"
    assert second.shown() == ["error: x"]


def commands(block: Block) -> Iterator[list[str]]:
    """Words of each command of a shell block, without comments."""
    text = block.script().replace("\\\n", " ")
    for line in text.splitlines():
        yield shlex.split(line, comments=True)


def shell_blocks() -> list[Block]:
    return [block for page in ALL for block in blocks(page) if block.language in SHELL]


def reference() -> dict[str, set[str]]:
    """Options by tool, and by command of a tool, from docs/reference/tools.md."""
    text = (DOCS / "reference/tools.md").read_text()
    known = {}
    for title, body in re.findall(r"^##+ (.+)\n([^#]*)", text, re.M):
        typed = " ".join(re.findall(r"^\| `([^`]*)`", body, re.M))
        known[title] = {"-h", "--help", *re.findall(r"(?<![\w-])--?[a-z][\w-]*", typed)}
    return known


def test_commands_in_the_pages_have_options_that_the_tools_know() -> None:
    known, checked = reference(), 0
    for block in shell_blocks():
        for words in commands(block):
            tools = [word for word in words if re.fullmatch(r"tools/\w+\.py", word)]
            if not tools:
                continue
            after = words[words.index(tools[0]) + 1 :]
            name = tools[0].removeprefix("tools/")
            if after and f"{name} {after[0]}" in known:
                name = f"{name} {after[0]}"
            given = {word.split("=")[0] for word in after if re.match(r"--?[a-z]", word)}
            assert given <= known[name], f"{block.where}: {name} has no {given - known[name]}"
            checked += 1
    assert checked > 50


def test_commands_in_the_pages_name_scripts_and_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for block in shell_blocks():
        for words in commands(block):
            for word in words:
                if re.fullmatch(r"(scripts|benchmarks|tools)/\w+\.(sh|py)", word):
                    assert (ROOT / word).is_file(), f"{block.where}: {word}"
            if words[:1] == ["make"]:
                asked = {word for word in words[1:] if re.fullmatch(r"[a-z-]+", word)}
                assert asked <= targets, f"{block.where}: make has no {asked - targets}"


def test_the_page_of_the_tools_is_what_they_say() -> None:
    command = [sys.executable, str(ROOT / "scripts/_tool_reference.py"), "--check"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_a_page_of_the_tools_that_is_old_is_noticed(tmp_path: Path) -> None:
    """The same script in a copy of the tree whose page lacks a line."""
    for folder in ("scripts", "tools"):
        (tmp_path / folder).mkdir()
        for file in (ROOT / folder).glob("*.py"):
            (tmp_path / folder / file.name).write_bytes(file.read_bytes())
    page = tmp_path / "docs/reference/tools.md"
    page.parent.mkdir(parents=True)
    page.write_text((DOCS / "reference/tools.md").read_text().replace("--candidates", "--gone"))
    command = [sys.executable, str(tmp_path / "scripts/_tool_reference.py"), "--check"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "docs/reference/tools.md is out of date" in ended.stderr


@pytest.mark.slow
@pytest.mark.skipif(find_spec("mkdocstrings_handlers") is None, reason="pip install '.[docs]'")
def test_the_site_builds_strictly_and_fetches_nothing(tmp_path: Path) -> None:
    site = tmp_path / "site"
    command = [str(ROOT / "scripts/build_docs.sh"), str(site)]
    environment = {**os.environ, "PYTHON": sys.executable}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert (site / "files/benchmarks/results/scaling.png").is_file()
    library = (site / "reference/library/search.html").read_text()
    assert 'id="latenthash.search.Searcher.search"' in library
    assert 'id="latenthash.index.SearchOptions"' in library
    for page in site.rglob("*.html"):
        assert not FETCHED.search(page.read_text()), page
