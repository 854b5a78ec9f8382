"""Building an index from HDF5: images/s, memory, and what the disk could do at best.

The code file is dropped from the page cache before it is read, and the index counts as
built when it is on the disk (fsync). Beside it, in turn: the same bytes read from the
code file and, after that, written to one plain file with fsync; no build can be faster
than the slower of the two, and on one disk none that is not cached beats their sum.

    python benchmarks/build_bench.py --images 200000 --dim 4096 --json build.json
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from harness import Report, command, forget, machine, percentiles, say, timed, versions, write_json
from synthetic import KINDS, Synthetic, write_hdf5

_CHUNK = 16 << 20
_BUILD = """
import resource, sys
from pathlib import Path
from time import perf_counter
from latenthash.codes import CodeSet
from latenthash.index import build_index

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

path, output, storage = sys.argv[1:]
before = peak()
begin = perf_counter()
with CodeSet(Path(path)) as codes:
    build_index(codes, Path(output), storage=storage)
print(perf_counter() - begin, before * 1024, peak() * 1024)
"""


def build(codes: Path, output: Path, storage: str) -> tuple[float, float, float]:
    """Seconds of a build in its own process, its memory before and at its peak in bytes."""
    process = [sys.executable, "-c", _BUILD, str(codes), str(output), storage]
    done = subprocess.run(process, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"build failed: {done.stderr[-2000:]}")
    seconds, before, peak = map(float, done.stdout.split())
    return seconds, before, peak


def read(path: Path) -> None:
    """Read a file from the disk."""
    forget([path])
    with path.open("rb", buffering=0) as file:
        while file.read(_CHUNK):
            pass


def write(path: Path, size: int) -> None:
    """Write `size` bytes and wait for the disk."""
    chunk = np.random.default_rng(0).bytes(_CHUNK)
    with path.open("wb", buffering=0) as file:
        for start in range(0, size, _CHUNK):
            file.write(chunk[: size - start])
        os.fsync(file.fileno())


def measure(args: argparse.Namespace, folder: Path) -> Report:
    """Rounds of build, read and write."""
    recipe = Synthetic(args.data, args.images, args.bits, args.dim, args.seed)
    say(f"writing {args.images} images as HDF5")
    codes = write_hdf5(recipe, folder / "codes.h5")
    subprocess.run(["sync"], check=True)
    index, plain = folder / "index", folder / "plain"
    builds, reads, writes = [], [], []
    for number in range(args.runs):
        forget([codes])
        builds.append(build(codes, index, args.storage))
        size = sum(path.stat().st_size for path in index.rglob("*") if path.is_file())
        shutil.rmtree(index)
        reads.append(timed(lambda: read(codes))[0])
        writes.append(timed(lambda size=size: write(plain, size))[0])  # type: ignore[misc]
        plain.unlink()
        say(f"run {number + 1}: {args.images / builds[-1][0]:,.0f} images/s")
    return report(args, builds, reads, writes, codes.stat().st_size, size)


def report(
    args: argparse.Namespace, builds: list[Any], reads: list[float], writes: list[float],
    code_bytes: int, index_bytes: int,
) -> Report:  # fmt: skip
    """Medians, and the bounds that the disk sets."""
    seconds, read_s, write_s = (
        float(np.median(times)) for times in ([run[0] for run in builds], reads, writes)
    )
    return {
        "command": command(args),
        "build": percentiles([run[0] for run in builds]),
        "images_s": round(args.images / seconds, 1),
        "disk_images_s": round(args.images / (read_s + write_s), 1),
        "read_mb_s": round(code_bytes / read_s / 1e6, 1),
        "write_mb_s": round(index_bytes / write_s / 1e6, 1),
        "code_file_mb": round(code_bytes / 1e6, 3),
        "index_mb": round(index_bytes / 1e6, 3),
        "peak_mb": round(max(run[2] for run in builds) / 1e6, 1),
        "peak_above_start_mb": round(max(run[2] - run[1] for run in builds) / 1e6, 1),
        "machine": machine(),
        "versions": versions(),
    }


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--images", type=int, default=200_000)
    add("--bits", type=int, default=128)
    add("--dim", type=int, default=4096)
    add("--storage", choices=("float16", "float32", "int8"), default="float16")
    add("--data", choices=KINDS, default=KINDS[0])
    add("--runs", type=int, default=3)
    add("--seed", type=int, default=0)
    add("--work", type=Path, help="folder on the disk to measure; default: the temporary one")
    add("--json", type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    """Measure in a folder that is removed at the end."""
    args = arguments()
    with tempfile.TemporaryDirectory(prefix="latenthash-build-", dir=args.work) as folder:
        write_json(measure(args, Path(folder)), args.json)


if __name__ == "__main__":
    main()
