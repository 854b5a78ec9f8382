"""Caffe's messages on disk: prototxt (text) and caffemodel, binaryproto (binary)."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import numpy as np
from google.protobuf import text_format
from google.protobuf.message import DecodeError, Message
from numpy.typing import NDArray

from ..errors import DataError, LatentHashError, NetError
from ..files import atomic_file
from .caffe_pb2 import BlobProto, NetParameter, SolverParameter

M = TypeVar("M", bound=Message)
_PACKED_DATA = bytes([BlobProto.DATA_FIELD_NUMBER << 3 | 2])  # tag of a field of bytes


def read_net(path: Path) -> NetParameter:
    """Read a net prototxt. Fields of Caffe's forks are skipped.

    Raises:
        NetError: the file is missing or is no net; the message gives the line.
    """
    net = _read_text(path, NetParameter())
    if not net.layer and not net.layers:
        raise NetError(f"{path}: holds no layers", "give a train_val or deploy prototxt")
    return net


def read_solver(path: Path) -> SolverParameter:
    """Read a solver prototxt.

    Raises:
        NetError: the file is missing or is no solver; the message gives the line.
    """
    return _read_text(path, SolverParameter())


def _read_text(path: Path, message: M) -> M:
    text = _read(path, NetError).decode(errors="replace")
    try:
        return text_format.Parse(text, message, allow_unknown_field=True)
    except text_format.ParseError as error:
        kind = type(message).__name__
        raise NetError(f"{path}:{error}", f"mend it: it must be a {kind} prototxt") from error


def write_text(message: Message, path: Path) -> None:
    """Write a message as prototxt."""
    with atomic_file(path) as partial:
        partial.write_text(text_format.MessageToString(message))


def read_binary(path: Path, message: M, error: type[LatentHashError] = NetError) -> M:
    """Read a binary message (caffemodel, binaryproto, solverstate) into `message`.

    Raises:
        error: the file is missing, truncated or of another kind.
    """
    try:
        message.ParseFromString(_read(path, error))
    except DecodeError as cause:
        kind = type(message).__name__
        raise error(f"{path}: is no whole binary {kind}", "fetch or build it again") from cause
    return message


def write_binary(message: Message, path: Path) -> None:
    """Write a message in binary; the same message gives the same bytes."""
    with atomic_file(path) as partial:
        partial.write_bytes(message.SerializeToString(deterministic=True))


def _read(path: Path, error: type[LatentHashError]) -> bytes:
    try:
        return path.read_bytes()
    except OSError as cause:
        raise error(f"{path}: {cause.strerror}", "check the path") from cause


def array_from_blob(blob: BlobProto) -> NDArray[np.float32]:
    """Values of a blob in its shape, float32; both `shape` and the legacy 4-d form.

    Raises:
        ValueError: the number of values is not that of the shape.
    """
    if blob.HasField("shape"):
        shape = tuple(blob.shape.dim)
    else:
        shape = (blob.num, blob.channels, blob.height, blob.width)
    values = blob.data if len(blob.data) else blob.double_data
    return np.asarray(values, dtype=np.float32).reshape(shape)


def blob_from_array(array: NDArray[np.floating]) -> BlobProto:
    """Blob with the array's shape and its values as float32."""
    blob = BlobProto()
    fill_blob(blob, array)
    return blob


def fill_blob(blob: BlobProto, array: NDArray[np.floating]) -> None:
    """Give an empty blob the array's shape and its values as float32.

    The values are handed over in the form that they have in a file: one by one, the 60
    million of AlexNet would take half a minute.
    """
    blob.shape.dim.extend(array.shape)
    values = np.asarray(array, dtype="<f4").tobytes()
    if values:
        blob.MergeFromString(_PACKED_DATA + _varint(len(values)) + values)


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the top bit says that more follow."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def read_mean(path: Path) -> NDArray[np.float32]:
    """Mean image of shape (C, H, W) from a mean.binaryproto, channels in BGR order.

    Raises:
        DataError: the file is missing or is no mean.
    """
    blob = read_binary(path, BlobProto(), DataError)
    try:
        mean = array_from_blob(blob)
    except ValueError as error:
        raise DataError(f"{path}: {error}", "build the mean again with build_lmdb.py") from error
    if mean.ndim == 4 and mean.shape[0] == 1:
        mean = mean[0]
    if mean.ndim != 3 or mean.size == 0:
        raise DataError(
            f"{path}: a mean of shape {mean.shape} instead of (channels, height, width)",
            "build the mean again with build_lmdb.py",
        )
    return mean


def write_mean(mean: NDArray[np.floating], path: Path) -> None:
    """Write a (C, H, W) mean image as Caffe does, in the legacy 4-d form."""
    channels, height, width = mean.shape
    blob = BlobProto(num=1, channels=channels, height=height, width=width)
    blob.data.extend(np.asarray(mean, dtype=np.float32).ravel())
    write_binary(blob, path)
