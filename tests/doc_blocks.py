"""The fenced blocks of Markdown pages, and what a comment above them says of running them.

    <!-- needs: network, hours -->    is not run
    <!-- fails -->                    its last command fails, with the lines shown

Blocks of shell and Python without a mark are run by test_docs_commands.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NEEDS = {"network", "minutes", "hours", "GPU", "browser"}
SHELL = {"sh", "console"}
RUN = [
    ROOT / "README.md",
    ROOT / "docs/quickstart.md",
    *sorted((ROOT / "docs/tutorials").glob("*.md")),
    ROOT / "docs/troubleshooting.md",
    ROOT / "docs/security.md",
    ROOT / "docs/reference/library/index.md",
]
_FENCE = re.compile(r"( *)```(\w*)$")
_MARK = re.compile(r" *<!-- (fails|needs: .+) -->")


@dataclass(frozen=True)
class Block:
    """One block.

    Attributes:
        page: file.
        line: of its first line, from 1.
        language: behind the fence; "" if none.
        lines: what is in it.
        mark: of the comment above it; "" if none.
    """

    page: Path
    line: int
    language: str
    lines: tuple[str, ...]
    mark: str

    @property
    def where(self) -> str:
        """For messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def needs(self) -> set[str]:
        """What it takes that a test does not have."""
        named = self.mark.removeprefix("needs: ") if self.mark.startswith("needs: ") else ""
        return {one.strip() for one in named.split(",")} - {""}

    @property
    def fails(self) -> bool:
        """Whether it shows an error."""
        return self.mark == "fails"

    def script(self) -> str:
        """The commands; those of a console are behind a $, and go on after a backslash."""
        if self.language != "console":
            return "\n".join(self.lines)
        kept, goes_on = [], False
        for line in self.lines:
            if goes_on or line.startswith("$ "):
                kept.append(line.removeprefix("$ "))
                goes_on = line.endswith("\\")
        return "\n".join(kept)

    def shown(self) -> list[str]:
        """What a console shows besides commands; an ellipsis stands for anything."""
        typed = set(self.script().splitlines())
        lines = (line for line in self.lines if line.removeprefix("$ ") not in typed)
        return [line for line in lines if line.strip("… ")]


def blocks(page: Path) -> Iterator[Block]:
    """All fenced blocks of a page."""
    lines = page.read_text().splitlines()
    number, mark = 0, ""
    while number < len(lines):
        opened = _FENCE.fullmatch(lines[number])
        if opened:
            end = lines.index(f"{opened[1]}```", number + 1)
            inside = tuple(line.removeprefix(opened[1]) for line in lines[number + 1 : end])
            yield Block(page, number + 2, opened[2], inside, mark)
            number = end
            mark = ""
        elif lines[number].strip():
            marked = _MARK.fullmatch(lines[number])
            mark = marked[1] if marked else ""
        number += 1


def prose(page: Path) -> str:
    """A page without its blocks and code spans."""
    kept, inside = [], False
    for line in page.read_text().splitlines():
        if line.lstrip().startswith("```"):
            inside = not inside
        elif not inside:
            kept.append(re.sub(r"`[^`]*`", "", line))
    return "\n".join(kept)
