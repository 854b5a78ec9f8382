"""Edits of a prototxt as text.

Fields that our schema does not know (layers of Caffe's forks) and comments stay as they
are, which reading and writing the message would not do.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from google.protobuf import text_encoding

_TOKEN = re.compile(
    r"""(?P<space>(?:\s|\#[^\n]*)+)
      | (?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
      | (?P<mark>[:{}<>\[\],;])
      | (?P<word>[^\s:{}<>\[\],;"'\#]+)
      | (?P<rest>.)""",
    re.VERBOSE | re.DOTALL,
)
_OPEN, _CLOSE = ("{", "<"), ("}", ">")


@dataclass(frozen=True)
class Field:
    """One scalar field or message of a prototxt, at text[start:end].

    Attributes:
        path: names from the outermost message to this field, e.g. ("layer", "name").
        start: where its name begins.
        end: where its value ends.
        value_start: where its value begins.
    """

    path: tuple[str, ...]
    start: int
    end: int
    value_start: int


def fields(text: str) -> Iterator[Field]:
    """Fields of a well-formed prototxt, each after those inside it."""
    tokens = [t for t in _TOKEN.finditer(text) if t.lastgroup != "space"]
    open_fields: list[tuple[str, int]] = []  # name and start of the messages we are in
    index = 0
    while index < len(tokens):
        token = tokens[index]
        index += 1
        if token[0] in _CLOSE and open_fields:
            path = tuple(name for name, _ in open_fields)
            yield Field(path, open_fields.pop()[1], token.end(), token.start())
        elif token.lastgroup == "word" and index < len(tokens):
            index += tokens[index][0] == ":"
            if tokens[index][0] in _OPEN:
                open_fields.append((token[0], token.start()))
                index += 1
            else:
                first, index = index, _value_end(tokens, index)
                path = (*(name for name, _ in open_fields), token[0])
                yield Field(path, token.start(), tokens[index - 1].end(), tokens[first].start())


def _value_end(tokens: list[re.Match[str]], index: int) -> int:
    """Index after a scalar's last token: adjacent strings are one, a list ends with ]."""
    if tokens[index].lastgroup == "string":
        while index < len(tokens) and tokens[index].lastgroup == "string":
            index += 1
        return index
    if tokens[index][0] == "[":
        while tokens[index][0] != "]":
            index += 1
    return index + 1


def replace_strings(text: str, names: tuple[str, ...], new: Callable[[str], str]) -> str:
    """Text in which each string field called one of `names`, at any depth, is `new(value)`."""
    for field in sorted(fields(text), key=lambda field: -field.start):
        literal = text[field.value_start : field.end]
        if field.path[-1] in names and literal[0] in "\"'":
            text = text[: field.value_start] + quote(new(unquote(literal))) + text[field.end :]
    return text


def set_fields(text: str, literals: Mapping[str, str]) -> str:
    """Text whose outermost fields have these values, as prototxt literals.

    Fields of these names are taken out and written anew at the end, once.
    """
    outermost = [field for field in fields(text) if len(field.path) == 1]
    for field in sorted(outermost, key=lambda field: -field.start):
        if field.path[0] in literals:
            text = text[: field.start] + text[field.end :]
    lines = [f"{name}: {literal}\n" for name, literal in literals.items()]
    return text.rstrip() + "\n" + "".join(lines)


def quote(value: str) -> str:
    """String literal of a prototxt."""
    return '"' + text_encoding.CEscape(os.fsencode(value), False) + '"'


def unquote(literal: str) -> str:
    """Value of one string literal, or of several adjacent ones."""
    parts = re.findall(r""""(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", literal)
    return os.fsdecode(b"".join(text_encoding.CUnescape(part[1:-1]) for part in parts))
