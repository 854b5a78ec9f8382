"""`python -m latenthash --version`: what is installed, as a report of a defect should say."""

from __future__ import annotations

import argparse
import platform
from importlib import metadata

import numpy as np

from . import __version__
from .engines.caffe_home import is_built


def versions() -> str:
    """The library's version, then those of what its numbers depend on, a line each."""
    try:
        torch = metadata.version("torch")
    except metadata.PackageNotFoundError:
        torch = "not installed"
    return "\n".join([
        f"latenthash {__version__}",
        f"Python {platform.python_version()} on {platform.system()} {platform.machine()}",
        f"NumPy {np.__version__}",
        f"PyTorch {torch}",
        f"Caffe {'built' if is_built() else 'not built'}",
    ])  # fmt: skip


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="latenthash",
        description="The library has no command of its own: see the tools in tools/.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=versions())
    parser.parse_args()
    parser.print_help()


if __name__ == "__main__":
    main()
