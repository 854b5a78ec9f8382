"""Measuring side by side: interleaved queries, percentiles, bandwidth, the page cache."""

from __future__ import annotations

import argparse
import ctypes
import importlib
import json
import mmap
import os
import platform
import resource
import statistics
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

CORES = len(os.sched_getaffinity(0))
Report = dict[str, Any]
Way = Callable[[int], Any]
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.memchr.restype = ctypes.c_void_p
_LIBC.memchr.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
_LIBC.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_LIBC.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
_WARM_UP = 5


def percentiles(seconds: Sequence[float]) -> Report:
    """Median, p99, minimum and mean of some times, in milliseconds."""
    p50, p99 = np.percentile(seconds, (50, 99)) * 1e3
    return {
        "p50_ms": round(float(p50), 3),
        "p99_ms": round(float(p99), 3),
        "min_ms": round(1e3 * min(seconds), 3),
        "mean_ms": round(1e3 * statistics.fmean(seconds), 3),
        "runs": len(seconds),
    }


def timed(way: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that a call took, and its result."""
    begin = perf_counter()
    result = way()
    return perf_counter() - begin, result


def interleaved(
    ways: dict[str, Way], queries: int, before: Callable[[], None] | None = None
) -> tuple[dict[str, list[float]], dict[str, list[Any]]]:
    """Each query by each way in turn, so that other load on the machine falls on all alike.

    Args:
        ways: called with the number of the query; the order rotates from query to query.
        queries: how many count; a few more warm up first.
        before: called before every single query, not timed.

    Returns:
        Seconds and results of each way, query by query.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    results: dict[str, list[Any]] = {name: [] for name in ways}
    names = list(ways)
    for turn in range(-min(_WARM_UP, queries), queries):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            if before is not None:
                before()
            way, query = ways[name], turn % queries
            took, result = timed(lambda way=way, query=query: way(query))  # type: ignore[misc]
            if turn >= 0:
                seconds[name].append(took)
                results[name].append(result)
    return seconds, results


def memory_bandwidth(megabytes: int = 512, rounds: int = 9) -> float:
    """GB/s of a plain read by all cores: the C library's search for a byte that is not there."""
    data = np.full(megabytes << 20, 1, np.uint8)
    part = len(data) // CORES
    starts = [data.ctypes.data + part * number for number in range(CORES)]
    with ThreadPoolExecutor(CORES) as pool:

        def read() -> None:
            list(pool.map(lambda start: _LIBC.memchr(start, 0, part), starts))

        took = [timed(read)[0] for _ in range(rounds + 2)][2:]
    return round(part * CORES / statistics.median(took) / 1e9, 2)


def forget(files: Sequence[Path]) -> None:
    """Drop files from the page cache, also what this process has mapped of them."""
    for start, length in _mapped(files):
        _LIBC.madvise(start, length, mmap.MADV_DONTNEED)  # mapped pages are not dropped
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def warm(files: Sequence[Path]) -> None:
    """Touch every page that this process has mapped of the files: no query meets a fault."""
    for start, length in _mapped(files):
        pages = np.frombuffer((ctypes.c_ubyte * length).from_address(start), np.uint8)
        pages[:: mmap.PAGESIZE].max()


def resident_share(file: Path) -> float:
    """Share of a file's pages that are in the page cache."""
    size = file.stat().st_size
    pages = np.zeros(-(-size // mmap.PAGESIZE), np.uint8)
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        view = np.frombuffer(mapped, np.uint8)
        failed = _LIBC.mincore(view.ctypes.data, size, pages.ctypes.data)
        del view
    if failed:
        raise OSError(ctypes.get_errno(), "mincore")
    return float((pages & 1).mean())


def _mapped(files: Sequence[Path]) -> list[tuple[int, int]]:
    """(address, length) of what this process has mapped of the files."""
    names = {str(file.resolve()) for file in files}
    found = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[5] in names:
            start, end = (int(address, 16) for address in fields[0].split("-"))
            found.append((start, end - start))
    return found


def machine() -> Report:
    """Processor, cores, memory and system."""
    cpu = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in cpu if line.startswith("model name")]
    cache = Path("/sys/devices/system/cpu/cpu0/cache/index3/size")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    flags = next((line for line in cpu if line.startswith("flags")), "").split()
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": CORES,
        "l3": cache.read_text().strip() if cache.exists() else None,
        "simd": [flag for flag in ("avx2", "avx512f", "avx512_vpopcntdq") if flag in flags],
        "memory_gb": round(memory / 1e9, 1),
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
    }


def versions() -> Report:
    """Python and the packages that were measured; null where one is not installed."""
    found: Report = {"python": platform.python_version()}
    for name in ("latenthash", "numpy", "faiss", "torch"):
        try:
            found[name] = importlib.import_module(name).__version__
        except ImportError:
            found[name] = None
    return found


def available_bytes() -> int:
    """Memory that can be taken without swapping."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))


def peak_mb() -> float:
    """Largest resident size of this process so far, in MB; mapped files count."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6, 1)


def command(args: argparse.Namespace, *left_out: str) -> Report:
    """The settings of a run for its report; no paths."""
    unsaid = {"json", "work", *left_out}
    return {name: value for name, value in vars(args).items() if name not in unsaid}


def say(text: str) -> None:
    """Tell a person on stderr."""
    print(text, file=sys.stderr, flush=True)


def write_json(report: Report, path: Path) -> None:
    """Write a report."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")
