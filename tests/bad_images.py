"""Every kind of file that breaks image pipelines, built on the spot.

`make_bad_images(folder)` writes them and says what is to become of each: None for
"handled right", else a part of the reason for which it has to be skipped.
"""

from __future__ import annotations

import os
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

HANDLED = None
LONG_NAME = "long_" + "n" * (255 - 9) + ".jpg"  # the longest that a file system takes
ODD_NAME = "жук 日本 ü.jpg"
BROKEN_NAME = os.fsdecode(b"latin\xfc.jpg")  # no UTF-8


def photo(width: int = 40, height: int = 30, seed: int = 0) -> Image.Image:
    """Smooth colours, so that compression and scaling change little."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(30, 226, (3, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def jpeg(image: Image.Image, **options: object) -> bytes:
    """A JPEG of an image."""
    file = BytesIO()
    image.save(file, "JPEG", **{"quality": 95, **options})
    return file.getvalue()


def png_of_size(width: int, height: int) -> bytes:
    """A PNG whose header claims a size; its pixels are a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(64))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


def rotated_jpeg(orientation: int, image: Image.Image | None = None) -> bytes:
    """A JPEG that EXIF says to turn."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return jpeg(image or photo(), exif=exif)


def make_bad_images(folder: Path) -> dict[str, str | None]:
    """Write one file of each kind; {name: part of the reason to skip it, or HANDLED}."""
    folder.mkdir(parents=True, exist_ok=True)
    good = jpeg(photo())
    expected: dict[str, str | None] = {}

    def write(name: str, data: bytes, reason: str | None) -> None:
        (folder / name).write_bytes(data)
        expected[name] = reason

    write("truncated.jpg", good[: len(good) // 2], "truncated JPEG")
    write("only_magic.jpg", good[:4], "JPEG")
    write("empty.jpg", b"", "empty file")
    write("text.jpg", b"this is a letter, not a picture\n", "not an image")
    write("zero.png", png_of_size(0, 0), "0x0 pixels")
    write("huge.png", png_of_size(30_000, 30_000), "30000x30000 pixels, more than the limit")
    write("header_only.png", png_of_size(40, 30), "PNG")
    write("cmyk.jpg", jpeg(photo().convert("CMYK")), HANDLED)
    write("rotated.jpg", rotated_jpeg(6), HANDLED)
    write(ODD_NAME, good, HANDLED)
    write(BROKEN_NAME, good, HANDLED)
    write(LONG_NAME, good, HANDLED)
    _write_formats(folder, expected)
    _write_places(folder, expected)
    return expected


def _write_formats(folder: Path, expected: dict[str, str | None]) -> None:
    gray16 = np.linspace(0, 65535, 1200).astype(np.uint16).reshape(30, 40)
    Image.fromarray(gray16).save(folder / "gray16.png")
    palette = photo().quantize(8)
    palette.save(folder / "palette_alpha.png", transparency=bytes([0, 128, *[255] * 6]))
    alpha = photo().convert("RGBA")
    alpha.putalpha(128)
    alpha.save(folder / "rgba.png")
    frames = [photo(seed=seed).quantize(16) for seed in range(3)]
    frames[0].save(folder / "animated.gif", save_all=True, append_images=frames[1:])
    for name in ("plain.webp", "plain.bmp", "plain.tif"):
        photo().save(folder / name)
    handled = ("gray16.png", "palette_alpha.png", "rgba.png", "animated.gif")
    for name in (*handled, "plain.webp", "plain.bmp", "plain.tif"):
        expected[name] = HANDLED


def _write_places(folder: Path, expected: dict[str, str | None]) -> None:
    """Files that are bad by where or what they are rather than by their bytes."""
    (folder / "broken_link.jpg").symlink_to(folder / "nowhere.jpg")
    expected["broken_link.jpg"] = "broken link"
    os.mkfifo(folder / "pipe.jpg")
    expected["pipe.jpg"] = "not a file"
    (folder / "unreadable.jpg").write_bytes(jpeg(photo()))
    (folder / "unreadable.jpg").chmod(0)
    root = os.geteuid() == 0  # whom no permission stops
    expected["unreadable.jpg"] = HANDLED if root else "cannot be read: permission denied"
