"""A solver and its nets with another mirror or crop: copies, as if the user had written them.

The copies lie in the folder `overridden` of the run; all that is checked and recorded of a
run is then that of the copies.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import NetError
from ..files import atomic_file
from ..netdef.phase import layers_of
from ..netdef.upgrade import upgrade
from ..proto import read_net, read_solver
from ..proto.caffe_pb2 import LayerParameter, NetParameter
from .effective import DEPLOY, absolute_paths, prefix_of
from .plan import net_files
from .text import Field, fields, quote, set_fields

FOLDER = "overridden"
_LAYERS = (("layer",), ("layers",))
_DIMENSIONS = (("input_param", "shape", "dim"), ("input_shape", "dim"), ("input_dim",))
_HOLDERS = ("transform_param", "data_param")  # the latter in nets of 2014
_SEPARATOR = re.compile(r"\A\s*[,;]")


@dataclass(frozen=True)
class Override:
    """What of the nets' transform_param is to be something else.

    Attributes:
        mirror: whether training images are mirrored half of the time; None leaves it.
        crop: side of the square that is cut out, in pixels: somewhere in training, in the
            middle else; None leaves it.

    Raises:
        NetError: a crop below 1.
    """

    mirror: bool | None = None
    crop: int | None = None

    def __post_init__(self) -> None:
        if self.crop is not None and self.crop < 1:
            raise NetError(f"a crop of {self.crop} pixels", "give 1 or more")

    def __bool__(self) -> bool:
        return self.mirror is not None or self.crop is not None


def write_overridden(solver: Path, override: Override, output: Path | None) -> Path:
    """Write solver, nets and deploy net into the folder of the run, changed.

    Args:
        solver: the user's, which stays as it is.
        override: what to change.
        output: folder of the run; None takes that of the solver's snapshot_prefix.

    Returns:
        The solver to train by.

    Raises:
        NetError: solver or net are malformed, or one data layer feeds training and test
            and would mirror both.
        DataError: an LMDB or mean file is missing.
        StorageError: the folder cannot be written.
    """
    settings = read_solver(solver)
    prefix = prefix_of(solver, settings, output)
    folder = prefix.parent / FOLDER
    literals = {"snapshot_prefix": quote(str(prefix))}
    for field, net in net_files(solver, settings).items():
        text = absolute_paths(_with_transform(net, field, override), net)
        literals[field] = quote(str(_write(text, folder / f"{field}.prototxt")))
        deploy = net.with_name(DEPLOY)
        if field != "test_net" and deploy.is_file():
            _write(_with_input(deploy, override.crop), folder / DEPLOY)
    return _write(set_fields(solver.read_text(), literals), folder / "solver.prototxt")


def _write(text: str, path: Path) -> Path:
    with atomic_file(path) as partial:
        partial.write_text(text)
    return path


def _with_transform(net: Path, field: str, override: Override) -> str:
    """Text of a net that the solver's `field` names, its Data layers changed."""
    text, message = net.read_text(), read_net(net)
    if not any(layer.type == "Data" for layer in upgrade(message).layer):
        raise NetError(f"{net}: has no Data layer to mirror or crop", "set it in its own layer")
    places = [place for place in fields(text) if place.path in _LAYERS]
    layers = list(upgrade(message).layer)[-len(places) :]  # input fields become layers before
    for place, layer in reversed(list(zip(places, layers, strict=True))):
        if layer.type == "Data":
            literals = _literals(message, layer, field, override, net)
            changed = set_transform(text[place.start : place.end], literals)
            text = text[: place.start] + changed + text[place.end :]
    return text


def _literals(
    net: NetParameter, layer: LayerParameter, field: str, override: Override, path: Path
) -> dict[str, str]:
    """Fields of transform_param to set in a Data layer."""
    literals = {} if override.crop is None else {"crop_size": str(override.crop)}
    trains = field != "test_net" and _reads(net, layer, "TRAIN")
    if override.mirror is not None and trains:
        if override.mirror and field == "net" and _reads(net, layer, "TEST"):
            raise NetError(
                f"{path}: layer {layer.name!r} feeds training and test, which would be mirrored",
                "give it include { phase: TRAIN }, and TEST a layer of its own",
            )
        literals["mirror"] = "true" if override.mirror else "false"
    return literals


def _reads(net: NetParameter, layer: LayerParameter, phase: str) -> bool:
    return bool(layers_of(NetParameter(state=net.state, layer=[layer]), phase))


def set_transform(layer: str, literals: Mapping[str, str]) -> str:
    """Text of one layer whose transform_param has these values, as prototxt literals."""
    old = [
        place
        for place in fields(layer)
        if place.path[-1] in literals and place.path[-2:-1] and place.path[-2] in _HOLDERS
    ]
    layer = _without(layer, old)
    given = " ".join(f"{name}: {literal}" for name, literal in literals.items())
    for place in fields(layer):
        if place.path[1:] == ("transform_param",):
            return f"{layer[: place.value_start]}{given} {layer[place.value_start :]}"
    end = max(place.value_start for place in fields(layer))  # where the layer closes
    return f"{layer[:end]}transform_param {{ {given} }} {layer[end:]}"


def _without(text: str, places: Iterable[Field]) -> str:
    """Text without these fields and the comma or semicolon that may follow each."""
    for place in sorted(places, key=lambda place: -place.start):
        text = text[: place.start] + _SEPARATOR.sub("", text[place.end :], count=1)
    return text


def _with_input(deploy: Path, crop: int | None) -> str:
    """Text of a deploy net whose input is of the crop's size.

    Raises:
        NetError: its input is not N x C x H x W.
    """
    text = deploy.read_text()
    if crop is None:
        return text
    numbers = list(_input_numbers(text))
    if len(numbers) != 4:
        raise NetError(
            f"{deploy}: its input has {len(numbers)} dimensions", "make it N x C x H x W"
        )
    for start, end in reversed(numbers[2:]):
        text = f"{text[:start]}{crop}{text[end:]}"
    return text


def _input_numbers(text: str) -> Iterator[tuple[int, int]]:
    """Where the dimensions of the input stand, each a field of its own or all in a list."""
    for place in fields(text):
        if place.path[-3:] in _DIMENSIONS:
            for number in re.finditer(r"\d+", text[place.value_start : place.end]):
                yield place.value_start + number.start(), place.value_start + number.end()
