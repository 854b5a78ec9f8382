"""A Milvus server of its own, for tests and benchmarks: that of the PyPI package `milvus`.

It runs in a process group of its own and ends with the process that started it, however
that ends: the child waits for the end of its input.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

MISSING = [name for name in ("pymilvus", "milvus") if find_spec(name) is None]
"""Packages that it takes and that are not installed."""
_PATIENCE = 20  # seconds until what did not stop is killed


@dataclass(frozen=True)
class Running:
    """A server: its port, and the number of its process group."""

    port: int
    group: int


@contextmanager
def running(folder: Path, binaries: Path) -> Iterator[Running]:
    """Run a server.

    Args:
        folder: new, for data and logs.
        binaries: where the package's programs are unpacked, once: 200 MB.
    """
    command = [sys.executable, __file__, str(folder), str(binaries)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        said = process.stdout.readline()
        if not said.strip().isdecimal():
            logs = (folder / "logs").glob("milvus-std*.log")
            tails = [path.read_text(errors="replace")[-2000:] for path in logs]
            raise RuntimeError("Milvus did not start\n" + "\n".join(tails))
        yield Running(int(said), process.pid)
    finally:
        process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the group may outlive its first process
        process.wait()
        process.stdout.close()


def free_ports(count: int) -> list[int]:
    """Ports that the system gives; all are held at once, so that no two are alike."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def main() -> None:
    """Serve until the input ends."""
    from milvus import MilvusServer

    folder, binaries = map(Path, sys.argv[1:])
    for path in (folder, binaries):
        path.mkdir(parents=True, exist_ok=True)
    (folder / "bin").symlink_to(binaries.resolve())
    server = MilvusServer()
    server.set_base_dir(str(folder))
    names = [name for name in server.config_keys if name.endswith("_port")]
    *ports, server.webservice_port = free_ports(len(names) + 1)
    server.config.update(**dict(zip(names, ports, strict=True)))
    server.start()
    print(server.listen_port, flush=True)
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
