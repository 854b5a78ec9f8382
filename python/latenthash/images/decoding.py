"""Image files to upright 8-bit pixels, with a reason for each that cannot be used."""

from __future__ import annotations

import logging
import os
import stat
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# The plug-ins read what _FORMATS lists; importing one registers it.
from PIL import (
    BmpImagePlugin,  # noqa: F401
    ExifTags,
    GifImagePlugin,  # noqa: F401
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,  # noqa: F401
    PpmImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    WebPImagePlugin,  # noqa: F401
)

from ..errors import ImageError
from ..jpeg import plain_jpeg

MAX_PIXELS = 250_000_000
MAX_BYTES = 1 << 30

_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
_DRAFT_MARGIN = 2  # a JPEG is decoded at reduced scale, but never below twice the target
_ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPPED = (5, 6, 7, 8)
_GRAY_MODES = ("1", "L", "I", "I;16", "I;16B", "I;16L", "F")
_METADATA = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")
_WHITE = (255, 255, 255, 255)

Source = Path | str | bytes
"""A file, or its bytes."""

_log = logging.getLogger(__name__)

# Pillow warns of damaged EXIF and the like; the pixels are good all the same.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


@dataclass(frozen=True)
class Decoded:
    """What `read` makes of an image.

    Attributes:
        pixels: (H, W, C) uint8, BGR or gray; read-only.
        jpeg: the file's own bytes where they are a JPEG of just these pixels, so that
            they need not be compressed a second time; None otherwise.
    """

    pixels: NDArray[np.uint8]
    jpeg: bytes | None = None


