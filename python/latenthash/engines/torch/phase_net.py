"""A net of one phase with its data: what a solver runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from ...closing import Closing
from ...errors import NetError
from ...lmdb_store import DatumReader
from ...netdef import Layer, NetDef, load_netdef
from ...netdef.phase import layers_of
from ...netdef.upgrade import upgrade
from ...proto import read_net
from .execution import Execution
from .graph import Graph
from .loader import Loader


def load_phase(path: Path, phase: str) -> NetDef:
    """A net whose Data layers say what their LMDBs hold.

    Paths in it count from the working directory, as in Caffe.

    Raises:
        NetError: the net is malformed, or takes its data from elsewhere.
        DataError: an LMDB is missing or damaged.
    """
    shapes = {}
    for param in layers_of(upgrade(read_net(path)), phase):
        if param.type == "Data" and param.top:
            transform = param.transform_param
            channels = 3 if transform.force_color else 1 if transform.force_gray else None
            with DatumReader(Path(param.data_param.source), channels) as reader:
                shapes[param.top[0]] = reader.shape
    definition = load_netdef(path, phase, shapes)
    if not definition.data_layers:
        raise NetError(f"{path}: has no data layer in phase {phase}", "add one")
    for layer in definition.data_layers:
        if layer.type != "Data":
            raise NetError(
                f"{path}: layer {layer.name!r} ({phase}) brings data in as {layer.type}",
                "the torch engine trains from Data layers; use --engine caffe",
            )
    return definition


def outputs_of(definition: NetDef) -> list[str]:
    """Blobs that no layer takes, in Caffe's order, which is that of their names."""
    free: set[str] = set()
    for layer in definition.layers:
        free -= {*layer.bottoms}
        free |= {*layer.tops}
    return sorted(free)


def loss_weights(definition: NetDef) -> dict[str, float]:
    """Blobs that count for the loss and how much.

    Raises:
        NetError: a layer's weights are not one for each top.
    """
    found: dict[str, float] = {}
    for layer in definition.layers:
        for top, weight in zip(layer.tops, _weights_of(layer, definition.path), strict=True):
            if weight:
                found[top] = found.get(top, 0.0) + weight
    return found


def _weights_of(layer: Layer, path: Path) -> list[float]:
    """A loss layer's first top counts once unless something else is said."""
    given = list(layer.param.loss_weight)
    if not given:
        first = 1.0 if layer.type.endswith("Loss") else 0.0
        return [first, *[0.0] * (len(layer.tops) - 1)][: len(layer.tops)]
    if len(given) != len(layer.tops):
        raise NetError(
            f"{path}: layer {layer.name!r} has {len(given)} loss_weight, {len(layer.tops)} tops",
            "give one for each top, or none",
        )
    return given


class PhaseNet(Closing):
    """A graph that takes its own data. Close it, or use it as a context.

    Args:
        definition: from `load_phase`.
        execution: where it runs.
        seed: of random crops and mirrors.
        workers: threads that read the data.
        owner: the phase that has the weights; None if this one does.
    """

    def __init__(
        self,
        definition: NetDef,
        execution: Execution,
        seed: int,
        workers: int,
        owner: Graph | None = None,
    ) -> None:
        self.graph = Graph(definition, execution, owner)
        self._outputs = outputs_of(definition)
        self._losses = loss_weights(definition)
        self._device = execution.device
        self._loader = Loader(definition, seed, workers, execution.device)

    @property
    def has_loss(self) -> bool:
        """Whether there is something to learn from."""
        return bool(self._losses)

    def forward(self) -> tuple[Tensor, dict[str, Tensor]]:
        """Run the next batch.

        Returns:
            The weighted sum of the losses, float32 (); the outputs by name, detached.
        """
        found = self.graph(self._loader.next(), {*self._outputs, *self._losses})
        loss = torch.zeros((), device=self._device)
        for name, weight in self._losses.items():
            loss = loss + weight * found[name].float().sum()
        return loss, {name: found[name].detach() for name in self._outputs}

    def close(self) -> None:
        """Free the data."""
        self._loader.close()


def named_values(outputs: dict[str, Tensor]) -> Iterator[tuple[str, float]]:
    """Values of outputs; the further elements of a vector are called name[1], name[2], …"""
    for name, output in outputs.items():
        for index, value in enumerate(output.float().flatten().tolist()):
            yield (f"{name}[{index}]" if index else name), value
