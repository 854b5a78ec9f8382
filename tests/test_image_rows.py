"""Images to rows in order, in parts, with a reason for each that is left out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from latenthash.codes import CodeSet, Parts
from latenthash.errors import ImageError
from latenthash.image_rows import (
    RowMaker,
    extraction_plan,
    missing_parts,
    read_sample,
    write_parts,
)
from latenthash.images import decode
from latenthash.sources import Sample, Source

MODEL = {"net": "none"}


def prepare(sample: Sample) -> tuple[int, bytes]:
    number = int(sample.name)
    if number % 5 == 3:
        raise ImageError("ends in 3 or 8")
    return number, sample.name.encode()


class Compute:
    """Features that tell the number; notes the batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def __call__(self, numbers: Sequence[int]) -> tuple[NDArray[np.float16], NDArray[np.uint8]]:
        self.batches.append(list(numbers))
        features = np.array(numbers, np.float16)[:, None].repeat(2, axis=1)
        return features, np.array(numbers, np.uint8)[:, None]


def samples(count: int) -> list[Sample]:
    return [Sample(str(number), number % 3, path="unused") for number in range(count)]


def maker(compute: Compute, strict: bool = False) -> RowMaker[int]:
    return RowMaker(prepare, compute, batch=4, workers=3, strict=strict)


def test_rows_come_in_order_and_batches_are_full() -> None:
    compute, skipped = Compute(), []
    found = list(maker(compute).rows(samples(13), skipped))
    usable = [number for number in range(13) if number % 5 != 3]
    assert skipped == [("3", "ends in 3 or 8"), ("8", "ends in 3 or 8")]
    assert compute.batches == [usable[:4], usable[4:8], usable[8:]]
    names = [name for rows in found for name in rows.names]
    assert names == [str(number) for number in usable]
    for rows in found:
        assert rows.labels.tolist() == [int(name) % 3 for name in rows.names]
        assert rows.features[:, 0].tolist() == [int(name) for name in rows.names]
        assert [row.tobytes() for row in rows.content] == [
            hashlib.sha256(name.encode()).digest() for name in rows.names
        ]


def test_a_strict_run_names_the_image() -> None:
    with pytest.raises(ImageError, match="3: ends in 3 or 8 - leave out --strict"):
        list(maker(Compute(), strict=True).rows(samples(5), []))


def test_parts_that_are_there_are_not_made_again(tmp_path: Path) -> None:
    source, told = Source("numbers", list("abc"), samples(10)), []
    plan = extraction_plan(source, MODEL, bits=8, dim=2)
    first = Parts(tmp_path / "codes.h5", plan)
    missing = missing_parts(first, source.samples, 4)
    assert {number: [one.name for one in part] for number, part in missing.items()} == {
        0: ["0", "1", "2", "3"], 1: ["4", "5", "6", "7"], 2: ["8", "9"],
    }  # fmt: skip
    write_parts(first, {1: missing[1]}, maker(Compute()), 10, lambda *step: None)
    again, compute = Parts(tmp_path / "codes.h5", plan), Compute()
    left = missing_parts(again, source.samples, 4)
    assert list(left) == [0, 2]
    write_parts(again, left, maker(compute), 10, lambda *step: told.append(step))
    assert compute.batches == [[0, 1, 2], [9]]
    assert told == [(8, 10), (10, 10)]  # four were done before
    assert again.join() == [("3", "ends in 3 or 8"), ("8", "ends in 3 or 8")]
    with CodeSet(tmp_path / "codes.h5") as codes:
        assert codes.names == [str(number) for number in range(10) if number % 5 != 3]


def test_the_plan_tells_images_labels_and_model_apart() -> None:
    def planned(rows: list[Sample], model: dict[str, str] = MODEL, bits: int = 8) -> str:
        return repr(extraction_plan(Source("numbers", list("abc"), rows), model, bits, 2))

    one = samples(3)
    plans = [
        planned(one), planned(one[:2]), planned(one[::-1]), planned(one, {"net": "other"}),
        planned(one, bits=9), planned([*one[:2], Sample("2", 0, path="unused")]),
    ]  # fmt: skip
    assert len(set(plans)) == len(plans)
    assert planned(samples(3)) == plans[0]


def test_files_and_arrays_are_read_alike(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    path = tmp_path / "0.png"
    Image.fromarray(pixels[..., ::-1]).save(path)
    for channels, size in ((3, None), (1, None), (3, (4, 5)), (1, (12, 3))):
        of_file, content = read_sample(Sample("0", 0, path=str(path)), channels, size)
        of_array, own = read_sample(Sample("0", 0, pixels=pixels), channels, size)
        assert np.array_equal(of_file, decode(path, channels, size))
        assert of_array.shape == of_file.shape
        assert np.abs(of_array.astype(int) - of_file).max() <= 1
        assert (content, own) == (path.read_bytes(), pixels.tobytes())
    path.write_bytes(b"no image")
    with pytest.raises(ImageError, match="not an image"):
        read_sample(Sample("0", 0, path=str(path)))
