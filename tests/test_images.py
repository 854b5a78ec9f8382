from __future__ import annotations

import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from bad_images import (
    HANDLED,
    jpeg,
    make_bad_images,
    photo,
    png_of_size,
    rotated_jpeg,
)
from latenthash.errors import DataError, ImageError
from latenthash.images import Preprocess, decode, fit, list_images, load, prepare, probe, read
from latenthash.proto import write_mean


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def bgr(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image.convert("RGB"))[:, :, ::-1]


def far(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> int:
    """Largest difference between two images of one shape."""
    assert left.shape == right.shape
    return int(np.abs(left.astype(int) - right.astype(int)).max())


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_come_back_exactly_as_bgr(kind: str) -> None:
    assert np.array_equal(decode(encoded(photo(), kind)), bgr(photo()))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_formats_come_back_nearly(kind: str) -> None:
    assert far(decode(encoded(photo(), kind, quality=95)), bgr(photo())) < 20


def test_gray_weighs_the_colours_as_itu_601() -> None:
    pixels = decode(encoded(photo(), "PNG"), channels=1)
    blue, green, red = np.moveaxis(bgr(photo()).astype(float), 2, 0)
    assert pixels.shape == (30, 40, 1)
    assert np.abs(pixels[:, :, 0] - (0.299 * red + 0.587 * green + 0.114 * blue)).max() <= 1


def test_every_exif_orientation_comes_out_upright() -> None:
    upright = np.zeros((24, 40, 3), dtype=np.uint8)
    upright[:12, :20] = 255  # top left alone is white: tells all eight apart
    stored = {  # what a camera stores for each orientation, by EXIF's definition
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }
    for orientation, pixels in stored.items():
        data = rotated_jpeg(orientation, Image.fromarray(np.ascontiguousarray(pixels)))
        assert far(decode(data), upright) < 30, orientation
        assert far(decode(data, size=(12, 20)), upright[::2, ::2]) < 90, orientation
        assert probe(data) == (24, 40, 3), orientation


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_exif_counts_in_other_formats_too(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(photo(40, 30), kind, exif=exif)
    assert decode(data).shape == (40, 30, 3)
    assert probe(data) == (40, 30, 3)


@pytest.mark.parametrize("exif", [b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\x01"])
def test_damaged_exif_neither_loses_the_image_nor_warns(exif: bytes, tmp_path: Path) -> None:
    """In a process of its own: pytest makes Pillow's warning of bad EXIF an error."""
    (tmp_path / "a.jpg").write_bytes(jpeg(photo(), exif=exif))
    code = (
        "from pathlib import Path; from latenthash.images import decode\n"
        "print(decode(Path('a.jpg')).shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("(30, 40, 3)\n", "")


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    values = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    for kind in ("PNG", "TIFF", "PPM"):
        pixels = decode(encoded(Image.fromarray(values), kind), channels=1)
        assert np.array_equal(pixels[:, :, 0], np.arange(256).reshape(16, 16)), kind


def test_floats_and_wide_integers_have_no_known_range() -> None:
    for values in (np.ones((4, 4), np.float32), np.full((4, 4), 70_000, np.int32)):
        with pytest.raises(ImageError, match="range is unknown"):
            decode(encoded(Image.fromarray(values), "TIFF"))


def test_transparency_is_laid_on_white() -> None:
    clear = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    half = Image.new("LA", (4, 4), (0, 128))
    keyed = Image.new("RGB", (4, 4), (9, 9, 9))
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([200, 0, 0] * 256)
    assert (decode(encoded(clear, "PNG")) == 255).all()
    assert np.abs(decode(encoded(half, "PNG")).astype(int) - 127).max() <= 1
    assert (decode(encoded(keyed, "PNG", transparency=(9, 9, 9))) == 255).all()
    assert (decode(encoded(palette, "PNG", transparency=0), channels=1) == 255).all()


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_keeps_its_colours(kind: str) -> None:
    """JPEG stores CMYK inverted, as Adobe does; TIFF does not."""
    red = Image.new("RGB", (16, 16), (255, 0, 0)).convert("CMYK")
    assert far(decode(encoded(red, kind)), bgr(Image.new("RGB", (16, 16), (255, 0, 0)))) < 6


def test_of_an_animation_the_first_frame_counts() -> None:
    frames = [Image.new("P", (8, 8), shade) for shade in (0, 1)]
    for frame in frames:
        frame.putpalette([0, 0, 0, 255, 255, 255] + [0] * 762)
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (decode(data) == 0).all()


def test_bad_images_are_handled_or_refused_with_the_reason(tmp_path: Path) -> None:
    expected = make_bad_images(tmp_path)
    assert {Path(file).name for file in list_images(tmp_path)} == set(expected)
    for name, reason in expected.items():
        if reason is HANDLED:
            assert decode(tmp_path / name, size=(32, 32)).shape == (32, 32, 3), name
        else:
            with pytest.raises(ImageError) as refused:
                decode(tmp_path / name)
            assert reason in refused.value.problem, name


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_file_without_permission_says_so(tmp_path: Path) -> None:
    path = tmp_path / "mine.jpg"
    path.write_bytes(jpeg(photo()))
    path.chmod(0)
    tmp_path.chmod(0o755)
    code = (
        "import os; from pathlib import Path; from latenthash.images import decode\n"
        "os.setuid(65534)\n"
        "try: decode(Path('mine.jpg'))\n"
        "except Exception as error: print(error.problem)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "cannot be read: permission denied\n"


def test_the_limit_on_pixels_holds_before_they_are_decoded() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Pillow's own warning of large images
        with pytest.raises(ImageError, match="20000x20000 pixels, more than the limit of 250"):
            decode(png_of_size(20_000, 20_000))
        with pytest.raises(ImageError, match="truncated PNG"):
            decode(png_of_size(12_000, 12_000))  # beyond Pillow's limit, within ours


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_bytes_never_raise_anything_else(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM"]))
    damaged = bytearray(encoded(photo(), kind))
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)))
    for version in (bytes(damaged), bytes(damaged[:cut])):
        try:
            assert decode(version, size=(16, 16)).shape == (16, 16, 3)
        except ImageError as error:
            assert error.problem


@given(height=st.integers(1, 300), width=st.integers(1, 300), channels=st.sampled_from([1, 3]))
@settings(max_examples=40, deadline=None)
def test_any_size_is_warped_to_the_size_asked_for(height: int, width: int, channels: int) -> None:
    data = jpeg(photo(width, height))
    assert decode(data, channels, (17, 23)).shape == (17, 23, channels)
    assert decode(data, channels).shape == (height, width, channels)


def test_reduced_decoding_keeps_the_quality() -> None:
    """A large JPEG, decoded at reduced scale, against averaging all its pixels."""
    large = photo(2048, 1536)
    pixels = decode(jpeg(large), size=(96, 128))
    blocks = bgr(large).reshape(96, 16, 128, 16, 3).mean(axis=(1, 3))
    assert np.abs(pixels - blocks).mean() < 1.5


def test_a_jpeg_that_fits_is_handed_on_as_it_is() -> None:
    data = jpeg(photo())
    assert read(data).jpeg == data
    assert read(data, 3, (30, 40)).jpeg == data
    assert read(data, 3, (15, 20)).jpeg is None
    assert read(data, 1).jpeg is None
    assert read(rotated_jpeg(3)).jpeg is None
    assert read(jpeg(photo().convert("L"))).jpeg is None
    assert read(encoded(photo(), "PNG")).jpeg is None
    gray = jpeg(photo().convert("L"))
    assert read(gray, 1).jpeg == gray


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_the_short_way_for_jpegs_ends_where_the_general_way_does(data: st.DataObject) -> None:
    channels = data.draw(st.sampled_from([1, 3]))
    image = photo().convert("L") if data.draw(st.booleans()) else photo()
    options = {"progressive": data.draw(st.booleans()), "comment": b"c" * 20}
    exif = Image.Exif()
    exif[0x0112] = data.draw(st.sampled_from([1, 3]))
    if data.draw(st.booleans()):
        options["exif"] = exif
    file = bytearray(jpeg(image, **options))
    for _ in range(data.draw(st.integers(0, 2))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    results = []
    for size in ((30, 40), None):  # without a size the general way is taken
        try:
            results.append(decode(bytes(file), channels, size))
        except ImageError as error:
            results.append(error.problem)
    if isinstance(results[0], str) or isinstance(results[1], str):
        assert results[0] == results[1]
    elif results[1].shape == results[0].shape:
        assert np.array_equal(*results)


def test_prepare_is_caffes_transform() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    mean = rng.random((3, 9, 12), dtype=np.float32) * 255
    values = prepare(pixels, Preprocess(3, (9, 12), (4, 6), mean, scale=0.5))
    assert values.shape == (3, 4, 6)
    assert values.dtype == np.float32
    for c in range(3):
        for y in range(4):
            for x in range(6):
                top, left = (9 - 4) // 2, (12 - 6) // 2
                pixel = np.float32(pixels[top + y, left + x, c])
                expected = (pixel - mean[c, top + y, left + x]) * np.float32(0.5)
                assert values[c, y, x] == expected


def test_prepare_takes_a_mean_per_channel_and_warps() -> None:
    preprocess = Preprocess(3, (5, 5), (5, 5), (1.0, 2.0, 3.0))
    values = prepare(np.full((10, 8, 3), 9, dtype=np.uint8), preprocess)
    assert [set(plane.ravel()) for plane in values] == [{8.0}, {7.0}, {6.0}]
    with pytest.raises(ValueError, match="channels"):
        prepare(np.zeros((5, 5, 1), dtype=np.uint8), preprocess)


def test_fit_changes_channels_and_size() -> None:
    gray = np.full((6, 4, 1), 77, dtype=np.uint8)
    assert (fit(gray, 3) == 77).all()
    assert fit(gray, 3, (2, 9)).shape == (2, 9, 3)
    blue = np.zeros((6, 4, 3), dtype=np.uint8)
    blue[:, :, 0] = 255
    assert (fit(blue, 1) == 29).all()  # 0.114 * 255
    assert fit(blue, 3, (6, 4)) is blue


def test_load_is_the_same_from_bytes_files_and_threads(tmp_path: Path) -> None:
    preprocess = Preprocess(3, (32, 32), (28, 28), (104.0, 117.0, 123.0))
    paths = []
    for seed in range(24):
        paths.append(tmp_path / f"{seed}.jpg")
        paths[-1].write_bytes(jpeg(photo(300, 200, seed)))
    alone = [load(path.read_bytes(), preprocess) for path in paths]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda path: load(path, preprocess), paths))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("kind", ["none", "channels", "image"])
def test_preprocess_survives_json(kind: str, tmp_path: Path) -> None:
    image = np.random.default_rng(0).random((3, 8, 10), dtype=np.float32)
    mean = {"none": None, "channels": (1.5, 2.0, 3.25), "image": image}[kind]
    before = Preprocess(3, (8, 10), (6, 6), mean, 0.25)
    write_mean(image, tmp_path / "mean.binaryproto")
    settings = before.to_json("mean.binaryproto")
    after = Preprocess.from_json(settings, tmp_path)
    assert after.to_json("mean.binaryproto") == settings
    assert np.array_equal(after.mean, before.mean) if kind == "image" else after.mean == mean


def test_another_mean_file_is_refused(tmp_path: Path) -> None:
    mean = np.zeros((1, 4, 4), dtype=np.float32)
    settings = Preprocess(1, (4, 4), (4, 4), mean).to_json("m.binaryproto")
    write_mean(mean + 1, tmp_path / "m.binaryproto")
    with pytest.raises(DataError, match="not the mean that was used"):
        Preprocess.from_json(settings, tmp_path)
    with pytest.raises(DataError, match="damaged"):
        Preprocess.from_json({"channels": 1}, tmp_path)


@pytest.mark.parametrize(
    ("channels", "crop", "mean"),
    [(2, (4, 4), None), (3, (9, 4), None), (3, (0, 4), None), (3, (4, 4), (1.0,))],
)
def test_settings_that_do_not_fit_are_refused(
    channels: int, crop: tuple[int, int], mean: tuple[float, ...] | None
) -> None:
    with pytest.raises(DataError, match=" - "):
        Preprocess(channels, (8, 8), crop, mean)


def test_list_images_sorts_by_bytes_and_survives_a_loop(tmp_path: Path) -> None:
    for name in ("b/2.jpg", "b/10.PNG", "a.jpeg", "Z.jpg", "é.jpg", "b/notes.txt", ".x/h.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b" / "up").symlink_to(tmp_path)
    (tmp_path / ".hidden.jpg").touch()
    names = [Path(file).relative_to(tmp_path).as_posix() for file in list_images(tmp_path)]
    assert names == ["Z.jpg", "a.jpeg", "b/10.PNG", "b/2.jpg", "é.jpg"]
    with pytest.raises(DataError, match="nowhere"):
        list_images(tmp_path / "nowhere")
