"""Images of each class as a bar chart, drawn by a process beside this one.

Importing the plotting library takes longer than many a build. A child imports it while
this process has other work, and on another core.
"""

from __future__ import annotations

import json
import signal
import struct
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO

from .errors import DataError

Counts = tuple[list[str], list[int], list[int]]
"""Labels, and how many images of each there are for training and for validation."""

_SIZE = struct.Struct("<Q")  # ahead of each picture
_SERVE = "from latenthash.histogram import serve; serve()"
_TRAIN_COLOUR, _VAL_COLOUR = "#2b5c8a", "#f0a04b"
_MOST_NAMED = 150  # classes; beyond it names would run into each other


class HistogramDrawer:
    """A child process that draws histograms, as `draw_histogram` does.

    Start it early. It ends when its pipe does, so it never outlives this process.
    """

    def __enter__(self) -> HistogramDrawer:
        command = [sys.executable, "-c", _SERVE]
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._expected: Counts | None = None
        return self

    def __exit__(self, *_: object) -> None:
        if self._child.poll() is None:
            self._child.kill()
        self._child.communicate()

    def expect(
        self, labels: Sequence[str], train_counts: Sequence[int], val_counts: Sequence[int]
    ) -> None:
        """Draw, while this process goes on, what `draw` will most likely be asked for."""
        self._expected = (list(labels), list(train_counts), list(val_counts))
        self._ask(self._expected)

    def draw(
        self, labels: Sequence[str], train_counts: Sequence[int], val_counts: Sequence[int]
    ) -> bytes:
        """PNG.

        Raises:
            DataError: the child died.
        """
        wanted = (list(labels), list(train_counts), list(val_counts))
        expected, self._expected = self._expected, None
        if expected is not None:
            picture = self._answer()
            if expected == wanted:
                return picture
        self._ask(wanted)
        return self._answer()

    def _ask(self, counts: Counts) -> None:
        assert self._child.stdin is not None
        with suppress(BrokenPipeError):  # it died: its missing answer will say so
            self._child.stdin.write(json.dumps(counts).encode("ascii") + b"\n")
            self._child.stdin.flush()

    def _answer(self) -> bytes:
        assert self._child.stdout is not None
        head = self._child.stdout.read(_SIZE.size)
        size = _SIZE.unpack(head)[0] if len(head) == _SIZE.size else 0
        picture = self._child.stdout.read(size)
        if not size or len(picture) < size:
            raise DataError(
                f"the process that draws the histogram died (exit code {self._child.wait()})",
                "it may have run out of memory: free some",
            )
        return picture


def serve() -> None:
    """Draw what comes down the pipe, line by line; what the child runs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # the parent is gone: so are we, quietly
    import matplotlib.figure  # noqa: F401  (ahead of the request)

    for line in sys.stdin.buffer:
        picture = draw_histogram(*json.loads(line))
        sys.stdout.buffer.write(_SIZE.pack(len(picture)) + picture)
        sys.stdout.buffer.flush()


def draw_histogram(
    labels: Sequence[str], train_counts: Sequence[int], val_counts: Sequence[int]
) -> bytes:
    """PNG of the images of each class as stacked bars, wide enough to read each name."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    count = len(labels)
    named = count <= _MOST_NAMED
    width = min(max(5.0, 1.5 + 0.17 * count), 30.0)
    figure = Figure(figsize=(width, 4.5), layout="constrained")
    axes = figure.add_subplot()
    places = range(count)
    axes.bar(places, train_counts, 0.8, color=_TRAIN_COLOUR, label="training")
    axes.bar(places, val_counts, 0.8, train_counts, color=_VAL_COLOUR, label="validation")
    if named:
        shown = [_printable(label, name) for label, name in enumerate(labels)]
        upright = max(map(len, shown)) * count > 60
        axes.set_xticks(places, shown, rotation=90 if upright else 0, fontsize=8)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(20, integer=True))
    axes.set_xlabel("class" if named else "label")
    axes.set_ylabel("images")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(-0.6 - 0.5 * (count < 4), count - 0.4 + 0.5 * (count < 4))
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylim(0, 1.15 * max(map(sum, zip(train_counts, val_counts, strict=True))))
    axes.legend(ncols=2, frameon=False, loc="upper right")
    file = BytesIO()
    figure.savefig(file, dpi=120, metadata={"Software": None})
    return file.getvalue()


def _printable(label: int, name: str, longest: int = 24) -> str:
    """A name cut to what fits, or the label where the font lacks a letter of it."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties()))
    if not all(font.get_char_index(ord(letter)) for letter in name):
        return str(label)
    short = name if len(name) <= longest else name[: longest - 1] + "…"
    return short.replace("$", r"\$")  # else it would be a formula
