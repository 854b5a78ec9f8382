"""How many threads the linear algebra may use.

OpenBLAS reads its thread count when it is loaded, and more threads than free cores
make it many times slower, so the count is set in the environment of each child.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

from .errors import EngineError

VARIABLE = "LATENTHASH_THREADS"
_MOST = 8  # layers of one image hold too little work for more
_CGROUPS = Path("/sys/fs/cgroup")


def thread_count(threads: int | None = None) -> int:
    """Threads to use: `threads`, else LATENTHASH_THREADS, else the free cores, at most 8.

    Raises:
        EngineError: the count is no positive integer.
    """
    asked = os.environ.get(VARIABLE) if threads is None else threads
    if asked is None or asked == "":
        return min(usable_cores(), _MOST)
    try:
        count = int(asked)
    except ValueError:
        count = 0
    if count < 1:
        raise EngineError(f"{asked!r} threads", f"give 1 or more (--threads or {VARIABLE})")
    return count


def thread_environment(threads: int) -> dict[str, str]:
    """This process's environment with the thread counts of OpenBLAS and OpenMP set."""
    return {**os.environ, "OPENBLAS_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}


def usable_cores(cgroups: Path = _CGROUPS, own: Path = Path("/proc/self/cgroup")) -> int:
    """Cores that this process may use: its affinity, cut by the quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quotas = [quota for folder in _groups(cgroups, own) if (quota := _quota(folder))]
    return max(1, min([cores or 1, *(math.ceil(quota) for quota in quotas)]))


def _groups(cgroups: Path, own: Path) -> list[Path]:
    """Folders whose CPU quota may bind this process (control groups, version 1 and 2)."""
    folders = [cgroups, cgroups / "cpu", cgroups / "cpu,cpuacct"]
    try:
        lines = own.read_text().splitlines()
    except OSError:  # no Linux, or /proc is hidden: the affinity alone counts
        return folders
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            group = cgroups / controllers / path.lstrip("/")
            folders += [group, *(up for up in group.parents if up.is_relative_to(cgroups))]
    return folders


def _quota(folder: Path) -> float | None:
    """Cores that the control group in `folder` may use; None if it sets no limit."""
    try:
        if (folder / "cpu.max").is_file():
            limit, period = (folder / "cpu.max").read_text().split()
        else:
            limit = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text()
    except OSError:  # this group does not limit the processor
        return None
    return None if limit in ("max", "-1") else int(limit) / int(period)
