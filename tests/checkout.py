"""A checkout of this project elsewhere, and its scripts as processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def checkout(tree: Path, *folders: str) -> Path:
    """`tree` with copies of `folders`, and a .venv that runs this Python."""
    for folder in folders:
        shutil.copytree(ROOT / folder, tree / folder)
    python = tree / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return tree


def run(*command: str | Path, timeout: float = 600, **env: str) -> tuple[int, str]:
    """Exit code, and stdout and stderr together."""
    done = subprocess.run(
        command,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )
    return done.returncode, done.stdout
