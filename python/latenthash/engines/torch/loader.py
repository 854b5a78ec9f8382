"""Batches of a net's Data layers, decoded in threads ahead of the compute."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...closing import Closing
from ...errors import DataError, EngineError, NetError
from ...netdef import Layer, NetDef
from ...proto.caffe_pb2 import Phase
from .data import DatumSource, Record
from .transform import Place, Transform

AHEAD = 3
"""Batches that are read, decoded or ready while the net computes."""

_CHUNK = 16  # images that a thread decodes in one go
_MASK = 2**64 - 1  # seeds of NumPy are not negative
Blobs = dict[str, Tensor]


class Loader(Closing):
    """The blobs that the Data layers of a net bring, batch after batch, endlessly.

    Images come in the order of the keys, and from the first one again after the last.
    Random crops and mirrors depend on the seed, the layer and the number of the batch,
    not on the threads. Pixels are uint8 until they are on the device; a GPU gets them
    from pinned memory on a stream of its own.
    """

    def __init__(self, definition: NetDef, seed: int, workers: int, device: torch.device) -> None:
        """Open the LMDBs and start to decode.

        Args:
            definition: a net in one phase, whose data layers are all of type Data.
            seed: of crops and mirrors.
            workers: threads that decode.
            device: where the blobs are wanted.

        Raises:
            NetError: a layer asks for what cannot be done.
            DataError: an LMDB or mean file is missing, empty or damaged.
        """
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._feeds: list[_Feed] = []
        try:
            for number, layer in enumerate(definition.data_layers):
                feed = _Feed(layer, definition, (seed & _MASK, number), device)
                self._feeds.append(feed)
        except BaseException:
            self._close_feeds()
            raise
        self._reading = ThreadPoolExecutor(1, "read")
        self._decoding = ThreadPoolExecutor(max(1, workers), "decode")
        self._joining = ThreadPoolExecutor(1, "join")
        self._ready = deque(self._ask() for _ in range(AHEAD))

    def next(self) -> Blobs:
        """The next batch.

        Returns:
            Tops of the Data layers by name, on the device: images (N, C, H, W) float32,
            labels (N,) float32.

        Raises:
            DataError: an image is damaged or does not fit; the LMDB and the key are named.
            EngineError: the loader is closed.
        """
        if not self._ready:
            raise EngineError("the loader is closed", "open another one")
        take = self._ready[0].result()  # stays there until it is whole, so errors stay too
        self._ready.popleft()
        self._ready.append(self._ask())
        return take()

    def _ask(self) -> Future[Callable[[], Blobs]]:
        """Have a batch made; one thread reads, many decode, one joins, each in order."""
        chunks = self._reading.submit(self._read)
        return self._joining.submit(self._join, chunks)

    def _read(self) -> list[_Chunks]:
        return [feed.start(self._decoding) for feed in self._feeds]

    def _join(self, started: Future[list[_Chunks]]) -> Callable[[], Blobs]:
        """Batches of all layers; on a GPU uploaded and finished while others compute."""
        pinned = self._stream is not None
        joined = [
            feed.join(chunks, pinned)
            for feed, chunks in zip(self._feeds, started.result(), strict=True)
        ]
        if self._stream is None:
            return partial(self._finish, joined)  # with all threads of who takes it
        with torch.cuda.stream(self._stream):
            blobs = self._finish(joined)
            return partial(_receive, blobs, self._stream.record_event())

    def _finish(self, joined: Sequence[_Joined]) -> Blobs:
        blobs: Blobs = {}
        for feed, batch in zip(self._feeds, joined, strict=True):
            blobs.update(feed.finish(batch, self._device))
        return blobs

    def close(self) -> None:
        """Stop the threads and free the LMDBs; calling again does nothing."""
        self._ready.clear()
        for pool in (self._reading, self._decoding, self._joining):
            pool.shutdown(cancel_futures=True)
        self._close_feeds()

    def _close_feeds(self) -> None:
        for feed in self._feeds:
            feed.close()


def _receive(blobs: Blobs, made: torch.cuda.Event) -> Blobs:
    """Blobs of another stream, for work on this one."""
    stream = torch.cuda.current_stream()
    stream.wait_event(made)
    for blob in blobs.values():
        blob.record_stream(stream)
    return blobs


@dataclass(frozen=True)
class _Item:
    """One image, cut."""

    key: str
    pixels: NDArray[np.uint8]
    label: int
    place: Place


@dataclass(frozen=True)
class _Joined:
    """A batch in the host's memory: (N, C, h, w) uint8, (N,) float32, and N places."""

    images: Tensor
    labels: Tensor
    places: list[Place]


