"""Snapshots of a solver, as Caffe writes and reads them.

PREFIX_iter_N.caffemodel holds the weights, PREFIX_iter_N.solverstate what the solver
itself must remember; both have an HDF5 form with a further .h5.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from ...errors import NetError
from ...files import atomic_file
from ...proto import array_from_blob, blob_from_array, read_binary, write_binary
from ...proto.caffe_pb2 import SolverParameter, SolverState
from ...weights import Weights, write_weights


@dataclass(frozen=True)
class State:
    """What a solver remembers beside the weights.

    Attributes:
        iteration: updates done.
        learned_net: the caffemodel that belongs to it; empty if none.
        current_step: of the learning rate.
        history: float32, in Caffe's order.
    """

    iteration: int
    learned_net: str
    current_step: int
    history: Sequence[NDArray[np.float32]]


def write_snapshot(
    settings: SolverParameter,
    name: str,
    weights: Weights,
    iteration: int,
    current_step: int,
    history: Sequence[NDArray[np.float32]],
) -> tuple[Path, Path]:
    """Write caffemodel and solver state; each appears whole or not at all.

    Args:
        settings: give prefix and format.
        name: the net's.
        weights: by layer.
        iteration: updates done.
        current_step: of the learning rate.
        history: in Caffe's order.

    Returns:
        Their paths: the caffemodel's, the solver state's.

    Raises:
        StorageError: the disk is full, or the folder cannot be written.
    """
    hdf5 = settings.snapshot_format == SolverParameter.HDF5
    stem = f"{settings.snapshot_prefix}_iter_{iteration}"
    suffix = ".h5" if hdf5 else ""
    model, file = Path(f"{stem}.caffemodel{suffix}"), Path(f"{stem}.solverstate{suffix}")
    write_weights(weights, model, name)
    state = State(iteration, str(model), current_step, history)
    if hdf5:
        _write_hdf5(state, file)
    else:
        _write_binary(state, file)
    return model, file


def _write_binary(state: State, path: Path) -> None:
    message = SolverState(
        iter=state.iteration, learned_net=state.learned_net, current_step=state.current_step
    )
    message.history.extend(map(blob_from_array, state.history))
    write_binary(message, path)


def _write_hdf5(state: State, path: Path) -> None:
    """Made in memory, since a disk that fills up breaks HDF5."""
    made = io.BytesIO()
    text = state.learned_net.encode()
    with h5py.File(made, "w") as file:
        file["iter"] = np.array([state.iteration], np.int32)
        file["current_step"] = np.array([state.current_step], np.int32)
        file["learned_net"] = np.array(text, f"S{len(text) + 1}")  # Caffe reads up to a 0
        group = file.create_group("history")
        for number, values in enumerate(state.history):
            group.create_dataset(str(number), data=values)
    with atomic_file(path) as partial:
        partial.write_bytes(made.getbuffer())


def read_state(path: Path) -> State:
    """Read a solver state: `.h5` as HDF5, anything else as binary.

    Raises:
        NetError: it is missing or no solver state.
    """
    if path.suffix != ".h5":
        message = read_binary(path, SolverState())
        history = [array_from_blob(blob) for blob in message.history]
        return State(message.iter, message.learned_net, message.current_step, history)
    if not path.is_file():
        raise NetError(f"{path}: no such file", "check the path")
    try:
        with h5py.File(path, "r") as file:
            return _from_hdf5(file)
    except (OSError, KeyError, AttributeError, ValueError, TypeError) as error:
        raise NetError(f"{path}: is no solver state ({error})", "give another snapshot") from error


def _from_hdf5(file: h5py.File) -> State:
    history = file["history"]
    return State(
        iteration=int(file["iter"][()].item()),
        learned_net=file["learned_net"][()].decode() if "learned_net" in file else "",
        current_step=int(file["current_step"][()].item()),
        history=[np.asarray(history[name], np.float32) for name in sorted(history, key=int)],
    )
