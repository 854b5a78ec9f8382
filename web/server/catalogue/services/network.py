"""The network of an index, loaded when the first picture asks for it."""

from __future__ import annotations

from functools import cached_property
from threading import Lock
from time import perf_counter
from typing import Any

import numpy as np
from django.conf import settings

from latenthash.engines import get_engine
from latenthash.images import decode, prepare
from latenthash.index import Address
from latenthash.model import HashModel
from latenthash.search import index_model

from .refusals import refusing
from .terms import Query
from .together import Together


class Network:
    """Makes codes and features of pictures, one batch at a time."""

    def __init__(self, address: Address, engine: str, facts: dict[str, Any]) -> None:
        """Name the index whose network it is, what runs it, and the index's facts of it."""
        self.facts = facts
        self._address, self._engine = address, engine
        self._loading, self._computing = Lock(), Lock()
        self._described = Together(self._describe, settings.BATCH)

    @cached_property
    def _model(self) -> HashModel:
        return index_model(self._address)

    @cached_property
    def _net(self) -> Any:
        return get_engine(self._engine).load(self._model.deploy, self._model.weights)

    def load(self) -> None:
        """Load the network now."""
        with refusing():
            self._loaded()

    def _loaded(self) -> tuple[HashModel, Any]:
        with self._loading:  # a second request waits for the network of the first
            return self._model, self._net

    def close(self) -> None:
        """Free it, once it is not computing."""
        with self._computing, self._loading:
            if (net := self.__dict__.pop("_net", None)) is not None:
                net.close()

    def encode(self, query: Query) -> tuple[Any, Any, dict[str, float]]:
        """Code (W,), feature (D,) and the milliseconds it took, of a picture."""
        begin = perf_counter()
        with refusing():
            preprocess = self._loaded()[0].preprocess
            size = preprocess.resize if query.crop is None else None
            pixels = decode(query.picture, preprocess.channels, size)
            if query.crop is not None:
                pixels = _cropped(pixels, query.crop)
            values = prepare(pixels, preprocess)
            decoded = perf_counter()
            code, feature = self._described(values)
        times = {"decode": 1e3 * (decoded - begin), "encode": 1e3 * (perf_counter() - decoded)}
        return code, feature.astype(np.float32), times

    def _describe(self, images: list[Any]) -> list[tuple[Any, Any]]:
        """Codes and features of preprocessed images, (C, H, W) each."""
        with self._computing:
            model, net = self._loaded()
            features, codes = model.encode(net, np.stack(images))
        return list(zip(codes, features, strict=True))


def _cropped(pixels: Any, crop: tuple[float, float, float, float]) -> Any:
    """Part of (H, W, C) pixels; at least one of them."""
    height, width = pixels.shape[:2]
    x, y, across, down = crop
    left, top = min(int(x * width), width - 1), min(int(y * height), height - 1)
    right = max(left + 1, min(width, round((x + across) * width)))
    bottom = max(top + 1, min(height, round((y + down) * height)))
    return pixels[top:bottom, left:right]