_Chunks = list[Future[list[_Item]]]


class _Feed:
    """One Data layer: where its images come from and what is done to them."""

    def __init__(
        self, layer: Layer, definition: NetDef, seed: tuple[int, int], device: torch.device
    ) -> None:
        where = f"{definition.path}: layer {layer.name!r}"
        if layer.type != "Data":
            raise NetError(
                f"{where}: the torch engine cannot read data of type {layer.type!r}",
                "give it an LMDB (type Data), or use --engine caffe",
            )
        own_phase = layer.param.HasField("phase")
        phase = Phase.Name(layer.param.phase) if own_phase else definition.phase
        self._tops, self._seed, self._batch = layer.tops, seed, 0
        self._transform = Transform.of(layer.param.transform_param, phase, where).to(device)
        self._source = DatumSource(layer.param, where)

    def start(self, decoding: Executor) -> _Chunks:
        """Read a batch and have it decoded."""
        records = self._source.read()
        random = np.random.default_rng((*self._seed, self._batch)).random((len(records), 3))
        self._batch += 1
        return [
            decoding.submit(self._decode, records[at : at + _CHUNK], random[at : at + _CHUNK])
            for at in range(0, len(records), _CHUNK)
        ]

    def _decode(self, records: list[Record], random: NDArray[np.float64]) -> list[_Item]:
        return [self._cut(record, row) for record, row in zip(records, random, strict=True)]

    def _cut(self, record: Record, random: NDArray[np.float64]) -> _Item:
        key, pixels, label = self._source.decode(record)
        try:
            place = self._transform.place(pixels.shape, random)
        except DataError as error:
            raise self._source.error(key, error.problem, error.remedy) from error
        return _Item(key, self._transform.cut(pixels, place), label, place)

    def join(self, chunks: _Chunks, pinned: bool) -> _Joined:
        """Lay the images of a batch side by side."""
        items = [item for chunk in chunks for item in chunk.result()]
        images = _empty_like(items[0].pixels, len(items), pinned)
        view = images.numpy()
        for row, item in enumerate(items):
            if item.pixels.shape != view.shape[1:]:
                problem = f"has shape {item.pixels.shape}, {items[0].key!r} {view.shape[1:]}"
                raise self._source.error(item.key, problem, "set crop_size, or build it again")
            view[row] = item.pixels
        labels = torch.tensor([item.label for item in items], dtype=torch.float32)
        labels = labels.pin_memory() if pinned else labels
        return _Joined(images, labels, [item.place for item in items])

    def finish(self, batch: _Joined, device: torch.device) -> Blobs:
        """The layer's blobs on the device."""
        images = batch.images.to(device, non_blocking=True)
        blobs = self._transform.finish(images, batch.places), batch.labels
        uploaded = [blob.to(device, non_blocking=True) for blob in blobs]
        return dict(zip(self._tops, uploaded, strict=False))

    def close(self) -> None:
        """Free the LMDB."""
        self._source.close()


def _empty_like(pixels: NDArray[np.uint8], count: int, pinned: bool) -> Tensor:
    """(count, C, h, w) uint8 whose axes lie in memory as those of the pixels (C, h, w)."""
    order = sorted(range(3), key=lambda axis: -pixels.strides[axis])
    shape = [count, *(pixels.shape[axis] for axis in order)]
    batch = torch.empty(shape, dtype=torch.uint8, pin_memory=pinned)
    return batch.permute(0, *(1 + order.index(axis) for axis in range(3)))
