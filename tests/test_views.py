from __future__ import annotations

from pathlib import Path

import numpy as np

from latenthash.images import decode
from latenthash.sources import open_source
from latenthash.views import random_view, write_views
from small import write_images


def test_each_photo_gets_its_folder_of_views(tmp_path: Path) -> None:
    photos = write_images(tmp_path / "images", per_class=3)
    (photos / "red/0.png").write_bytes(b"damaged")
    source = open_source(photos)
    told: list[tuple[int, int]] = []
    folder = write_views(source, tmp_path / "views", views=4, side=16,
                         on_progress=lambda *progress: told.append(progress))  # fmt: skip
    broken = next(n for n, sample in enumerate(source.samples) if sample.name == "red/0.png")
    for number in range(6):
        views = sorted(path.name for path in (folder / str(number)).iterdir())
        assert views == ([] if number == broken else [f"00{view}.png" for view in range(4)])
    assert decode(folder / "0/000.png").shape == (16, 16, 3)
    assert told[-1] == (6, 6)


def test_the_same_seed_gives_the_same_views(tmp_path: Path) -> None:
    source = open_source(write_images(tmp_path / "images", per_class=2))
    one, two, three = (
        write_views(source, tmp_path / name, views=3, side=8, seed=seed)
        for name, seed in (("a", 1), ("b", 1), ("c", 9))
    )
    names = sorted(path.relative_to(one) for path in one.rglob("*.png"))
    assert len(names) == 12
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in names)
    assert any((one / name).read_bytes() != (three / name).read_bytes() for name in names)


def test_a_view_shows_a_part_of_its_photo_both_ways_round() -> None:
    ramp = np.zeros((90, 120, 3), np.uint8)
    ramp[:] = np.arange(120, dtype=np.uint8)[None, :, None] * 2
    rising, spans = 0, []
    for seed in range(60):
        view = random_view(ramp, 24, np.random.default_rng(seed))[12, :, 0].astype(int)
        slope = np.sign(view[-1] - view[0])
        assert (np.sign(np.diff(view)) * slope >= 0).all()
        rising += int(slope > 0)
        spans.append(abs(view[-1] - view[0]) / (2 * 119))
    assert 15 < rising < 45
    assert 0.5 < min(spans) < 0.65
    assert max(spans) > 0.9
