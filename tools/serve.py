#!/usr/bin/env python3
"""Search in the browser: the page and the API over an index; `make serve` runs it."""

from __future__ import annotations

import _cli  # isort: skip  (first: it finds the project's interpreter)

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from latenthash.errors import DataError, EngineError
from latenthash.threads import VARIABLE, usable_cores

SERVER = _cli.ROOT / "web/server"
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def main() -> None:
    args = arguments()
    prepare_environment(args)
    sys.path.insert(0, str(SERVER))
    try:
        import django
        from gunicorn.app.base import BaseApplication
    except ModuleNotFoundError as error:
        raise EngineError(f"{error.name} is not installed", "pip install '.[web]'") from error
    django.setup()
    images = prepare_catalogue()
    address = f"http://{'localhost' if args.host in LOOPBACK else args.host}:{args.port}"
    print(f"{images:,} images of {os.environ['LATENTHASH_INDEX']}\nlook at {address}", flush=True)
    if not (SERVER.parent / "client/dist/index.html").is_file():
        print("the page is not built (npm, then `make serve`); the API runs: /api/docs")
    if args.host not in LOOPBACK and not args.read_token:
        print(f"warning: {args.host} is open to others, and --read-token is not set")

    class Application(BaseApplication):  # type: ignore[misc]
        def load_config(self) -> None:
            for key, value in gunicorn_settings(args).items():
                self.cfg.set(key, value)

        def load(self) -> Any:
            from latenthash_web.wsgi import application

            return application

    Application().run()


def arguments() -> _cli.argparse.Namespace:
    parser = _cli.parser(
        "Serve an index on this machine: a page to browse, click, upload and find, and its API. "
        "docs/web.md lists what the environment sets besides.",
        "python tools/serve.py --index run/index",
    )
    parser.add_argument("--index", type=Path, help="index folder; default: the last one built")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on")
    parser.add_argument(
        "--workers", type=int, default=max(2, usable_cores()), help="processes that answer"
    )
    parser.add_argument("--threads-each", type=int, default=8, help="requests a process at once")
    parser.add_argument(
        "--data", type=Path, help="folder for catalogue, thumbnails, uploads; default: INDEX-web"
    )
    parser.add_argument(
        "--token", default=os.environ.get("LATENTHASH_TOKEN", ""), help="lets add and remove"
    )
    parser.add_argument(
        "--read-token",
        default=os.environ.get("LATENTHASH_READ_TOKEN", ""),
        help="needed for all else",
    )
    parser.add_argument(
        "--engine",
        choices=["auto", "caffe", "torch", "fake"],
        default="auto",
        help="runs the network; fake: a double for tests",
    )
    return parser.parse_args()


def prepare_environment(args: _cli.argparse.Namespace) -> None:
    """What the settings and the workers read."""
    index = (args.index or _cli.latest_index()).resolve()
    if not (index / "manifest.json").is_file():
        raise DataError(f"{index}: no index there", "run build_index.py or `make demo`")
    data = (args.data or Path(f"{index}-web")).resolve()
    data.mkdir(parents=True, exist_ok=True)
    figures = data / "metrics"
    shutil.rmtree(figures, ignore_errors=True)
    figures.mkdir()
    threads = str(max(1, usable_cores() // args.workers))
    os.environ.setdefault(VARIABLE, threads)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", threads)
    if args.host not in LOOPBACK:
        os.environ.setdefault("LATENTHASH_HOSTS", f"localhost 127.0.0.1 {args.host}")
    os.environ.update(
        DJANGO_SETTINGS_MODULE="latenthash_web.settings",
        LATENTHASH_INDEX=str(index),
        LATENTHASH_DATA=str(data),
        LATENTHASH_TOKEN=args.token,
        LATENTHASH_READ_TOKEN=args.read_token,
        LATENTHASH_ENGINE=args.engine,
        PROMETHEUS_MULTIPROC_DIR=str(figures),
    )


def prepare_catalogue() -> int:
    """Bring the database up to date; how many images there are."""
    from catalogue.services import open_library
    from catalogue.sync import synchronise
    from django.core.management import call_command
    from django.db import connections

    call_command("migrate", verbosity=0, interactive=False)
    images = len(synchronise().index)
    connections.close_all()  # no connection may be shared with the workers
    open_library.cache_clear()
    return images


def gunicorn_settings(args: _cli.argparse.Namespace) -> dict[str, Any]:
    """Few threads in few processes; a process that died is started again."""
    host = f"[{args.host}]" if ":" in args.host else args.host
    return {
        "bind": f"{host}:{args.port}",
        "workers": args.workers,
        "worker_class": "latenthash_web.worker.BoundedThreadWorker",
        "threads": args.threads_each,
        "timeout": 120,
        "graceful_timeout": 10,
        "keepalive": 15,
        "limit_request_line": 8190,
        "limit_request_fields": 60,
        "loglevel": "warning",
        "proc_name": "latenthash",
        "child_exit": forget_figures,
    }


def forget_figures(server: Any, worker: Any) -> None:
    """A process that ended counts no longer among those alive."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)


if __name__ == "__main__":
    _cli.run(main)
