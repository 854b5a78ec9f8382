"""Data layers: LMDBs of Datums, read and decoded as Caffe does it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from io import BytesIO
from itertools import islice
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from PIL import Image, ImageOps, JpegImagePlugin

from ...errors import DataError, NetError
from ...images import MAX_PIXELS
from ...jpeg import plain_jpeg
from ...lmdb_store import DatumReader
from ...proto.caffe_pb2 import DataParameter, Datum, LayerParameter, TransformationParameter

_REBUILD = "build it again with build_lmdb.py"
_KEEP_SIZE = (0, 0)
_PNG_GRAY = np.array([9797, 19234, 3737])  # red, green, blue, of 32768
Record = tuple[str, bytes]
"""A key and its serialised Datum."""


class DatumSource:
    """The batches of one Data layer, endlessly, in the order of the keys.

    `rand_skip` is left alone, as Caffe's layer does since 2015.
    """

    def __init__(self, layer: LayerParameter, where: str) -> None:
        """Open the LMDB; a relative path counts from the working directory, as in Caffe.

        Args:
            layer: of type Data.
            where: names the layer in errors.

        Raises:
            NetError: the layer asks for what cannot be done.
            DataError: the LMDB is missing, empty or damaged.
        """
        data, transform = layer.data_param, layer.transform_param
        if data.backend != DataParameter.LMDB:
            raise NetError(f"{where}: reads LevelDB", "set backend: LMDB in data_param")
        self._batch = data.batch_size
        self._forced = _forced_channels(transform, where)
        self._reader = DatumReader(Path(data.source), self._forced)
        self._records = _endless(self._reader.items)

    def read(self) -> list[Record]:
        """The next batch, not decoded. One thread at a time."""
        return list(islice(self._records, self._batch))

    def decode(self, record: Record) -> tuple[str, NDArray[np.uint8], int]:
        """Key, pixels (C, H, W) uint8 in any strides, BGR or gray, and label; in any thread.

        Raises:
            DataError: the Datum is damaged; the LMDB and the key are named.
        """
        key, value = record
        try:
            datum = Datum.FromString(value)
            pixels = _decompress(datum.data, self._forced) if datum.encoded else _raw(datum)
        except (DecodeError, DataError) as error:
            reason = error.problem if isinstance(error, DataError) else "is no Datum"
            raise self.error(key, reason) from error
        return key, pixels, datum.label

    def error(self, key: str, reason: str, remedy: str = _REBUILD) -> DataError:
        """A `DataError` that names the LMDB and the key."""
        return DataError(f"{self._reader.path}: {key!r} {reason}", remedy)

    def close(self) -> None:
        """Free the LMDB."""
        self._records.close()
        self._reader.close()


def _endless(items: Callable[[], Iterator[Record]]) -> Generator[Record, None, None]:
    while True:
        yield from items()


def _forced_channels(transform: TransformationParameter, where: str) -> int | None:
    """Channels that encoded images are decoded to; None leaves them as they are."""
    if transform.force_color and transform.force_gray:
        raise NetError(f"{where}: has force_color and force_gray", "keep one of them")
    if transform.force_color:
        return 3
    return 1 if transform.force_gray else None


def _raw(datum: Datum) -> NDArray[np.uint8]:
    shape = (datum.channels, datum.height, datum.width)
    if not datum.data or len(datum.data) != np.prod(shape):
        raise DataError(f"of shape {shape} has {len(datum.data)} bytes of pixels")
    return np.frombuffer(datum.data, np.uint8).reshape(shape)


def _decompress(data: bytes, forced: int | None) -> NDArray[np.uint8]:
    """(C, H, W) BGR, gray, or BGR and alpha, a view of interleaved pixels.

    OpenCV, which decodes for Caffe, turns an image by its EXIF only where its channels
    are forced.
    """
    for channels in (3, 1) if forced is None else (forced,):
        plain = plain_jpeg(data, channels, _KEEP_SIZE, MAX_PIXELS)
        if plain is not None:
            return plain.transpose(2, 0, 1)
    try:
        pixels = _general(data, forced)
    except DataError:
        raise
    except Exception as error:  # decoders fed with damaged bytes raise anything
        raise DataError(f"is a damaged image ({error})") from error
    if pixels.ndim == 2:
        return pixels[None]
    return pixels[:, :, [2, 1, 0, 3][: pixels.shape[2]]].transpose(2, 0, 1)


def _general(data: bytes, forced: int | None) -> NDArray[np.uint8]:
    """(H, W) gray or (H, W, C) RGB or RGBA, by Pillow."""
    with Image.open(BytesIO(data)) as image:
        mode = _mode(image, forced)
        if isinstance(image, JpegImagePlugin.JpegImageFile):
            image.draft(mode, None)  # gray is what a JPEG stores as such
        turned = image if forced is None else ImageOps.exif_transpose(image)
        if mode == "L" and image.format == "PNG":
            return _gray_of_png(np.asarray(turned.convert("RGB")))
        return np.asarray(turned.convert(mode))


def _gray_of_png(colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) from (H, W, 3) RGB as libpng does it for OpenCV: in fixed point, cut off."""
    return (colours @ _PNG_GRAY >> 15).astype(np.uint8)


def _mode(image: Image.Image, forced: int | None) -> str:
    """Pillow's name of what OpenCV would decode to."""
    if image.mode.startswith(("I", "F")):
        raise DataError(f"has pixels of mode {image.mode}, not of 8 bits")
    if forced is not None:
        return "L" if forced == 1 else "RGB"
    if image.has_transparency_data:
        return "RGBA"
    return "L" if image.mode in ("1", "L") else "RGB"
