"""The service as `tools/serve.py` runs it: settings, catalogue, then gunicorn."""

from __future__ import annotations

import ctypes
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_GRACE = 10  # seconds that a request may go on when the service is stopped
_M_ARENA_MAX = -8  # of malloc.h
_PATIENCE = 120  # seconds after which a worker that does not move is replaced


@dataclass(frozen=True)
class Options:
    """What is served where.

    Attributes:
        index: folder of the index, or its address.
        data: folder for all that is written.
        host, port: to listen on.
        workers, threads: processes, and requests at once of each.
        cores: of the machine that may be used.
        token, read_token: "" for none.
        engine: runs the network.
    """

    index: Path | str
    data: Path
    host: str
    port: int
    workers: int
    threads: int
    cores: int
    token: str
    read_token: str
    engine: str

    @property
    def address(self) -> str:
        """For a browser."""
        host = "localhost" if self.host in LOOPBACK else self.host
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def prepare(options: Options) -> int:
    """Set the environment up and bring the catalogue up to date; how many images there are."""
    options.data.mkdir(parents=True, exist_ok=True)
    _set_environment(options)
    _bound_heaps()
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connections

    from catalogue.services import open_library
    from catalogue.sync import synchronise

    call_command("migrate", verbosity=0, interactive=False)
    index = synchronise().index
    images = len(index)
    connections.close_all()  # no connection may be shared with the workers
    index.close()
    open_library.cache_clear()
    return images


def _set_environment(options: Options) -> None:
    figures = options.data / "metrics"
    shutil.rmtree(figures, ignore_errors=True)
    figures.mkdir()
    each = max(1, options.cores // options.workers)
    os.environ.setdefault("LATENTHASH_THREADS", str(each))
    if options.host not in LOOPBACK:
        os.environ.setdefault("LATENTHASH_HOSTS", f"localhost 127.0.0.1 {options.host}")
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "1")  # of an index in Milvus
    os.environ.update(
        DJANGO_SETTINGS_MODULE="latenthash_web.settings",
        LATENTHASH_INDEX=str(options.index),
        LATENTHASH_DATA=str(options.data),
        LATENTHASH_TOKEN=options.token,
        LATENTHASH_READ_TOKEN=options.read_token,
        LATENTHASH_ENGINE=options.engine,
        PROMETHEUS_MULTIPROC_DIR=str(figures),
    )


def _bound_heaps() -> None:
    """glibc gives threads heaps of their own, which grow and keep what was freed: two do."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_ARENA_MAX, 2)


def run(options: Options) -> None:
    """Serve until told to stop; a process that died is started again."""
    from gunicorn.app.base import BaseApplication

    host = f"[{options.host}]" if ":" in options.host else options.host
    settings = {
        "bind": f"{host}:{options.port}",
        "workers": options.workers,
        "worker_class": "latenthash_web.worker.BoundedThreadWorker",
        "threads": options.threads,
        "timeout": _PATIENCE,
        "graceful_timeout": _GRACE,
        "keepalive": 15,
        "limit_request_line": 8190,
        "limit_request_fields": 60,
        "loglevel": "warning",
        "proc_name": "latenthash",
        "post_worker_init": _warm,
        "child_exit": _forget_figures,
    }

    class Application(BaseApplication):
        def load_config(self) -> None:
            for key, value in settings.items():
                self.cfg.set(key, value)

        def load(self) -> Any:
            from latenthash_web.wsgi import application

            return application

    Application().run()


def _warm(worker: Any) -> None:
    """Load the network beside the first requests, so that the first upload need not wait."""
    from threading import Thread

    from catalogue.services import warm

    Thread(target=warm, name="network", daemon=True).start()


def _forget_figures(server: Any, worker: Any) -> None:
    """A process that ended counts no longer among those alive."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)
