"""How the coarse step grows, from 10,000 to 100,000,000 codes: time, memory, a picture.

LatentHash beside FAISS: Flat reads all codes; Hash looks up the first bits of a code,
flipping up to `--radius` of them; MultiHash cuts a code into as many pieces as fit. The
settings make both exact for the radius. Two tasks: the `--candidates` nearest images
(Hash and MultiHash cannot) and all images within `--radius`. Every structure has a
process of its own, so that its memory is its own; one that would not fit is left out.

    python benchmarks/scaling.py --json scaling.json
    python benchmarks/scaling.py --data random --largest 10000000 --json random.json
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import faiss
import numpy as np

import charts
from harness import (
    CORES,
    Report,
    available_bytes,
    command,
    machine,
    memory_bandwidth,
    percentiles,
    say,
    timed,
    versions,
    write_json,
)  # fmt: skip
from latenthash.hamming import Codes, words
from latenthash.index.bucket.coarse import SegmentCodes, reach
from latenthash.kernels import rows_of
from synthetic import KINDS, Synthetic, all_codes

OURS, FLAT, HASH, MULTI = "LatentHash", "FAISS Flat", "FAISS Hash", "FAISS MultiHash"
_WARM_UP = 3
Tasks = dict[str, Callable[[Codes], Any]]


def ours(codes: Codes, args: argparse.Namespace) -> Tasks:
    """Distinct codes, offsets and sizes, as a segment holds them."""
    padded = words(codes)
    order = np.lexsort(padded.view(">u8").T[::-1])
    ordered = padded[order]
    del padded, order
    changes = np.flatnonzero((ordered[1:] != ordered[:-1]).any(axis=1)) + 1
    offsets = np.concatenate(([0], changes, [len(ordered)])).astype(np.int64)
    buckets = ordered[offsets[:-1]]
    del ordered, changes
    segment = SegmentCodes(buckets, args.bits)
    sizes = np.diff(offsets).astype(np.int32)

    def search(code: Codes, radius: int, wanted: int | None, expected: int | None) -> int:
        part = segment.start(words(code[None])[0], sizes, expected)
        rows, _ = rows_of(offsets, *part.taken(reach([part], radius, wanted)))
        return len(rows)

    return {
        "nearest": lambda code: search(code, args.bits, args.candidates, None),
        "radius": lambda code: search(code, args.radius, None, args.radius),
    }


def faiss_flat(codes: Codes, args: argparse.Namespace) -> Tasks:
    """Every code is read; one part a core."""
    index = faiss.IndexBinaryShards(args.bits, True)
    for part in np.array_split(np.arange(len(codes)), CORES):
        shard = faiss.IndexBinaryFlat(args.bits)
        shard.use_heap = False  # counting: faster for many candidates
        shard.add(np.ascontiguousarray(codes[part[0] : part[-1] + 1]))
        index.add_shard(shard)
        shard.this.disown()
    index.own_indices = True
    shards = [index.at(number) for number in range(index.count())]
    pool = ThreadPoolExecutor(CORES)

    def within(code: Codes) -> int:
        return sum(pool.map(lambda shard: _within(shard, code, args.radius), shards))

    return {
        "nearest": lambda code: len(index.search(code[None], args.candidates)[1][0]),
        "radius": within,
    }


def faiss_hash(codes: Codes, args: argparse.Namespace) -> Tasks:
    """The first bits of a code, about log2 of the number of codes."""
    index = faiss.IndexBinaryHash(args.bits, _piece(args.bits, len(codes)))
    index.nflip = args.radius
    index.add(codes)
    return {"radius": lambda code: _within(index, code, args.radius)}


def faiss_multihash(codes: Codes, args: argparse.Namespace) -> Tasks:
    """As many pieces as fit; of `radius` differing bits some piece has radius // pieces."""
    piece = _piece(args.bits, len(codes))
    pieces = args.bits // piece
    index = faiss.IndexBinaryMultiHash(args.bits, pieces, piece)
    index.nflip = args.radius // pieces
    index.add(codes)
    return {"radius": lambda code: _within(index, code, args.radius)}


def _piece(bits: int, codes: int) -> int:
    return int(min(bits, np.clip(round(np.log2(codes)), 8, 24)))


def _within(index: Any, code: Codes, radius: int) -> int:
    limits, _, _ = index.range_search(code[None], radius + 1)  # FAISS: nearer than
    return int(limits[-1])


METHODS: dict[str, Callable[[Codes, argparse.Namespace], Tasks]] = {
    OURS: ours,
    FLAT: faiss_flat,
    HASH: faiss_hash,
    MULTI: faiss_multihash,
}


