"""build_lmdb.py against Caffe's convert_imageset on the same files.

Whole processes from start to end, interleaved, so that other load on the machine falls
on both alike. Ours also splits, shuffles, hashes, computes the mean and draws the
report; for Caffe that needs compute_image_mean, which is measured beside it.

    python benchmarks/lmdb_bench.py photos/ --resize 256 --encode jpeg
    python benchmarks/lmdb_bench.py cifar10/train --runs 7
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from latenthash.engines.caffe_home import pycaffe_folder
from latenthash.images import list_images

BUILD_LMDB = Path(__file__).resolve().parent.parent / "tools" / "build_lmdb.py"
Times = dict[str, float]


def timed(command: Sequence[object], output: Path | None = None) -> Times:
    """Wall and CPU seconds of a process; `output` is removed before it starts."""
    if output is not None:
        shutil.rmtree(output, ignore_errors=True)
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([*map(str, command)], env=environment, capture_output=True, text=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{command[0]} failed: {done.stderr[-2000:]}")
    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    return {"wall_s": wall, "user_s": user, "system_s": system}


def commands(
    folder: Path, work: Path, resize: int | None, encode: str
) -> dict[str, tuple[list[object], Path | None]]:
    """{name: (command, output)} for ours, convert_imageset and compute_image_mean."""
    names = [os.path.relpath(file, folder) for file in list_images(folder)]
    listed = work / "list.txt"
    listed.write_text("".join(f"{name} {number % 10}\n" for number, name in enumerate(names)))
    tools = pycaffe_folder().parent.parent / "bin"
    ours: list[object] = [sys.executable, BUILD_LMDB, listed, work / "ours", "--root", folder]
    ours += ["--val", 0, "--encode", encode]
    caffe: list[object] = [tools / "convert_imageset", f"{folder}/", listed, work / "caffe"]
    if resize:
        ours += ["--resize", resize]
        caffe[1:1] = [f"--resize_height={resize}", f"--resize_width={resize}"]
    if encode == "jpeg":
        caffe[1:1] = ["--encoded", "--encode_type=jpg"]
    mean = [tools / "compute_image_mean", work / "caffe", work / "mean.binaryproto"]
    return {
        "build_lmdb": (ours, work / "ours"),
        "convert_imageset": (caffe, work / "caffe"),
        "compute_image_mean": (mean, None),
    }


def median(runs: Sequence[Times]) -> Times:
    """Median of each kind of time."""
    return {key: round(statistics.median(run[key] for run in runs), 3) for key in runs[0]}


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder of images, searched all the way down")
    parser.add_argument("--resize", type=int, help="side of the square to warp to")
    parser.add_argument("--encode", choices=("jpeg", "raw"), default="jpeg")
    parser.add_argument("--runs", type=int, default=5, help="of each (default: 5)")
    return parser.parse_args()


def main() -> None:
    """Run and print medians as JSON."""
    args = arguments()
    with tempfile.TemporaryDirectory() as work:
        measured = commands(args.folder, Path(work), args.resize, args.encode)
        runs: dict[str, list[Times]] = {name: [] for name in measured}
        for _ in range(args.runs + 1):
            for name, (command, output) in measured.items():
                runs[name].append(timed(command, output))
        medians = {name: median(times[1:]) for name, times in runs.items()}  # the first warms up
        images = len(list_images(args.folder))
    ratio = medians["build_lmdb"]["wall_s"] / medians["convert_imageset"]["wall_s"]
    report = {
        "images": images,
        "resize": args.resize,
        "encode": args.encode,
        "cores": len(os.sched_getaffinity(0)),
        "runs": args.runs,
        "median": medians,
        "wall_ratio_to_convert_imageset": round(ratio, 3),
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
