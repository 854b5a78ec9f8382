"""Text as Milvus keeps it, and conditions as Milvus reads them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ...index.filter import Filter, literal_prefix, matcher

_RAW = 0xF700  # a byte that is no UTF-8 is kept as U+F700 + byte, in the private use area
_FIRST, _LAST = _RAW + 0x80, _RAW + 0xFF


def to_stored(name: str) -> str:
    """A file name as valid text: Milvus takes no other.

    Bytes that are no UTF-8 (lone surrogates, as in Python's `surrogateescape`) become
    U+F780 to U+F7FF; characters that are those already become three such, their bytes.
    """
    parts = []
    for character in name:
        code = ord(character)
        if 0xDC80 <= code <= 0xDCFF:
            parts.append(chr(_RAW + code - 0xDC00))
        elif _FIRST <= code <= _LAST:
            parts += [chr(_RAW + byte) for byte in character.encode()]
        else:
            parts.append(character)
    return "".join(parts)


def from_stored(text: str) -> str:
    """The file name again."""
    if text.isascii():
        return text
    raw = b"".join(
        bytes([ord(character) - _RAW]) if _FIRST <= ord(character) <= _LAST else character.encode()
        for character in text
    )
    return raw.decode(errors="surrogateescape")


def quoted(text: str) -> str:
    """A string of a condition."""
    return json.dumps(text, ensure_ascii=False)


def among(field: str, values: Iterable[int] | Iterable[str]) -> str:
    """Condition: the field is one of these, which are not none."""
    listed = (quoted(value) if isinstance(value, str) else str(int(value)) for value in values)
    return f"{field} in [{','.join(listed)}]"


def span(first: int, stop: int) -> str:
    """Condition: an id from `first` on and below `stop`."""
    return f"id >= {first} and id < {stop}"


def both(*conditions: str) -> str:
    """All of these conditions; "" is none."""
    given = [condition for condition in conditions if condition]
    return given[0] if len(given) == 1 else " and ".join(f"({one})" for one in given)


@dataclass(frozen=True)
class Clause:
    """A filter for Milvus.

    Attributes:
        condition: Milvus keeps what meets it; "" keeps all.
        passes: looks at the names of what is left; None: all of it passes.
        nothing: no image can pass.
    """

    condition: str = ""
    passes: Callable[[str], bool] | None = None
    nothing: bool = False


def clause(wanted: Filter | None, classes: list[str]) -> Clause:
    """Say a filter in Milvus' words, as far as they go; patterns it knows only as prefixes.

    Raises:
        DataError: the filter names a class that there is not.
    """
    if wanted is None:
        return Clause()
    labels, not_labels = wanted.label_numbers(classes)
    one_of = (labels, wanted.ids, wanted.names)
    conditions = [
        among("label", sorted(labels)) if labels else "",
        f"not ({among('label', sorted(not_labels))})" if not_labels else "",
        among("id", sorted(wanted.ids)) if wanted.ids else "",
        f"not ({among('id', sorted(wanted.not_ids))})" if wanted.not_ids else "",
        _prefixes(wanted.names) if wanted.names else "",
    ]
    return Clause(
        both(*conditions), _by_name(wanted), any(some is not None and not some for some in one_of)
    )


def _prefixes(patterns: Iterable[str]) -> str:
    """Condition that every name meets that matches one of the patterns; "" if there is none."""
    starts = sorted({_plain(literal_prefix(pattern)) for pattern in patterns})
    if "" in starts:
        return ""
    return " or ".join(f"name like {quoted(start + '%')}" for start in starts)


def _plain(text: str) -> str:
    """Its beginning, before anything that means something to Milvus."""
    for at, character in enumerate(text):
        if character in "%_\\\"'" or not (character.isascii() and character.isprintable()):
            return text[:at]
    return text


def _by_name(wanted: Filter) -> Callable[[str], bool] | None:
    if wanted.names is None and not wanted.not_names:
        return None
    let_in = matcher(wanted.names) if wanted.names is not None else None
    keep_out = matcher(wanted.not_names or ())

    def passes(name: str) -> bool:
        return (let_in is None or bool(let_in(name))) and not keep_out(name)

    return passes
