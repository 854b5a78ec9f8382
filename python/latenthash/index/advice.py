"""What the health of the codes means for who searches with them, and what to do."""

from __future__ import annotations

import numpy as np

from .base import DEFAULT_CANDIDATES
from .health import Health

_MOST = 0.5  # share of the images in one bucket: the codes have collapsed
_CROWDED = 10 * DEFAULT_CANDIDATES  # images in a query's own bucket: each costs a rerank
_REPEATED = 0.25  # share of the bits that may repeat another
_FEW = 20  # images: too few to tell anything from


def warnings(health: Health) -> list[str]:
    """Sentences about what is wrong, worst first; empty where nothing is."""
    if health.images < _FEW:
        return []
    if len(health.sizes) == 1:
        return [
            f"the codes have collapsed: all {health.images:,} images have the same one, so a "
            "query ranks the whole index. The network learned nothing: look at the loss in its "
            "training.png, lower base_lr, check the mean file and that the weights are the "
            "trained ones; then extract and build the index again"
        ]
    found = (_bulk(health), _crowd(health), _dead(health), _repeats(health))
    return [text for text in found if text]


def _bulk(health: Health) -> str:
    share = health.sizes.max() / health.images
    if share <= _MOST:
        return ""
    return (
        f"the codes have collapsed: one bucket holds {share:.0%} of the images, and a query "
        "that falls into it ranks them all. Train longer or with more bits, and check that no "
        "class has most of the training images"
    )


def _crowd(health: Health) -> str:
    own = float(np.median(health.candidates[:, 0]))
    if own <= _CROWDED:
        return ""
    return (
        f"crowded buckets: the median image shares its code with {own:,.0f} others, all ranked "
        f"by feature at every query. {health.bits} bits tell too little apart for "
        f"{health.images:,} images: train with more"
    )


def _dead(health: Health) -> str:
    dead = health.dead
    if not dead:
        return ""
    return (
        f"{len(dead)} of {health.bits} bits are the same in all images (bit {_listed(dead)}): "
        "they cost time and tell nothing. Train longer, or make the net with "
        f"--bits {health.bits - len(dead)}"
    )


def _repeats(health: Health) -> str:
    repeated = health.repeated
    if len(repeated) <= _REPEATED * health.bits:
        return ""
    return (
        f"{len(repeated)} of {health.bits} bits repeat or invert another one (bit "
        f"{_listed(repeated)}): {health.bits - len(repeated)} bits would tell as much. Train "
        "longer or with more classes before giving more bits"
    )


def _listed(bits: list[int], most: int = 8) -> str:
    """Bits in words; long lists are cut."""
    text = ", ".join(map(str, bits[:most]))
    return f"{text}, …" if len(bits) > most else text
