"""Sections of the report on searching: both steps, their reach and their time."""

from __future__ import annotations

from statistics import mean, median

from ..plots import Curve
from . import figures
from .published import thesis_queries
from .results import Json, K, Results
from .text import between, bold, percent, table


def coarse_to_fine(results: Results) -> str:
    """The Hamming order beside the one by feature."""
    if "learned" not in results.files:
        return ""
    told, fine = results.files["learned"], results.files["learned"]["rerank"]
    names = {f"map_at_{K}": "mAP at 1,000"}
    names |= {f"precision_at_{at}": f"precision at {at}" for at in fine["precision_at"]}
    rows = []
    for key, title in names.items():
        gain, low, high = fine["gains"][key]
        rows.append([
            title,
            between(_mean_of(told, key), told["intervals"][key]),
            between(_mean_of(fine, key), fine["intervals"][key]),
            f"{100 * gain:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})",
        ])  # fmt: skip
    return "\n".join([
        "## Coarse only, and coarse to fine",
        "",
        f"Protocol `{told['protocol']['name']}`: {told['protocol']['says']}; "
        f"{told['queries']:,} queries, {told['database']:,} images, {told['bits']} bits, "
        f"{told['distinct_codes']:,} codes in use.",
        "",
        table(["measure", "by code", "by code, then by feature", "difference"], rows),
    ])  # fmt: skip


def _mean_of(told: Json, key: str) -> float:
    name, _, rank = key.rpartition("_")
    value: float = told[key] if key in told else told[name][rank]
    return value


def thesis(results: Results) -> str:
    """The thesis' tables 5-2 and 5-3 and its figures 5-6 and 5-7."""
    if "in_library" not in results.files:
        return ""
    run = results.files["in_library"]
    told = run["in_library"]
    _draw_thesis(results, told)
    return "\n".join([
        "## The thesis' experiment",
        "",
        "40 images of the library ask it, once through the codes and once without, by chi-square "
        "distance. The thesis ran it on Caltech-101 (8,677 images) with a VGG19 of 8 bits; those "
        "weights cannot be had here, so ours are the images at hand: "
        f"{run['database']:,} images, {run['bits']} bits. The two columns are therefore two "
        "systems on two data sets.",
        "",
        table(["40 queries", "the thesis, Caltech-101", "here"], _thesis_rows(told)),
        "",
        results.picture("thesis_map_by_rank", "mean average precision at each rank"),
        "",
        results.picture("thesis_times", "how many queries took how long"),
        "",
        "<details><summary>Each query</summary>",
        "",
        _each_query(told),
        "",
        "</details>",
    ])  # fmt: skip


def _draw_thesis(results: Results, told: Json) -> None:
    figures.time_histogram(
        {way: [1e3 * value for value in told["seconds"][way]] for way in ("hashed", "plain")},
        results.pictures / "thesis_times.png",
    )
    figures.quality_by_rank(
        {way: told["with_self"][way]["map_by_rank"] for way in ("hashed", "plain")},
        results.pictures / "thesis_map_by_rank.png",
    )


def _thesis_rows(told: Json) -> list[list[str]]:
    published, saved = thesis_queries(), told["seconds"]["saved"]
    return [
        ["precision at 20, hashed", f"{mean(one.precision_hashed for one in published):.2f}",
         percent(told["with_self"]["hashed"]["precision_at_20"])],
        ["precision at 20, plain", f"{mean(one.precision_plain for one in published):.2f}",
         percent(told["with_self"]["plain"]["precision_at_20"])],
        ["seconds a query, hashed", f"{mean(one.seconds_hashed for one in published):.3f}",
         f"{mean(told['seconds']['hashed']):.5f}"],
        ["seconds a query, plain", f"{mean(one.seconds_plain for one in published):.3f}",
         f"{mean(told['seconds']['plain']):.5f}"],
        ["time saved, least to most", f"{min(one.reduction for one in published):.0f} to "
         f"{max(one.reduction for one in published):.0f}",
         f"{100 * min(saved):.0f} to {100 * max(saved):.0f}"],
        ["time saved, median", f"{median(one.reduction for one in published):.0f}",
         f"{100 * median(saved):.0f}"],
    ]  # fmt: skip


def _each_query(told: Json) -> str:
    rows = []
    for number, one in enumerate(thesis_queries()):
        ours = [told["with_self"][way]["per_query"][number] for way in ("hashed", "plain")]
        times = [told["seconds"][way][number] for way in ("hashed", "plain")]
        rows.append([
            str(one.query),
            one.category,
            f"{one.precision_hashed:.0f} / {one.precision_plain:.0f}",
            f"{one.seconds_hashed:.3f} / {one.seconds_plain:.3f}",
            f"{one.reduction:.0f}",
            told["queries"][number]["class"],
            f"{100 * ours[0]:.0f} / {100 * ours[1]:.0f}",
            f"{1e3 * times[0]:.2f} / {1e3 * times[1]:.2f}",
            f"{100 * (1 - times[0] / times[1]):.0f}",
        ])  # fmt: skip
    return table(
        ["", "the thesis' query", "precision at 20", "s", "saved", "our query",
         "precision at 20", "ms", "saved"],
        rows,
    )  # fmt: skip


