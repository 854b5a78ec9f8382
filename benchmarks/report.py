"""Fill the figures of docs/performance.md from the benchmarks' JSON.

A block of the page from `<!-- figures: NAME -->` to `<!-- end -->` is replaced by tables
of NAME.json; "summary" takes all of them. A file that is not there yet is said to be so.

    python benchmarks/report.py benchmarks/results docs/performance.md
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Report = dict[str, Any]
_BLOCK = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_KINDS = {"clustered": "clustered", "random": "random"}


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table of Markdown."""
    columns = list(head)
    lines = [columns, ["---"] * len(columns), *([*map(str, row)] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def figure(value: float) -> str:
    """Three digits that count, no exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.{0 if value == 0 else max(0, 2 - int(f'{value:e}'.split('e')[1]))}f}"


def search(report: Report) -> str:
    """Whole queries, the coarse step, what each part was done by."""
    cases = [case for case in (report, report.get("worst_case")) if case]
    rows = []
    for case in cases:
        for name, way in _queries(case):
            rows.append((_KINDS[case["data"]], name, *(figure(way[key]) for key in _TIMES)))
    return "\n".join(
        (
            _command("search_bench.py", report),
            table(("codes", "", "p50 ms", "p99 ms", "fastest ms"), rows),
            table(
                ("codes", "distinct", "candidates", "radius", "buckets", "way",
                 "whole: flat, sharded",
                 "coarse: flat, sharded",
                 "coarse GB/s", "of the memory's", "same results", "FAISS's recall"),
                map(_case, cases),
            ),
            table(
                ("codes", "ours: coarse, fine, rank ms", "FAISS's ways", "open ms", "+ first query",
                 "batch"),
                map(_parts, cases),
            ),
            _machine(report),
        )
    )  # fmt: skip


_TIMES = ("p50_ms", "p99_ms", "min_ms")


def _queries(case: Report) -> list[tuple[str, Report]]:
    names = {
        "ours": "LatentHash",
        "faiss_flat": "FAISS: IndexBinaryFlat, then features",
        "faiss_sharded": "FAISS: one IndexBinaryFlat a core, then features",
        "numpy_linear": "NumPy, linear scan",
    }
    found = [(name, case[key]) for key, name in names.items() if key in case]
    coarse = case["coarse"]
    return [
        *found,
        ("coarse step: LatentHash", coarse["ours"]),
        ("coarse step: FAISS IndexBinaryFlat", coarse["faiss"]),
        ("coarse step: one IndexBinaryFlat a core", coarse["faiss_sharded"]),
    ]


def _case(case: Report) -> tuple[object, ...]:
    return (
        _KINDS[case["data"]], f"{case['distinct_codes']:,}", f"{case['candidates_p50']:,}",
        case["radius_p50"], f"{case['buckets_p50']:,}", ", ".join(case["ways"]),
        f"{case['flat_ratio']} x, {ratio(case, 'faiss_sharded')} x",
        f"{case['coarse_ratio']} x, {case['coarse_sharded_ratio']} x", figure(case["coarse_gb_s"]),
        f"{case['bandwidth_share']:.0%}", "yes" if case["same_results"] else "NO",
        case["faiss_recall"],
    )  # fmt: skip


def ratio(case: Report, way: str) -> float:
    """How many times longer a way takes than ours."""
    return round(case[way]["p50_ms"] / case["ours"]["p50_ms"], 2)


def _parts(case: Report) -> tuple[object, ...]:
    ours = case["ours"]
    phases = [key for key in ("coarse_p50_ms", "fine_p50_ms", "rank_p50_ms") if key in ours]
    ways, batch = case["faiss_ways"], case.get("batch")
    return (
        _KINDS[case["data"]],
        ", ".join(figure(ours[key]) for key in phases),
        f"{ways['coarse']}; {ways['sharded']}; {ways['fine']}",
        figure(case["open"]["p50_ms"]),
        figure(case["open"]["with_first_query_p50_ms"]),
        f"{figure(batch['batch_queries_s'])} a second, {batch['ratio']} x singles" if batch else "",
    )


def scaling(report: Report) -> str:
    """Time and memory per number of codes."""
    rows = []
    for step in report["steps"]:
        for method, measured in step["methods"].items():
            rows.append((f"{step['codes']:,}", method, *_grown(measured)))
    head = (
        "codes",
        "",
        "nearest: p50 ms",
        "p99 ms",
        "radius: p50 ms",
        "p99 ms",
        "MB",
        "built in s",
    )
    same = "the same" if all(step["same_results"] for step in report["steps"]) else "NOT the same"
    said = f"Within the radius all found {same} number of images for every query.\n"
    return "\n".join((_command("scaling.py", report), table(head, rows), said, _machine(report)))


def _grown(measured: Report) -> tuple[str, ...]:
    if "left_out" in measured:
        return (measured["left_out"], "", "", "", "", "")
    times = [
        figure(measured[task][key]) if task in measured else "-"
        for task in ("nearest", "radius")
        for key in ("p50_ms", "p99_ms")
    ]
    return (*times, figure(measured["mb"]), figure(measured["build_s"]))


def build(report: Report) -> str:
    """Building from HDF5."""
    row = [
        figure(report[key])
        for key in ("images_s", "disk_images_s", "read_mb_s", "write_mb_s", "peak_mb")
    ]
    head = ("images/s", "reading then writing as many bytes", "read MB/s", "write MB/s", "peak MB")
    return "\n".join((_command("build_bench.py", report), table(head, [row]), _machine(report)))


def summary(folder: Path) -> str:
    """What was asked for beside what was measured."""
    rows = []
    for work, name, must, aim, found in _ASKED:
        path = folder / f"{name}.json"
        measured = found(json.loads(path.read_text())) if path.is_file() else "not measured yet"
        rows.append((work, must, aim, measured))
    return table(("work", "must", "aim", "measured"), rows)


def _cases(report: Report, say: Callable[[Report], str]) -> str:
    """Both kinds of codes: `say` of the clustered, then of the random."""
    cases = [case for case in (report, report.get("worst_case")) if case]
    return "; ".join(f"{_KINDS[case['data']]} {say(case)}" for case in cases)


def _whole(report: Report) -> str:
    return _cases(
        report,
        lambda c: (
            f"{figure(c['ours']['p50_ms'])} ms, {c['ratio']} x "
            f"(IndexBinaryFlat alone {c['flat_ratio']} x)"
        ),
    )


def _cold(report: Report) -> str:
    return _cases(report, lambda c: f"{figure(c['ours']['p50_ms'])} ms")


def _coarse(report: Report) -> str:
    return _cases(
        report,
        lambda c: (
            f"{figure(c['coarse']['ours']['p50_ms'])} ms, {c['coarse_ratio']} x "
            f"(one a core: {c['coarse_sharded_ratio']} x), "
            f"{c['bandwidth_share']:.0%} of bandwidth"
        ),
    )


def _thesis(report: Report) -> str:
    return _cases(report, lambda c: f"{figure(c['ours']['p50_ms'])} ms, {c['linear_ratio']} x")


def _growth(report: Report) -> str:
    first, last = (
        report["steps"][place]["methods"]["LatentHash"].get("radius") for place in (0, -1)
    )
    codes = report["steps"][-1]["codes"] / report["steps"][0]["codes"]
    if not first or not last:
        return "left out: no memory"
    return f"{figure(last['p50_ms'] / first['p50_ms'])} x the time for {codes:,.0f} x the codes"


def _built(report: Report) -> str:
    return f"{figure(report['images_s'])} images/s, peak {figure(report['peak_mb'])} MB"


def _batch(report: Report) -> str:
    return _cases(report, lambda c: f"{c['batch']['ratio']} x")


def _open(report: Report) -> str:
    return _cases(report, lambda c: f"{figure(c['open']['p50_ms'])} ms")


_ASKED: tuple[tuple[str, str, str, str, Callable[[Report], str]], ...] = (
    ("2.5 M x 128 bits x 4,096-d, 10,000 candidates, top 1,000, in memory", "search",
     "30 ms, 3 x FAISS", "12 ms", _whole),
    ("the same, features not in the page cache", "cold", "250 ms", "100 ms", _cold),
    ("coarse step alone", "search", "3 x IndexBinaryFlat", "70 % of the bandwidth", _coarse),
    ("8,677 x 8 bits x 4,096-d, chi-square, top 100", "thesis", "5 ms, 10 x NumPy's scan", "",
     _thesis),
    ("10 k to 100 M codes, small radius", "scaling", "", "below linear", _growth),
    ("build from HDF5, 4,096-d float16", "build", "30,000 images/s, 2 GiB", "the disk's", _built),
    ("batch of 100", "search", "2 x singles", "", _batch),
    ("open, 2.5 M", "search", "100 ms", "", _open),
)  # fmt: skip


def _command(script: str, report: Report) -> str:
    settings = (
        f"--{name.replace('_', '-')} {value}"
        for name, value in report["command"].items()
        if value is not None
    )
    return f"`{script} {' '.join(settings)}`\n"


def _machine(report: Report) -> str:
    machine, versions = report["machine"], report["versions"]
    bandwidth = report.get("memory_bandwidth_gb_s")
    read = f", memory read at {bandwidth} GB/s" if bandwidth else ""
    packages = ", ".join(
        f"{name} {version}" if version else f"{name} not installed"
        for name, version in versions.items()
    )
    return (
        f"{machine['cpu']}, {machine['cores']} cores, L3 {machine['l3']}, "
        f"{' '.join(machine['simd'])}, {machine['memory_gb']} GB{read}; {machine['system']}; "
        f"{packages}.\n"
    )


TABLES: dict[str, Callable[[Report], str]] = {
    "search": search,
    "top10": search,
    "cold": search,
    "thesis": search,
    "scaling": scaling,
    "scaling_random": scaling,
    "build": build,
}


def fill(page: str, folder: Path) -> str:
    """The page with all its blocks made anew."""

    def block(match: re.Match[str]) -> str:
        head, name, end = match.groups()
        path = folder / f"{name}.json"
        if name == "summary":
            text = summary(folder)
        elif path.is_file():
            text = TABLES[name](json.loads(path.read_text()))
        else:
            text = "Not measured yet.\n"
        return f"{head}\n{text}\n{end}"

    return _BLOCK.sub(block, page)


def main() -> None:
    """Fill the page in place."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, help="folder of the JSON files")
    parser.add_argument("page", type=Path, help="Markdown to fill")
    args = parser.parse_args()
    args.page.write_text(fill(args.page.read_text(), args.results))


if __name__ == "__main__":
    main()
