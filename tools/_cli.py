"""What every tool shares: the project's interpreter, one-line errors, bars, JSON.

Import this first: it hands over to the virtual environment that `make` set up, so
that `python tools/search.py img.jpg` works from any shell.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_VENV = ROOT / ".venv"
if (_VENV / "bin/python").exists() and Path(sys.prefix).resolve() != _VENV.resolve():
    try:
        import latenthash  # noqa: F401  (installed elsewhere: stay there)
    except ImportError:
        os.execv(_VENV / "bin/python", [str(_VENV / "bin/python"), *sys.argv])

import argparse
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

try:
    from latenthash.engines import Engine, get_engine
    from latenthash.errors import DataError, LatentHashError
    from latenthash.progress import Progress
except ImportError as error:
    sys.exit(f"error: {error} - run `make setup` first, or `pip install .` in this folder")
from tqdm import tqdm

USER_ERROR = 2


def parser(description: str, example: str) -> argparse.ArgumentParser:
    """Argument parser whose --help shows defaults and ends with an example."""
    return argparse.ArgumentParser(
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=_Formatter,
    )


class _Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Defaults shown, the example's lines kept; nothing is said of a default of None."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False):
            return action.help
        return super()._get_help_string(action)


def run(main: Callable[[], int | None]) -> None:
    """Run a tool: a user's mistake is one line on stderr and exit code 2."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for chatty in ("matplotlib", "faiss.loader"):  # of font caches and processors
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # its errors are told as ours
    try:
        sys.exit(main() or 0)
    except LatentHashError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(USER_ERROR)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


@contextmanager
def bar(what: str, unit: str = "image") -> Iterator[Progress]:
    """Progress bar with ETA on stderr; yields the callback that the library calls."""
    interval = 0.2 if sys.stderr.isatty() else 10  # a log wants few lines
    with tqdm(desc=what, unit=unit, file=sys.stderr, delay=0.5, mininterval=interval) as shown:

        def update(done: int, total: int) -> None:
            shown.total = total
            shown.update(done - shown.n)

        yield update


@contextmanager
def announce(stage: str) -> Iterator[Progress]:
    """A bar for a stage of a demo."""
    with bar(f"{stage:<12}", unit="") as progress:
        yield progress


def facts_table(rows: Sequence[str], report: Mapping[str, Any], output: Path) -> str:
    """A demo's report as a person reads it.

    Args:
        rows: "name|text with {keys of the report}"; {seconds} is a line of all stages.
        report: the facts.
        output: {output}.
    """
    seconds = ", ".join(f"{stage} {value:.1f} s" for stage, value in report["seconds"].items())
    facts = {**report, "seconds": seconds, "output": output}
    split = (row.format(**facts).split("|", 1) for row in rows)
    return "\n".join(f"{name:<16} {text}" for name, text in split)


def report_json(report: Any) -> None:
    """Print a report for machines on stdout."""
    print(json.dumps(report, indent=1, ensure_ascii=False))


def add_json(parser: argparse.ArgumentParser) -> None:
    """--json."""
    parser.add_argument("--json", action="store_true", help="report as JSON on stdout")


def add_engine(parser: argparse.ArgumentParser, default: str = "auto") -> None:
    """--engine, --precision and --threads."""
    parser.add_argument(
        "--engine",
        choices=["auto", "caffe", "torch"],
        default=default,
        help="what runs the net; auto takes the faster one that is installed",
    )
    parser.add_argument(
        "--precision",
        choices=["float32", "bfloat16"],
        help="what PyTorch computes in (default: float32); bfloat16 is faster where the "
        "processor has it, and no longer Caffe's numbers to the digit",
    )
    parser.add_argument(
        "--threads",
        type=int,
        help="threads of the linear algebra; default: the free cores, or LATENTHASH_THREADS. "
        "More threads than free cores make it many times slower",
    )


def engine(args: argparse.Namespace, few: bool = False) -> Engine:
    """The engine that was asked for; `few` as in `get_engine`."""
    return get_engine(args.engine, args.threads, args.precision, few)


def net_file(net: str, name: str) -> Path:
    """A file of a net: of prototxt/NET, caffe_models/NET, the folder NET, or NET itself."""
    given = Path(net)
    if given.is_file():
        return given
    for folder in (given, ROOT / "prototxt" / net, ROOT / "caffe_models" / net):
        if (folder / name).is_file():
            return folder / name
    files = (path for where in ("prototxt", "caffe_models") for path in (ROOT / where).glob("*/*"))
    shipped = ", ".join(sorted({path.parent.name for path in files if path.name == name}))
    raise LatentHashError(f"no net {net!r}", f"give a folder with {name}, or one of {shipped}")


_LATEST = ROOT / "run/latest-index"


def address(text: str) -> Path | str:
    """An index on the command line: a folder, or an address such as milvus://host:port/name."""
    from latenthash.index import parse_address

    try:
        return parse_address(text)
    except DataError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_index(parser: argparse.ArgumentParser) -> None:
    """--index."""
    parser.add_argument(
        "--index",
        type=address,
        help="index folder, or milvus://host:port/collection; default: the last one built",
    )


def remember_index(index: Path | str) -> None:
    """Make `index` the default of search.py."""
    _LATEST.parent.mkdir(exist_ok=True)
    _LATEST.write_text(str(index.resolve() if isinstance(index, Path) else index))


def latest_index() -> Path | str:
    """The index that was built last."""
    from latenthash.index import parse_address

    if not _LATEST.is_file():
        raise LatentHashError("no index was built yet", "run `make demo`, or give --index")
    return parse_address(_LATEST.read_text())
