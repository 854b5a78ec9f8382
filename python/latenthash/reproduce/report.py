"""`docs/results.md`: what the JSON files say, beside what was published.

Every figure is read from a file in the folder of results; nothing is typed in but what
others published. Sections whose experiment was not run say how to run it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..files import atomic_file
from . import search_sections, sections
from .results import Results

_HEAD = """# Results

Written by `make reproduce` from the JSON files in `results/`; each holds the hashes of
its data and model. `mAP at 1,000` is the paper's measure, `mAP` the whole order;
[measures.md](measures.md) has the formulas, [protocols.md](protocols.md) says who asks what.
Figures in percent; in parentheses the 95 % interval over the queries.
"""

_SECTIONS: tuple[Callable[[Results], str], ...] = (
    sections.answers,
    sections.by_bits,
    sections.hash_functions,
    sections.curves,
    search_sections.coarse_to_fine,
    search_sections.thesis,
    search_sections.reach,
    search_sections.searches,
    search_sections.neural_codes,
    sections.descriptors,
    sections.unseen,
    search_sections.health,
    sections.not_run,
)


def read_results(folder: Path) -> dict[str, Any]:
    """Name -> content of each JSON file."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def write_report(folder: Path, pictures: Path, output: Path) -> None:
    """Write the report of all results in `folder`, and its plots.

    Args:
        folder: of the JSON files.
        pictures: gets the plots.
        output: Markdown file; links to the pictures are relative to it.
    """
    results = Results(read_results(folder), pictures, output.parent)
    parts = [_HEAD, *(section(results) for section in _SECTIONS)]
    with atomic_file(output) as partial:
        partial.write_text("\n".join(part.strip() + "\n" for part in parts if part.strip()))
