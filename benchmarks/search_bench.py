"""One query against N images: LatentHash beside the best two-stage search made of FAISS.

All in one process, interleaved query by query, on the same features in memory.

    python benchmarks/search_bench.py --images 2500000 --bits 128 --dim 4096 \\
        --candidates 10000 --top 1000 --queries 200 --json search.json
    python benchmarks/search_bench.py --images 8677 --bits 8 --dim 4096 --metric chi2 \\
        --candidates 500 --top 100 --queries 200 --json thesis.json

The JSON holds the figures for codes that are clustered like learned ones, and under
"worst_case" the same for random codes; beside it a picture of the same name. Figures:
`ours` are whole queries; so are `faiss_flat`, which begins with IndexBinaryFlat as it is (one
thread a query), and `faiss_sharded`, with one part of it a core; `faiss_two_stage` is the faster
of the two. `coarse` is the way from a code to the candidates' rows. `ratio` says how many times
longer `faiss_two_stage` takes, `flat_ratio` the same of `faiss_flat`; `coarse_ratio` is against
IndexBinaryFlat, `coarse_sharded_ratio` against its parts.
`same_results`: FAISS, asked for as many candidates as our last whole ring closes with,
gives the same hits up to ties. `faiss_recall`: share of our hits that it finds when
timed, with exactly `--candidates` of them, which cuts the last ring at random.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import charts
from faiss_side import TwoStage, same_hits
from harness import (
    CORES,
    Report,
    available_bytes,
    command,
    forget,
    interleaved,
    machine,
    memory_bandwidth,
    peak_mb,
    percentiles,
    resident_share,
    say,
    timed,
    versions,
    warm,
    write_json,
)  # fmt: skip
from latenthash.codes import Rows
from latenthash.distances import METRICS
from latenthash.hamming import width, words
from latenthash.index import BucketIndex, SearchOptions, build_index
from latenthash.index.bucket.candidates import Source
from latenthash.index.bucket.coarse import SegmentCodes
from latenthash.index.bucket.eligible import eligible
from latenthash.index.bucket.query import coarse
from latenthash.index.bucket.segment import Segment
from latenthash.kernels import rows_of
from synthetic import KINDS, Synthetic, SyntheticCodes

WHOLE = {False: "faiss_flat", True: "faiss_sharded"}  # by whether one part a core is searched
_CHECKED = 25  # queries whose answers are compared
_ROUNDS = 5
_LINEAR_BYTES = 2 << 30  # up to here the linear scan of NumPy is timed too


class Bench:
    """One index, its queries, and both sides open on them."""

    def __init__(self, args: argparse.Namespace, folder: Path, queries: Rows) -> None:
        self.args, self.folder, self.queries = args, folder, queries
        self.features = queries.features.astype(np.float32)
        self.index = BucketIndex(folder)
        self.options = SearchOptions(
            top=args.top, metric=args.metric, candidates=min(args.candidates, args.images)
        )
        [self.segment] = self.index.generation.segments
        self.files = sorted(path for path in folder.rglob("*") if path.is_file())
        if args.cold == "features":
            self.files = [path for path in self.files if path.name == "features.npy"]
        self.side = two_stage(self.segment, args)
        if not args.cold:
            warm(self.files)

    def ours(self, query: int) -> Any:
        """One answer."""
        one = slice(query, query + 1)
        return self.index.search(self.queries.codes[one], self.features[one], self.options)[0]

    def theirs(self, sharded: bool) -> Any:
        """What answers queries with FAISS and its helpers."""
        codes, features = self.queries.codes, self.features
        return lambda query: self.side.search(codes[query], features[query], sharded)

    def whole(self) -> tuple[Report, dict[str, list[float]]]:
        """Whole queries, side by side."""
        ways = {"ours": self.ours} | {name: self.theirs(sharded) for sharded, name in WHOLE.items()}
        linear = self._linear()
        if linear is not None:
            ways["numpy_linear"] = linear
        before = partial(forget, self.files) if self.args.cold else None
        seconds, answers = interleaved(ways, len(self.queries), before)
        report: Report = {name: percentiles(times) for name, times in seconds.items()}
        report |= self._compare(answers["ours"], answers[WHOLE[False]])
        for phase in answers["ours"][0].timings_ms:
            phases = [1e-3 * hits.timings_ms[phase] for hits in answers["ours"]]
            report["ours"][f"{phase}_p50_ms"] = percentiles(phases)["p50_ms"]
        fastest = min(WHOLE.values(), key=lambda name: report[name]["p50_ms"])
        report["faiss_two_stage"] = report[fastest] | {"way": fastest}
        report["ratio"] = ratio(report["faiss_two_stage"], report["ours"])
        report["flat_ratio"] = ratio(report[WHOLE[False]], report["ours"])
        if linear is not None:
            report["linear_ratio"] = ratio(report["numpy_linear"], report["ours"])
        return report, seconds

    def _compare(self, ours: list[Any], theirs: list[Any]) -> Report:
        shared = [
            float(np.isin(hits.ids, ids).mean()) if len(hits.ids) else 1.0
            for hits, (ids, _) in zip(ours, theirs, strict=True)
        ]
        same = [
            same_hits(
                (hits.ids, hits.distances),
                self.side.search(
                    self.queries.codes[query], self.features[query], candidates=hits.candidates
                ),
            )
            for query, hits in enumerate(ours[:_CHECKED])
        ]
        return {
            "same_results": all(same),
            "compared_queries": len(same),
            "faiss_recall": round(float(np.mean(shared)), 4),
            "candidates_p50": int(np.median([hits.candidates for hits in ours])),
            "buckets_p50": int(np.median([hits.buckets for hits in ours])),
            "radius_p50": int(np.median([hits.radius for hits in ours])),
            "ways": sorted({way for hits in ours for way in hits.ways}),
        }

    def _linear(self) -> Any:
        """The plain search: NumPy compares the query with every feature."""
        if self.args.cold or 4 * self.args.images * self.args.dim > _LINEAR_BYTES:
            return None
        by_position = self.segment.features[self.segment.rows]
        everything = by_position.astype(np.float32)
        if self.segment.scale is not None:
            everything *= self.segment.scale

        def scan(query: int) -> Any:
            distances = METRICS[self.args.metric](self.features[query], everything)
            top = min(self.args.top, len(distances))
            nearest = np.argpartition(distances, top - 1)[:top]
            return nearest[np.argsort(distances[nearest], kind="stable")]

        return scan

    def coarse(self, bandwidth: float) -> tuple[Report, dict[str, list[float]]]:
        """From a code to the rows of its candidates."""
        segment, queries = self.segment, words(self.queries.codes)
        everything = eligible(segment, self.index.manifest["classes"], None)
        source = Source(segment, SegmentCodes(segment.buckets, self.args.bits), everything)
        usual: int | None = None  # the radius of the query before, as the index itself expects

        def ours(query: int) -> Any:
            nonlocal usual
            near = coarse([source], queries[query], self.options, usual)
            usual = near.radius
            return rows_of(segment.offsets, *near.taken[0])

        def theirs(sharded: bool) -> Any:
            return lambda query: self.side.coarse(self.queries.codes[query], sharded)

        ways = {"ours": ours, "faiss": theirs(False), "faiss_sharded": theirs(True)}
        seconds, _ = interleaved(ways, len(self.queries))
        report: Report = {name: percentiles(times) for name, times in seconds.items()}
        read = segment.buckets.nbytes + segment.sizes.nbytes
        speed = read / report["ours"]["p50_ms"] / 1e6
        return {
            "coarse": report,
            "coarse_ratio": ratio(report["faiss"], report["ours"]),
            "coarse_sharded_ratio": ratio(report["faiss_sharded"], report["ours"]),
            "coarse_bytes": read,
            "coarse_gb_s": round(speed, 4),
            "bandwidth_share": round(speed / bandwidth, 6),
        }, seconds

    def batch(self) -> Report:
        """Throughput of a batch of 100 against 100 single queries."""
        size = min(100, len(self.queries))

        def batch(_: int) -> Any:
            return self.index.search(self.queries.codes[:size], self.features[:size], self.options)

        def singles(_: int) -> Any:
            return [self.ours(query) for query in range(size)]

        seconds, _ = interleaved({"batch": batch, "singles": singles}, _ROUNDS)
        rates = {name: size / float(np.median(times)) for name, times in seconds.items()}
        return {
            "size": size,
            "batch_queries_s": round(rates["batch"], 1),
            "single_queries_s": round(rates["singles"], 1),
            "ratio": round(rates["batch"] / rates["singles"], 2),
        }

    def opening(self) -> Report:
        """Time to open the index, and with the first query."""
        one = (self.queries.codes[:1], self.features[:1], self.options)

        def first() -> None:
            with BucketIndex(self.folder) as index:
                index.search(*one)

        opens = [timed(lambda: BucketIndex(self.folder).close())[0] for _ in range(4 * _ROUNDS)]
        firsts = [timed(first)[0] for _ in range(_ROUNDS)]
        return percentiles(opens) | {"with_first_query_p50_ms": percentiles(firsts)["p50_ms"]}


def two_stage(segment: Segment, args: argparse.Namespace) -> TwoStage:
    """FAISS's side on the same rows: code by row, features where they are."""
    sizes = np.diff(segment.offsets)
    by_bucket = np.ascontiguousarray(segment.buckets).view(np.uint8)[:, : width(args.bits)]
    return TwoStage(
        np.repeat(np.ascontiguousarray(by_bucket), sizes, axis=0),
        segment.features, segment.scale, np.asarray(segment.ids)[segment.positions],
        args.bits, args.metric, args.candidates, args.top, copy=not args.cold,
    )  # fmt: skip