def decode(
    source: Source, channels: int = 3, size: tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    """Pixels of an image, upright.

    EXIF orientation is applied, transparency laid on white, of an animation the first
    frame taken, 16 bits scaled to 8; colour profiles are left alone, as OpenCV does.
    Resized bilinearly with antialiasing, which keeps what plain bilinear would skip.

    Args:
        source: a file, or its bytes.
        channels: 3 for BGR, 1 for gray.
        size: (height, width) to warp to; None keeps the size.

    Returns:
        (H, W, channels) uint8, read-only.

    Raises:
        ImageError: with a reason that is fit for a list of skipped images.
    """
    return read(source, channels, size).pixels


def read(source: Source, channels: int = 3, size: tuple[int, int] | None = None) -> Decoded:
    """As `decode`, with the JPEG that can stand for the pixels if there is one."""
    data = source if isinstance(source, bytes) else read_bytes(source)
    height, width = size or (0, 0)
    least = (_DRAFT_MARGIN * height, _DRAFT_MARGIN * width)
    plain = plain_jpeg(data, channels, least, MAX_PIXELS)
    if plain is not None:
        kept = size in (None, plain.shape[:2])
        return Decoded(plain, data) if kept else Decoded(fit(plain, channels, size))
    with _open(data) as image, _reasons(image.format or ""):
        orientation = _orientation(image)
        original = image.mode, image.size
        upright = _upright(image, channels, size, orientation)
        pixels = _array(upright, channels)
    same = orientation == 1 and original == (upright.mode, upright.size)
    return Decoded(pixels, data if same and image.format == "JPEG" else None)


def probe(source: Source) -> tuple[int, int, int]:
    """(height, width, channels) of an upright image from its header alone.

    Raises:
        ImageError: as `decode`, as far as a header tells.
    """
    data = source if isinstance(source, bytes) else read_bytes(source)
    with _open(data) as image:
        width, height = image.size
        if _orientation(image) in _SWAPPED:
            width, height = height, width
        return height, width, 1 if image.mode in _GRAY_MODES else 3


def fit(
    pixels: NDArray[np.uint8], channels: int, size: tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    """Pixels in another number of channels or another size, as `decode` would have them.

    Args:
        pixels: (H, W, C) uint8, BGR or gray.
        channels: 3 for BGR, 1 for gray.
        size: (height, width) to warp to; None keeps the size.

    Returns:
        (H, W, channels) uint8.
    """
    height, width, found = pixels.shape
    if found == channels and size in (None, (height, width)):
        return pixels
    # Blue stands where Pillow takes red to be, which matters to colour conversion alone.
    if found == 3 and channels == 1:
        pixels = pixels[..., ::-1]
    image = Image.fromarray(pixels if found == 3 else pixels[..., 0])
    image = image.convert("L" if channels == 1 else "RGB")
    fitted = np.asarray(_resized(image, size) if size else image)
    return fitted.reshape(*fitted.shape[:2], channels)


def _resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    # A gap of 3 lets large images be averaged in blocks first; no eye sees it.
    return image.resize(size[::-1], Image.Resampling.BILINEAR, reducing_gap=3.0)


def read_bytes(path: Path | str) -> bytes:
    """Content of an image file.

    Raises:
        ImageError: no regular file, too large, or it cannot be read.
    """
    try:
        # Opening a pipe the ordinary way would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ImageError("not a file")
            if status.st_size > MAX_BYTES:
                raise ImageError(f"a file of {status.st_size / 1e6:,.0f} MB")
            return os.read(descriptor, status.st_size)  # whole: MAX_BYTES is below 2 GiB
        finally:
            os.close(descriptor)
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise ImageError(
                "broken link" if Path(path).is_symlink() else "no such file"
            ) from error
        reason = (error.strerror or str(error)).lower()
        raise ImageError(f"cannot be read: {reason}") from error


def _open(data: bytes) -> ImageFile.ImageFile:
    """Read the header. Not through `Image.open`, whose limit on pixels is not ours."""
    if not data:
        raise ImageError("empty file")
    for name in _FORMATS:
        factory, accept = Image.OPEN[name]
        if accept is not None and accept(data[:16]) is True:
            break
    else:
        raise ImageError("not an image")
    _require_pixels(data, name)
    with _reasons(name):
        image = factory(BytesIO(data), "")
    width, height = image.size
    if width * height > MAX_PIXELS:
        limit = f"{MAX_PIXELS // 1_000_000} megapixels"
        raise ImageError(f"{width}x{height} pixels, more than the limit of {limit}")
    return image


def _require_pixels(data: bytes, name: str) -> None:
    """Name an empty image as such; Pillow only says that it is not identified."""
    place = {"PNG": (">II", 16), "GIF": ("<HH", 6), "BMP": ("<ii", 18)}.get(name)
    if place and len(data) >= place[1] + struct.calcsize(place[0]):
        width, height = struct.unpack_from(place[0], data, place[1])
        if not (width and height):
            raise ImageError(f"{width}x{height} pixels")


@contextmanager
def _reasons(name: str) -> Iterator[None]:
    """Turn whatever a decoder raises at a damaged file into the reason to skip it."""
    try:
        yield
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError("needs more memory than there is") from error
    except Exception as error:
        # Decoders fed with damaged bytes raise anything, from struct.error to KeyError.
        if "truncated" in str(error).lower() or isinstance(error, EOFError):
            raise ImageError(f"truncated {name}") from error
        raise ImageError(f"damaged {name} ({error})") from error


def _orientation(image: ImageFile.ImageFile) -> int:
    """EXIF orientation 1 to 8; 1 for TIFF, which Pillow turns by itself."""
    if image.format == "TIFF" or not any(key in image.info for key in _METADATA):
        return 1
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged metadata raises anything; the pixels are good all the same
        _log.debug("damaged EXIF", exc_info=True)
        return 1
    return value if value in _ORIENTATIONS else 1


def _upright(
    image: ImageFile.ImageFile, channels: int, size: tuple[int, int] | None, orientation: int
) -> Image.Image:
    if size and orientation in _SWAPPED:
        size = size[::-1]
    mode = "L" if channels == 1 else "RGB"
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        wanted = size and (_DRAFT_MARGIN * size[1], _DRAFT_MARGIN * size[0])
        image.draft(mode, wanted)  # scales while decoding: several times faster
    image.load()
    plain = _plain(image, mode)
    if size and plain.size != size[::-1]:
        plain = _resized(plain, size)
    turn = _ORIENTATIONS.get(orientation)
    return plain if turn is None else plain.transpose(turn)


def _plain(image: Image.Image, mode: str) -> Image.Image:
    """8 bits, opaque, RGB or L."""
    if image.mode == mode and "transparency" not in image.info:
        return image
    if image.mode == "F":
        raise ImageError("floating-point pixels, whose range is unknown")
    if image.mode.startswith("I"):
        image = _eight_bits(image)
    elif image.has_transparency_data:
        opaque = Image.new("RGBA", image.size, _WHITE)
        opaque.alpha_composite(image.convert("RGBA"))
        image = opaque
    return image.convert(mode)


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit gray, also as Pillow's 32-bit mode I, scaled: 65535 becomes 255."""
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise ImageError("32-bit pixels, whose range is unknown")
    return Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))


def _array(image: Image.Image, channels: int) -> NDArray[np.uint8]:
    width, height = image.size
    data = image.tobytes() if channels == 1 else image.tobytes("raw", "BGR")
    return np.frombuffer(data, dtype=np.uint8).reshape(height, width, channels)
