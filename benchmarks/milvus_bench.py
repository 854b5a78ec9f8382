"""An index in Milvus beside the local one: time of a query, of writing, and memory.

Ways take turns, query by query: the local index, Milvus with candidates compared here,
Milvus with candidates compared there, and its coarse step alone. All must answer the same;
the report says which of the two ways with Milvus is faster. Without --server, one of the
PyPI package `milvus` is started on this machine, whose cores both sides then share.

    python benchmarks/milvus_bench.py --images 100000 --dim 512 --json milvus.json
    python benchmarks/milvus_bench.py --server host:19530 --json milvus.json
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness import (
    Report,
    command,
    interleaved,
    machine,
    percentiles,
    say,
    timed,
    versions,
    write_json,
)  # fmt: skip
from latenthash.adapters.milvus import MilvusIndex, MilvusWriter
from latenthash.adapters.milvus import build_index as build_in_milvus
from latenthash.codes import CodeSet, Rows
from latenthash.index import BucketIndex, Hits, SearchOptions, build_index
from synthetic import KINDS, Synthetic, SyntheticCodes

LOCAL, HERE, THERE, COARSE = "local", "milvus, here", "milvus, there", "milvus, coarse alone"
_TESTS = Path(__file__).resolve().parent.parent / "tests"
_NAME = "latenthash_benchmark"


@contextmanager
def server(args: argparse.Namespace, folder: Path) -> Iterator[tuple[str, int | None]]:
    """Address of the index, and the server's process group if it is ours."""
    if args.server:
        yield f"milvus://{args.server}/{_NAME}", None
        return
    sys.path.append(str(_TESTS))
    from milvus_server import running

    with running(folder / "server", folder / "binaries") as started:
        yield f"milvus://127.0.0.1:{started.port}/{_NAME}", started.group


def resident_mb(group: int | None) -> float | None:
    """Memory of a process group that is resident."""
    if group is None:
        return None
    pages = 0
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdecimal() and os.getpgid(int(folder.name)) == group:
                pages += int((folder / "statm").read_text().split()[1])
        except OSError:  # it ended meanwhile
            continue
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def built(codes: CodeSet, address: str, folder: Path, group: int | None) -> Report:
    """Build both; images a second, and what the server's memory grew by."""
    local, _ = timed(lambda: build_index(codes, folder / "index"))
    before = resident_mb(group)
    remote, _ = timed(lambda: build_in_milvus(codes, address))
    after = resident_mb(group)
    return {
        "local_images_s": round(len(codes) / local, 1),
        "milvus_images_s": round(len(codes) / remote, 1),
        "server_mb_before": before,
        "server_mb_after": after,
    }


def measured(
    args: argparse.Namespace, ways: dict[str, Any], queries: Rows, options: SearchOptions
) -> Report:
    """Time of one query by each way, and whether the answers are the same."""
    coarse = replace(options, top=1)

    def ask(name: str, number: int) -> Hits:
        one = slice(number, number + 1)
        how = coarse if name == COARSE else options
        [hits] = ways[name].search(queries.codes[one], queries.features[one], how)
        found: Hits = hits
        return found

    calls = {name: (lambda number, name=name: ask(name, number)) for name in ways}
    seconds, results = interleaved(calls, args.queries)
    report: Report = {name: percentiles(times) for name, times in seconds.items()}
    for name, answers in results.items():
        for phase in ("coarse", "fine"):
            spent = [answer.timings_ms[phase] for answer in answers]
            report[name][f"{phase}_p50_ms"] = round(float(np.median(spent)), 3)
    whole = [results[name] for name in (LOCAL, HERE, THERE) if name in results]
    report["same_results"] = all(same(*answers) for answers in zip(*whole, strict=True))
    report["candidates_mean"] = float(np.mean([hits.candidates for hits in results[LOCAL]]))
    return report


def same(*answers: Hits) -> bool:
    """Whether the hits are the same, in the same order, but for ties by rounding."""
    first = answers[0]
    return all(
        one.candidates == first.candidates
        and np.allclose(one.distances, first.distances, rtol=1e-5)
        for one in answers[1:]
    )


def batch(ways: dict[str, Any], queries: Rows, options: SearchOptions) -> Report:
    """Queries a second when all are asked together."""
    report = {}
    for name in (LOCAL, HERE, THERE):
        took, _ = timed(
            lambda name=name: ways[name].search(queries.codes, queries.features, options)
        )
        report[name] = round(len(queries) / took, 1)
    return report


def changed(address: str, ids: Sequence[int]) -> Report:
    """Seconds to remove some images."""
    with MilvusWriter(address) as writer:
        removing, _ = timed(lambda: writer.remove(ids))
    return {"removed": len(ids), "remove_s": round(removing, 3)}


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--images", type=int, default=100_000)
    add("--bits", type=int, default=128)
    add("--dim", type=int, default=512)
    add("--candidates", type=int, default=1000)
    add("--top", type=int, default=10)
    add("--metric", default="l2", help="Milvus compares by l2 only; any other is compared here")
    add("--queries", type=int, default=100)
    add("--data", choices=KINDS, default=KINDS[0])
    add("--seed", type=int, default=0)
    add("--server", help="host:port of a server that runs already")
    add("--work", type=Path, help="folder for both indexes and the server")
    add("--json", type=Path, required=True, help="report to write")
    return parser.parse_args()


def main() -> None:
    """Build, ask, change; one report."""
    args = arguments()
    options = SearchOptions(top=args.top, metric=args.metric, candidates=args.candidates)
    with ExitStack() as stack:
        scratch = tempfile.TemporaryDirectory(prefix="latenthash-milvus-", dir=args.work)
        folder = Path(stack.enter_context(scratch))
        address, group = stack.enter_context(server(args, folder))
        recipe = Synthetic(args.data, args.images, args.bits, args.dim, args.seed)
        codes = SyntheticCodes(recipe, folder)
        say("building both")
        build = built(codes, address, folder, group)
        local = stack.enter_context(BucketIndex(folder / "index"))
        here = stack.enter_context(MilvusIndex(address, "here"))
        there = stack.enter_context(MilvusIndex(address, "milvus"))
        ways = {LOCAL: local, HERE: here, THERE: there, COARSE: there}
        queries = recipe.queries(args.queries)
        say("asking")
        singles = measured(args, ways, queries, options)
        faster = min((HERE, THERE), key=lambda name: singles[name]["p50_ms"])
        report: Report = {
            "command": command(args, "server"),
            "build": build,
            "singles": singles,
            "faster": faster,
            "batch_queries_s": batch(ways, queries, options),
            "change": changed(address, range(0, len(codes), 100)),
            "machine": machine(),
            "versions": versions() | {"pymilvus": _version("pymilvus")},
        }
    write_json(report, args.json)
    say(f"{faster} is faster; {args.json}")


def _version(name: str) -> str:
    from importlib.metadata import version

    return version(name)


if __name__ == "__main__":
    main()
