"""Writes docs/reference/tools.md: what each tool's --help says, as a page.

With --check it writes nothing and fails if the page is not what it would write. Options are read
from the parsers, not from the printed help, whose layout differs between versions of Python.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/reference/tools.md"
TOOLS = sorted(path.stem for path in (ROOT / "tools").glob("[a-z]*.py"))
INTRO = """\
# Tools

<!-- Written by scripts/_tool_reference.py; change the tools' --help instead. -->

Each tool does one thing and calls one function of the [library](library/index.md). All of them
run from the project's folder as `python tools/NAME.py`, find their environment by themselves,
and print this with `--help`. A mistake of yours is one line that begins with `error:` and says
what to do; the exit code is then 2.
"""


class FoundError(Exception):
    """Stops a tool at the moment when it would read its command line."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def stop(parser: argparse.ArgumentParser, *_: object) -> NoReturn:
    """Stands in for `parse_args`."""
    raise FoundError(parser)


def parser_of(tool: str) -> argparse.ArgumentParser:
    """The parser that a tool makes."""
    sys.argv = [f"{tool}.py"]
    try:
        importlib.import_module(tool).main()
    except FoundError as found:
        return found.parser
    raise AssertionError(f"tools/{tool}.py reads no command line")


def page() -> str:
    """The whole page."""
    sections = [line for tool in TOOLS for line in section(parser_of(tool), 2)]
    return INTRO + "\n" + "\n".join(sections).rstrip().replace(f"{ROOT}/", "") + "\n"


def section(parser: argparse.ArgumentParser, level: int) -> Iterator[str]:
    """A tool, or one of its commands."""
    yield from ("#" * level + f" {parser.prog.removesuffix(' COMMAND')}", "")
    yield from prose(parser.description or "")
    commands = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    options = [one for one in parser._actions if not isinstance(one, _LEFT_OUT)]
    if options:
        yield from ("| argument | meaning |", "|---|---|")
        yield from (f"| `{written(parser, one)}` | {meaning(parser, one)} |" for one in options)
        yield ""
    for group in parser._mutually_exclusive_groups:
        names = ", ".join(f"`{one.option_strings[-1]}`" for one in group._group_actions)
        yield f"{'One' if group.required else 'At most one'} of {names}."
        yield ""
    yield from prose(parser.epilog or "")
    for made in commands:
        for command in made.choices.values():
            yield from section(command, level + 1)


_NO_DEFAULT = re.compile(r" \(default: (None|False|\[\])\)$")
_LEFT_OUT = (argparse._HelpAction, argparse._SubParsersAction)


def written(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """An argument as it is typed: --top TOP."""
    formatter = parser._get_formatter()
    if not action.option_strings:
        typed = formatter._format_args(
            action, formatter._get_default_metavar_for_positional(action)
        )
    else:
        values = formatter._format_args(action, formatter._get_default_metavar_for_optional(action))
        typed = f"{', '.join(action.option_strings)} {values}".rstrip()
    return typed.replace("|", " or ")  # a bar would end the table's cell


def meaning(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """What its help says, with the default."""
    text = plain(_NO_DEFAULT.sub("", parser._get_formatter()._expand_help(action)))
    return f"{text} (needed)" if action.required and action.option_strings else text


def prose(text: str) -> Iterator[str]:
    """Paragraphs; indented lines are commands or tables and keep their form."""
    for paragraph in filter(None, text.split("\n\n")):
        lines = paragraph.splitlines()
        kept = [line for line in lines if line.startswith("  ")]
        said = [plain(line) for line in lines if line not in kept]
        yield from (*said, "") if said else ()
        if kept:
            kind = "sh" if kept[0].lstrip().startswith("python ") else "text"
            yield from (f"```{kind}", *(line[2:] for line in kept), "```", "")


def plain(text: str) -> str:
    """Text that Markdown leaves as it is."""
    for mark in "*[|":
        text = text.replace(mark, f"\\{mark}")
    return text.replace("<", "&lt;")


def main() -> None:
    """Write the page, or compare it."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--check", action="store_true", help="write nothing")
    check = options.parse_args().check
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # defaults that count cores
    sys.path.insert(0, str(ROOT / "tools"))
    argparse.ArgumentParser.parse_args = stop  # type: ignore[method-assign,assignment]
    made = page()
    if not check:
        PAGE.write_text(made)
    elif not PAGE.is_file() or PAGE.read_text() != made:
        sys.exit(f"{PAGE.relative_to(ROOT)} is out of date: run scripts/build_docs.sh --tools")


if __name__ == "__main__":
    main()
