#!/usr/bin/env python3
"""Search in the browser: the page and the API over an index; `make serve` runs it."""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # see latenthash_web; before NumPy comes

import _cli  # isort: skip  (first: it finds the project's interpreter)

import re
import sys
from pathlib import Path

from latenthash.errors import DataError, EngineError
from latenthash.threads import usable_cores

WEB = _cli.ROOT / "web"


def main() -> None:
    args = arguments()
    index = args.index or _cli.latest_index()
    if isinstance(index, Path):
        index = index.resolve()
        if not (index / "manifest.json").is_file():
            raise DataError(f"{index}: no index there", "run build_index.py or `make demo`")
    sys.path.insert(0, str(WEB / "server"))
    from latenthash_web.serving import LOOPBACK, Options, prepare, run

    options = Options(
        index=index,
        data=(args.data or data_folder(index)).resolve(),
        host=args.host,
        port=args.port,
        workers=args.workers,
        threads=args.threads_each,
        cores=usable_cores(),
        token=args.token,
        read_token=args.read_token,
        engine=args.engine,
    )
    try:
        images = prepare(options)
    except ModuleNotFoundError as error:
        raise EngineError(f"{error.name} is not installed", "pip install '.[web]'") from error
    print(f"{images:,} images of {index}\nlook at {options.address}", flush=True)
    if not (WEB / "client/dist/index.html").is_file():
        print("the page is not built (npm, then `make serve`); the API runs: /api/docs", flush=True)
    if args.host not in LOOPBACK and not args.read_token:
        print(f"warning: {args.host} is open to others, and --read-token is not set", flush=True)
    run(options)


def data_folder(index: Path | str) -> Path:
    """Where the catalogue of an index lies unless told: beside it, or in run/."""
    if isinstance(index, Path):
        return Path(f"{index}-web")
    return _cli.ROOT / "run" / f"{re.sub('[^A-Za-z0-9]+', '-', index)}-web"


def arguments() -> _cli.argparse.Namespace:
    parser = _cli.parser(
        "Serve an index on this machine: a page to browse, click, upload and find, and its API. "
        "docs/web.md lists what the environment sets besides.",
        "python tools/serve.py --index run/index",
    )
    _cli.add_index(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on")
    workers = max(2, usable_cores())
    parser.add_argument("--workers", type=int, default=workers, help="processes that answer")
    parser.add_argument("--threads-each", type=int, default=8, help="requests a process at once")
    parser.add_argument(
        "--data", type=Path, help="folder for catalogue, thumbnails, uploads; default: INDEX-web"
    )
    for option, name, what in (
        ("--token", "LATENTHASH_TOKEN", "lets add and remove"),
        ("--read-token", "LATENTHASH_READ_TOKEN", "needed for all else"),
    ):
        text = f"{what}; default: {name} of the environment"
        parser.add_argument(option, default=os.environ.get(name, ""), help=text)
    parser.add_argument(
        "--engine",
        choices=["auto", "caffe", "torch", "fake"],
        default="auto",
        help="runs the network; fake: a double for tests",
    )
    return parser.parse_args()


if __name__ == "__main__":
    _cli.run(main)
