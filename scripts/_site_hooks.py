"""What the documentation's site needs besides MkDocs: mkdocs.yml names this file.

The pages are written to be read in the repository as well, so they link to files outside docs/.
The site gets a copy of each such file; what is no picture is named .txt, which browsers show. The
changelog and the guide for contributors lie in the project's root and become pages.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from urllib.parse import unquote

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
ROOT_PAGES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
_PAGES_OF = ROOT_PAGES | {"README.md": "index.md"}
_TARGET = re.compile(r"(?<=\]\()([^)\s#]+)(#[^)\s]*)?(?=\))")
_PICTURES = {".png", ".jpg", ".svg"}


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """The pages of the project's root."""
    for source, page in ROOT_PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as the site has them."""
    place = posixpath.dirname(page.file.src_uri) or "."
    folder = Path(str(page.file.abs_src_path)).parent

    def relink(found: re.Match[str]) -> str:
        target = (folder / unquote(found[1])).resolve()
        if ":" in found[1] or not (target.is_file() and target.is_relative_to(ROOT)):
            return found[0]  # an address, or what MkDocs shall complain of
        return posixpath.relpath(place_on_site(target, config, files), place) + (found[2] or "")

    return _TARGET.sub(relink, markdown)


def place_on_site(target: Path, config: MkDocsConfig, files: Files) -> str:
    """A file's place on the site, where it is put if it is not there yet."""
    if target.is_relative_to(DOCS):
        return target.relative_to(DOCS).as_posix()
    name = target.relative_to(ROOT).as_posix()
    if name in _PAGES_OF:
        return _PAGES_OF[name]
    place = f"files/{name}" + ("" if target.suffix in _PICTURES else ".txt")
    if files.get_file_from_path(place) is None:
        copy = File.generated(
            config, place, abs_src_path=str(target), inclusion=InclusionLevel.INCLUDED
        )
        files.append(copy)
    return place
