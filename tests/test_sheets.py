from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latenthash.errors import StorageError
from latenthash.sheets import RIGHT, WRONG, Cell, Row, contact_sheet


def share(pixels: np.ndarray, colour: str) -> float:
    rgb = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    return float((np.abs(pixels.astype(int) - rgb).max(axis=2) < 8).mean())


def test_pictures_are_there_and_right_and_wrong_are_marked(tmp_path: Path) -> None:
    for name, colour in (("q", "blue"), ("a", "magenta"), ("b", "cyan")):
        Image.new("RGB", (40, 30), colour).save(tmp_path / f"{name}.png")
    cells = {name: tmp_path / f"{name}.png" for name in "qab"}
    one_wrong = [Cell(cells["a"], "cat 0.1", right=True), Cell(cells["b"], "dog", right=False)]
    contact_sheet([Row(Cell(cells["q"], "cat"), one_wrong)], tmp_path / "sheet.png", "Title")
    with Image.open(tmp_path / "sheet.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    for colour in ("#0000ff", "#ff00ff", "#00ffff"):
        assert share(pixels, colour) > 0.05
    assert share(pixels, RIGHT) > 0.002
    assert share(pixels, WRONG) > 0.002


def test_a_picture_that_is_gone_shows_its_reason_and_the_rest_is_drawn(tmp_path: Path) -> None:
    rows = [Row(Cell(tmp_path / "gone.png", "x"), [Cell(None, "y")]), Row(Cell(None), [])]
    contact_sheet(rows, tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").stat().st_size > 1000


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file: something else is there"):
        contact_sheet([Row(Cell(None), [])], tmp_path / "file/sheet.png")