def ratio(slow: Report, fast: Report) -> float:
    """How many times longer the median of `slow` is."""
    return round(slow["p50_ms"] / fast["p50_ms"], 2)


def prepare(args: argparse.Namespace, kind: str, recipe: Synthetic) -> tuple[Path, Report]:
    """The index, made now unless an equal one is kept."""
    name = f"{kind}-{args.images}x{args.bits}x{args.dim}-{args.storage}-{args.seed}"
    folder: Path = args.work / name
    if folder.exists():
        return folder, {"seconds": None}
    say(f"{kind}: making an index of {args.images} images in {folder}")
    args.work.mkdir(parents=True, exist_ok=True)
    seconds, _ = timed(
        lambda: build_index(SyntheticCodes(recipe, args.work), folder, storage=args.storage)
    )
    rate = args.images / seconds
    return folder, {"seconds": round(seconds, 2), "images_s_with_generation": round(rate, 1)}


def measure(args: argparse.Namespace, kind: str, bandwidth: float) -> tuple[Report, Any]:
    """Everything about one kind of codes."""
    recipe = Synthetic(kind, args.images, args.bits, args.dim, args.seed)
    folder, made = prepare(args, kind, recipe)
    bench = Bench(args, folder, recipe.queries(args.queries))
    say(f"{kind}: choosing the fastest ways of FAISS, NumPy and PyTorch")
    tried = bench.side.choose(bench.queries.codes, bench.features)
    say(f"{kind}: measuring")
    whole, seconds = bench.whole()
    coarse, coarse_seconds = bench.coarse(bandwidth)
    report: Report = {
        "data": kind,
        "distinct_codes": len(bench.segment.buckets),
        **whole,
        **coarse,
        "faiss_ways": {
            "coarse": bench.side.coarse_way[False],
            "sharded": bench.side.coarse_way[True],
            "fine": bench.side.fine_way,
        },
        "faiss_tried_p50_ms": tried,
        "open": bench.opening(),
        "build": made,
        "feature_loss": bench.index.manifest.get("feature_loss"),
    }
    if args.cold:
        forget(bench.files)
        report["resident_share_when_cold"] = round(max(map(resident_share, bench.files)), 4)
    else:
        report["batch"] = bench.batch()
    return report, {"whole": seconds, "coarse": coarse_seconds}


