"""What people said of hits, kept, and made into a list that `build_lmdb.py` can train on."""

from __future__ import annotations

from collections import Counter, defaultdict
from hashlib import sha256
from typing import Any

from . import uploads
from .answers import row_of
from .models import Feedback, Image


def give(number: int | None, token: str | None, hit: int, verdict: int) -> None:
    """Keep a verdict in place of an earlier one; 0 takes it back.

    Raises:
        Problem: no such image or upload (404).
    """
    row_of(hit)
    if number is not None:
        query = f"id:{row_of(number).number}"
    else:
        query = f"sha256:{sha256(uploads.read(token or '')).hexdigest()}"
    if verdict:
        Feedback.objects.update_or_create(query=query, hit=hit, defaults={"verdict": verdict})
    else:
        Feedback.objects.filter(query=query, hit=hit).delete()


def all_verdicts() -> list[dict[str, Any]]:
    """All verdicts, the oldest first."""
    given = list(Feedback.objects.order_by("given", "query", "hit"))
    named = {n for one in given for n in (one.hit, _number(one)) if n is not None}
    names = _names(named)
    return [
        {
            "query": one.query,
            "query_name": names.get(_number(one), ""),
            "hit": one.hit,
            "hit_name": names.get(one.hit, ""),
            "verdict": one.verdict,
            "given": one.given.isoformat(),
        }
        for one in given
    ]


def training_list() -> list[tuple[str, int]]:
    """(name, label) of images of the library that were liked, and of their queries.

    What was liked for a query belongs to the query's class; a query of no known class is
    a class of its own, numbered after all known ones. An image that was liked for more
    than one class gets the one that most said.
    """
    votes: dict[int, Counter[int]] = defaultdict(Counter)
    liked = list(Feedback.objects.filter(verdict=1).order_by("query", "hit"))
    known = Image.objects.in_bulk(
        {n for one in liked for n in (one.hit, _number(one)) if n is not None}
    )
    highest = max(Image.objects.exclude(label=None).values_list("label", flat=True), default=-1)
    fresh: dict[str, int] = {}
    for one in liked:
        query = known.get(_number(one))
        label = query.label if query else None
        if label is None:
            label = fresh.setdefault(one.query, highest + 1 + len(fresh))
        votes[one.hit][label] += 1
        if query:
            votes[query.number][label] += 1
    chosen = {
        number: min(labels, key=lambda n: (-labels[n], n)) for number, labels in votes.items()
    }
    return sorted(
        (known[number].name, label)
        for number, label in chosen.items()
        if number in known and known[number].in_library
    )


def _number(one: Feedback) -> int | None:
    kind, _, value = one.query.partition(":")
    return int(value) if kind == "id" else None


def _names(numbers: set[int]) -> dict[int | None, str]:
    rows: dict[int, Image] = Image.objects.in_bulk(numbers)
    return {number: row.name for number, row in rows.items()}
