"""Which layers of a net belong to a phase: Caffe's include and exclude rules."""

from __future__ import annotations

from ..errors import NetError
from ..proto.caffe_pb2 import TEST, TRAIN, LayerParameter, NetParameter, NetState, NetStateRule

PHASES = {"TRAIN": TRAIN, "TEST": TEST}


def layers_of(net: NetParameter, phase: str) -> list[LayerParameter]:
    """Layers of `net` in `phase`, at the level and stages that the net itself states.

    Raises:
        NetError: no such phase, or a layer with both include and exclude rules.
    """
    if phase not in PHASES:
        raise NetError(f"no phase named {phase!r}", "choose TRAIN or TEST")
    state = NetState()
    state.CopyFrom(net.state)
    state.phase = PHASES[phase]
    return [layer for layer in net.layer if _included(layer, state)]


def _included(layer: LayerParameter, state: NetState) -> bool:
    if layer.include and layer.exclude:
        raise NetError(
            f"layer {layer.name!r} has include and exclude rules", "keep those of one kind"
        )
    if layer.include:
        return any(_meets(rule, state) for rule in layer.include)
    return not any(_meets(rule, state) for rule in layer.exclude)


def _meets(rule: NetStateRule, state: NetState) -> bool:
    return (
        (not rule.HasField("phase") or rule.phase == state.phase)
        and (not rule.HasField("min_level") or state.level >= rule.min_level)
        and (not rule.HasField("max_level") or state.level <= rule.max_level)
        and set(rule.stage) <= set(state.stage)
        and not set(rule.not_stage) & set(state.stage)
    )
