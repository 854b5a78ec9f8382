"""What people read of an evaluation."""

from __future__ import annotations

from typing import Any

from latenthash.evaluate import Evaluation, Outcome
from latenthash.evaluate.coarse_to_fine import Fine
from latenthash.evaluate.in_library import TOP, InLibrary


def text(outcome: Outcome) -> str:
    """The measures of each part of an outcome, a line each."""
    lines = _protocol(outcome.report.get("protocol"))
    if outcome.in_library:
        lines += [*_in_library(outcome.in_library), "", "by code alone, counting themselves:"]
    lines += _evaluation(outcome.evaluation)
    for name, evaluation in outcome.variants.items():
        lines += ["", name.replace("_", " ") + ":", *_evaluation(evaluation)]
    if outcome.fine:
        lines += _fine(outcome.fine)
    return "\n".join(lines)


def _protocol(told: dict[str, Any] | None) -> list[str]:
    if told is None:
        return []
    lines = [f"protocol {told['name']}: {told['says']}"]
    if told["differs"]:  # what it says of numbers is not true here
        lines = [f"protocol {told['name']}", f"NOT the protocol's own data: {told['differs']}"]
    if "unseen" in told:
        lines.append(f"never seen in training: {', '.join(told['unseen'])}")
    return lines


def _evaluation(result: Evaluation) -> list[str]:
    lines = [
        f"{result.queries} queries, {result.database} images, {result.distinct_codes} codes used"
    ]
    if result.excluded:
        lines.append(f"left out, as the database holds the very file: {len(result.excluded)}")
    for name, key in (
        (f"mAP at {result.k}", f"map_at_{result.k}"),
        ("mAP over all", "map_all"),
        ("mAP, ties random", "map_tie_aware"),
        ("precision within 2", "radius2_precision"),
    ):
        lines.append(_line(name, result.means[key], result.intervals[key]))
    for rank in result.precision_at:
        key = f"precision_at_{rank}"
        line = _line(f"precision at {rank}", result.means[key], result.intervals[key])
        lines.append(f"{line}  ties random: {result.means[f'tie_aware_{key}']:.4f}")
    return lines


def _line(name: str, mean: float, interval: tuple[float, float]) -> str:
    return f"{name:<18} {mean:.4f}  95 %: {interval[0]:.4f} to {interval[1]:.4f}"


def _fine(fine: Fine) -> list[str]:
    found = fine.found
    lines = [
        "",
        f"reranked by {fine.options.metric}, {found.candidates.mean():.0f} images compared a "
        f"query, {1e3 * found.seconds.mean():.2f} ms:",
    ]
    for key, mean in fine.means.items():
        if key.startswith(("map_at_", "precision_at_")):
            name = key.replace("map", "mAP").replace("_", " ")
            gain = fine.gains[key][0]
            lines.append(_line(name, mean, fine.intervals[key]) + f"  over code alone: {gain:+.4f}")
    return lines


def _in_library(library: InLibrary) -> list[str]:
    seconds, saved = library.seconds, library.saved
    lines = [
        f"{len(library.rows)} images of the library, one at a time, {library.options.metric}:",
        f"{'':<30}{'hashed':>8}{'plain':>8}",
    ]
    for name, ways in (("", library.with_self), (" without self", library.without_self)):
        means = [100 * ways[way].precision.mean() for way in ("hashed", "plain")]
        lines.append(f"{f'precision at {TOP}{name}':<30}{means[0]:>7.1f}%{means[1]:>7.1f}%")
    times = [1e3 * seconds[way].mean() for way in ("hashed", "plain")]
    return [
        *lines,
        f"{'milliseconds a query':<30}{times[0]:>8.2f}{times[1]:>8.2f}",
        f"time saved {saved.min():.0%} to {saved.max():.0%}, {saved.mean():.0%} on average",
    ]