def reach(results: Results) -> str:
    """Quality and time over radius and candidates."""
    if "reach" not in results.files:
        return ""
    told = results.files["reach"]
    lines: dict[str, Curve] = {}
    marks: dict[str, list[str]] = {}
    rows = []
    for one in told["results"]:
        if one["exact"]:
            kind, mark = "every image compared", "exact"
        elif one["radius"] is None:
            kind, mark = "nearest codes until there are candidates", f"{one['candidates']:,}"
        else:
            kind, mark = "all codes within a radius", f"r {one['radius']}"
        times, values = lines.setdefault(kind, ([], []))
        times.append(one["median_ms"])  # type: ignore[union-attr]
        values.append(one["precision_at_100"])  # type: ignore[union-attr]
        marks.setdefault(kind, []).append(mark)
        rows.append([mark, f"{one['compared']:,.0f}", percent(one["precision_at_100"]),
                     percent(one["recall_of_exact"]), f"{one['median_ms']:.2f}",
                     f"{one['p99_ms']:.2f}"])  # fmt: skip
    figures.quality_over_time(lines, marks, results.pictures / "reach.png", "precision at 100")
    head = ["reach", "images compared", "precision at 100", "of the exact 100", "ms, median",
            "ms, 99 %"]  # fmt: skip
    return "\n".join([
        "## How far the coarse step goes",
        "",
        f"{told['queries']} queries one at a time, the first {told['top']} hits by feature.",
        "",
        table(head, rows),
        "",
        results.picture("reach", "precision over time for radii and numbers of candidates"),
    ])  # fmt: skip


def searches(results: Results) -> str:
    """Nearest-neighbour searches of the same features."""
    if "searches" not in results.files:
        return ""
    told = results.files["searches"]
    rows = [
        [bold(one["method"]) if one["method"] == "hash" else one["method"],
         percent(one["recall"]), percent(one["map_at_k"]), f"{one['median_ms']:.3f}",
         f"{one['p99_ms']:.3f}", f"{one['memory_bytes'] / 1e6:.1f}", f"{one['build_seconds']:.1f}"]
        for one in told["results"]
    ]  # fmt: skip
    k = told["results"][0]["k"]
    head = ["search", f"of the exact {k}", f"mAP at {k}", "ms, median", "ms, 99 %", "MB",
            "build, s"]  # fmt: skip
    return "\n".join([
        "## Nearest-neighbour search beside hash-then-rerank",
        "",
        f"{told['images']:,} images, {told['dim']} values a feature, one thread, one query at a "
        f"time. `hash` is this system's index with codes of {told['bits']} bits; the others are "
        "FAISS'.",
        "",
        table(head, rows),
    ])  # fmt: skip


def neural_codes(results: Results) -> str:
    """Features compressed by PCA, of the trained network and of one that saw no such image."""
    if "neural" not in results.files:
        return ""
    own = results.files["neural"]
    generic = results.files.get("neural_generic", {"results": []})
    others = {one["dim"]: one for one in generic["results"]}
    rows = [
        [f"{one['dim']:,}{', not compressed' if one['whole'] else ''}", f"{2 * one['dim']:,}",
         percent(one["map_at_1000"]), percent(one["precision_at_100"]),
         percent(others.get(one["dim"], {}).get("map_at_1000")),
         percent(others.get(one["dim"], {}).get("precision_at_100"))]
        for one in own["results"]
    ]  # fmt: skip
    head = ["values", "bytes", "mAP at 1,000", "precision at 100",
            "ImageNet features: mAP at 1,000", "precision at 100"]  # fmt: skip
    return "\n".join([
        "## Compressed neural codes",
        "",
        f"Features of length 1, projected by PCA learned on {own['learned_from']:,} images "
        f"(Babenko et al., 2014), two bytes a value; {own['queries']:,} queries, all images "
        "ranked. A code of 48 bits is 6 bytes.",
        "",
        table(head, rows),
    ])  # fmt: skip


def health(results: Results) -> str:
    """What the codes are worth."""
    if "health" not in results.files:
        return ""
    told = results.files["health"]
    return "\n".join([
        "## Code health",
        "",
        f"{told['images']:,} images lie in {told['codes']:,} buckets; the bits are worth "
        f"{told['independent_bits']:.1f} independent ones, {len(told['dead_bits'])} are dead.",
        "",
        results.picture("health", "bucket sizes, balance and correlation of bits, candidates"),
    ])  # fmt: skip
