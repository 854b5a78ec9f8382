from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image

from latenthash.errors import DataError
from latenthash.histogram import HistogramDrawer, draw_histogram


@pytest.mark.parametrize("classes", [1, 2, 101, 1000])
def test_the_histogram_fits_any_number_of_classes(classes: int) -> None:
    """Also names in other scripts and with signs that mean something to the plotter."""
    names = [f"class_{label}" for label in range(classes)]
    names[0] = "日本 $x_1$ \udcff" + "n" * 60
    with Image.open(BytesIO(draw_histogram(names, [3] * classes, [1] * classes))) as image:
        assert 400 < image.width < 4000
        assert len(image.convert("RGB").getcolors(1 << 24) or []) > 10


def test_the_child_draws_what_this_process_would() -> None:
    counts = ["cat", "日本", "\udcff"], [5, 3, 2], [1, 0, 2]
    with HistogramDrawer() as drawer:
        assert drawer.draw(*counts) == draw_histogram(*counts)


@pytest.mark.parametrize("change", [0, 1])
def test_what_was_expected_is_drawn_ahead_and_anew_if_it_came_otherwise(change: int) -> None:
    with HistogramDrawer() as drawer:
        drawer.expect(["cat", "dog"], [5, 3], [0, 1])
        picture = drawer.draw(["cat", "dog"], [5 + change, 3], [0, 1])
        again = drawer.draw(["cat", "dog"], [5, 3], [0, 1])
    assert picture == draw_histogram(["cat", "dog"], [5 + change, 3], [0, 1])
    assert (picture == again) == (change == 0)


def test_a_child_that_died_with_a_picture_under_way_is_one_error() -> None:
    with HistogramDrawer() as drawer:
        drawer._child.kill()
        drawer._child.wait()
        drawer.expect(["cat"], [1], [0])
        with pytest.raises(DataError, match=r"died \(exit code -9\)"):
            drawer.draw(["cat"], [1], [0])


def test_a_child_with_nothing_to_draw_ends() -> None:
    with HistogramDrawer() as drawer:
        child = drawer._child
    assert child.returncode is not None


def test_a_child_that_dies_is_one_error() -> None:
    with HistogramDrawer() as drawer:
        drawer._child.kill()
        with pytest.raises(DataError, match=r"died \(exit code -9\) - .*memory"):
            drawer.draw(["cat"], [1], [0])