def needed_bytes(method: str, codes: int, bits: int) -> int:
    """Memory while it is built, about; growing vectors of FAISS double."""
    width, pieces = bits // 8, bits // _piece(bits, codes)
    per_code = {
        OURS: 4 * width + 24,
        FLAT: 2 * width,
        HASH: 3 * (width + 8) + 24,
        MULTI: 2 * width + 20 * pieces,
    }
    return codes * per_code[method]


def anonymous_bytes() -> int:
    """Memory of this process that is no file's."""
    ctypes.CDLL(None).malloc_trim(0)
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def child(args: argparse.Namespace) -> Report:
    """Build one structure and time its tasks; runs in its own process."""
    faiss.omp_set_num_threads(CORES)
    codes, queries = np.load(args.codes, mmap_mode="r"), np.load(args.queries_file)
    before = anonymous_bytes()
    seconds, tasks = timed(lambda: METHODS[args.one](codes, args))
    gc.collect()
    report: Report = {"build_s": round(seconds, 3), "mb": 0.0}
    for name, task in tasks.items():
        for _ in range(_WARM_UP):
            found = [task(code) for code in queries]
            wait_for_tables()
        times = [timed(lambda code=code, task=task: task(code))[0] for code in queries]
        report[name] = percentiles(times) | {"found": found}
    return report | {"mb": round((anonymous_bytes() - before) / 1e6, 3)}


def wait_for_tables() -> None:
    """LatentHash makes tables beside its queries, once they pay."""
    for thread in threading.enumerate():
        if thread.name == "latenthash-tables":
            thread.join()


def step(args: argparse.Namespace, count: int, folder: Path) -> Report:
    """All methods at one number of codes."""
    say(f"{count} codes")
    recipe = Synthetic(args.data, count, args.bits, 1, args.seed)
    codes = all_codes(recipe)
    np.save(folder / "codes.npy", codes)
    np.save(folder / "queries.npy", recipe.queries(args.queries, features=False).codes)
    del codes
    report: Report = {"codes": count, "methods": {}}
    for method in METHODS:
        needed = needed_bytes(method, count, args.bits)
        if needed > 0.9 * available_bytes():
            report["methods"][method] = {"left_out": f"needs {needed / 1e9:.0f} GB to build"}
            continue
        report["methods"][method] = spawn(args, method, min(args.candidates, count), folder)
    report["same_results"] = same(report["methods"])
    for method, measured in report["methods"].items():
        say(f"  {method}: {json.dumps(measured)}")
    for name in ("codes.npy", "queries.npy"):
        (folder / name).unlink()
    return report


def spawn(args: argparse.Namespace, method: str, candidates: int, folder: Path) -> Report:
    """The report of a child process; `found` is kept until methods are compared."""
    process = [
        sys.executable, __file__, "--one", method, "--bits", args.bits, "--radius", args.radius,
        "--candidates", candidates, "--codes", folder / "codes.npy",
        "--queries-file", folder / "queries.npy", "--json", "-",
    ]  # fmt: skip
    done = subprocess.run([*map(str, process)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{method} failed: {done.stderr[-2000:]}")
    report: Report = json.loads(done.stdout)
    return report


def same(methods: dict[str, Report]) -> bool:
    """Whether all methods found equally many images within the radius, query by query."""
    found = [report["radius"].pop("found") for report in methods.values() if "radius" in report]
    for report in methods.values():
        report.get("nearest", {}).pop("found", None)
        if "radius" in report:
            report["radius"]["found_mean"] = round(float(np.mean(found[0])), 1)
    return all(counts == found[0] for counts in found)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--smallest", type=int, default=10_000)
    add("--largest", type=int, default=100_000_000)
    add("--bits", type=int, default=128, help="a multiple of 8")
    add("--radius", type=int, default=3)
    add("--candidates", type=int, default=10_000)
    add("--queries", type=int, default=200)
    add("--data", choices=KINDS, default=KINDS[0])
    add("--seed", type=int, default=0)
    add("--work", type=Path, help="folder for the codes: 1.6 GB at 100 M codes of 128 bits")
    add("--json", type=Path, required=True, help="report to write, a PNG beside it")
    add("--one", choices=tuple(METHODS), help=argparse.SUPPRESS)
    add("--codes", type=Path, help=argparse.SUPPRESS)
    add("--queries-file", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Grow by tens; the report is written after every step."""
    args = arguments()
    if args.one:
        print(json.dumps(child(args)))
        return
    report: Report = {
        "command": command(args, "one", "codes", "queries_file"),
        "steps": [],
        "memory_bandwidth_gb_s": memory_bandwidth(),
        "machine": machine(),
        "versions": versions(),
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="latenthash-scaling-", dir=args.work) as folder:
        count = args.smallest
        while count <= args.largest:
            report["steps"].append(step(args, count, Path(folder)))
            write_json(report, args.json)
            count *= 10
    charts.growth(report, args.json.with_suffix(".png"))


if __name__ == "__main__":
    main()