def run(args: argparse.Namespace) -> None:
    """Measure, write the JSON and the picture."""
    kinds = KINDS if args.data == "both" else (args.data,)
    bandwidth = memory_bandwidth()
    reports, times = {}, {}
    for kind in kinds:
        reports[kind], times[kind] = measure(args, kind, bandwidth)
    report = {
        "command": command(args),
        **reports[kinds[0]],
        "memory_bandwidth_gb_s": bandwidth,
        "machine": machine(),
        "versions": versions(),
        "peak_mb": peak_mb(),
        "available_mb": round(available_bytes() / 1e6),
    }
    if len(kinds) > 1:
        report["worst_case"] = reports[kinds[1]]
    write_json(report, args.json)
    charts.latencies(report, times, args.json.with_suffix(".png"))
    say(f"{args.json}: ours {report['ours']['p50_ms']} ms, {report['ratio']} times faster; "
        f"{CORES} cores")  # fmt: skip


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--images", type=int, required=True)
    add("--bits", type=int, required=True, help="of a code; FAISS takes whole bytes")
    add("--dim", type=int, required=True, help="values of a feature")
    add("--candidates", type=int, default=10_000)
    add("--top", type=int, default=1000)
    add("--queries", type=int, default=200)
    add("--metric", choices=tuple(METRICS), default="l2")
    add("--storage", choices=("int8", "float16", "float32"), default="int8")
    add("--data", choices=(*KINDS, "both"), default="both")
    add("--cold", nargs="?", choices=("features", "all"), const="features",
        help="drop the features, or all files, from the page cache before each query")  # fmt: skip
    add("--seed", type=int, default=0)
    add("--work", type=Path, help="keep the indexes in this folder and use them again")
    add("--json", type=Path, required=True, help="report to write, a PNG beside it")
    return parser.parse_args()


def main() -> None:
    """Run; without --work in a folder that is removed at the end."""
    args = arguments()
    if args.work:
        run(args)
        return
    with tempfile.TemporaryDirectory(prefix="latenthash-bench-") as folder:
        args.work = Path(folder)
        run(args)


if __name__ == "__main__":
    main()
