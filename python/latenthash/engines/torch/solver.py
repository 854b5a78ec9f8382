"""Caffe's solver: iterations, tests, reports and snapshots."""

from __future__ import annotations

import logging
import secrets
from collections import defaultdict, deque
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor

from ...errors import NetError
from ...files import storage_errors
from ...netdef import NetDef
from ...proto.caffe_pb2 import SolverParameter
from ...weights import Weights, fit, read_weights
from ..base import OnStep, Step, TrainingStopped
from .execution import Execution
from .fillers import fill
from .interruption import Interruption
from .parameters import learnable_parameters
from .phase_net import PhaseNet, load_phase, named_values
from .rates import LearningRate
from .settings import read_settings
from .snapshots import State, read_state, write_snapshot
from .updates import Updater

logger = logging.getLogger(__name__)


def solve(
    solver: Path,
    weights: Path | None,
    resume: Path | None,
    on_step: OnStep | None,
    execution: Execution,
    workers: int,
) -> Path:
    """Train; see `Engine.train`.

    Args:
        solver: solver prototxt; paths in it and its nets count from the working directory.
        weights: caffemodel to fine-tune.
        resume: solver state to go on from; the data is read from its start.
        on_step: called at each report.
        execution: where it runs.
        workers: threads that read the data.
    """
    settings = read_settings(solver)
    _require_folder(settings)
    seed = settings.random_seed if settings.random_seed >= 0 else secrets.randbits(31)
    devices = [execution.device] if execution.device.type == "cuda" else []
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices))  # the caller's stays as it is
        stack.enter_context(execution.exact())
        torch.manual_seed(seed)
        nets = _open_nets(settings, execution, seed, workers, stack)
        run = Solver(settings, nets[0], nets[1:], on_step)
        if weights is not None:
            run.take(read_weights(weights), weights, whole=False)
        if resume is not None:
            run.restore(read_state(resume), resume)
        run.require_snapshot(solver)
        return run.solve()


def _require_folder(settings: SolverParameter) -> None:
    """Raise `StorageError` unless snapshots can be written."""
    probe = Path(f"{settings.snapshot_prefix}_iter_0.probe")
    with storage_errors(probe):
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()


def _open_nets(
    settings: SolverParameter, execution: Execution, seed: int, workers: int, stack: ExitStack
) -> list[PhaseNet]:
    """The train net and the test nets, which share its weights; these by their fillers."""
    train = load_phase(Path(settings.net or settings.train_net), "TRAIN")
    opened = [stack.enter_context(PhaseNet(train, execution, seed, workers))]
    if not opened[0].has_loss:
        raise NetError(f"{train.path}: has no loss in phase TRAIN", "add a loss layer")
    generator = torch.Generator().manual_seed(seed)
    owner = opened[0].graph
    fill(owner, generator)
    for path in _test_files(settings):
        net = PhaseNet(load_phase(path, "TEST"), execution, seed, workers, owner)
        opened.append(stack.enter_context(net))
        fill(net.graph, generator, owner)
    return opened


def _test_files(settings: SolverParameter) -> list[Path]:
    """One for each test_iter: the test nets, then the net itself."""
    files = [*settings.test_net]
    files += [settings.net] * (len(settings.test_iter) - len(files))
    return [Path(file) for file in files]


class Solver:
    """One training run.

    Attributes:
        iteration: updates done.

    Args:
        settings: checked.
        train: the net that learns.
        tests: nets that are measured, one for each test_iter.
        on_step: called at each report.
    """

    def __init__(
        self,
        settings: SolverParameter,
        train: PhaseNet,
        tests: list[PhaseNet],
        on_step: OnStep | None,
    ) -> None:
        self.iteration = 0
        self._settings = settings
        self._train = train
        self._tests = tests
        self._on_step = on_step
        self._updater = Updater(learnable_parameters(train.graph), settings)
        self._rate = LearningRate(settings)
        self._losses: deque[Tensor] = deque(maxlen=settings.average_loss)
        self._interruption = Interruption()
        self._written: tuple[int, Path, Path] | None = None

    @property
    def _definition(self) -> NetDef:
        return self._train.graph.definition

    def take(self, weights: Weights, path: Path, whole: bool) -> None:
        """Copy the weights of a file, by layer.

        Args:
            weights: its content.
            path: the file.
            whole: whether it must have those of all layers.

        Raises:
            NetError: it does not fit the net.
        """
        result = fit(self._definition, weights)
        missing = [f"has no layer {name}" for name in result.fresh] if whole else []
        if wrong := [*result.conflicting, *missing]:
            remedy = "give the weights of this net, or rename the layers that differ"
            raise NetError(f"{path}: {'; '.join(wrong)}", remedy)
        self._train.graph.take(weights)

    def restore(self, state: State, path: Path) -> None:
        """Go on from a solver state.

        Raises:
            NetError: it is of another net or solver.
        """
        history = self._updater.history
        if [values.size for values in state.history] != [own.numel() for own in history]:
            raise NetError(
                f"{path}: its history does not fit the net or solver type {self._settings.type}",
                "resume with the files that made this snapshot",
            )
        if state.learned_net:
            self.take(read_weights(Path(state.learned_net)), Path(state.learned_net), whole=True)
        for own, values in zip(history, state.history, strict=True):
            own.copy_(torch.from_numpy(values).reshape(own.shape))
        self.iteration, self._rate.current_step = state.iteration, state.current_step

    def require_snapshot(self, path: Path) -> None:
        """Raise `NetError` if the run would end without a caffemodel."""
        every, last = self._settings.snapshot, self._settings.max_iter
        makes = bool(every) and last // every > self.iteration // every
        if not (makes or self._settings.snapshot_after_train):
            raise NetError(f"{path}: makes no snapshot", "set snapshot_after_train: true")

    def solve(self) -> Path:
        """Run to the end; return the last caffemodel.

        Raises:
            TrainingStopped: interrupted; a snapshot is written.
        """
        settings = self._settings
        with self._interruption:
            while self.iteration < settings.max_iter:
                if self.iteration or settings.test_initialization:
                    self._test_if_due()
                    self._stop_if_asked()
                self._step()
                if settings.snapshot and self.iteration % settings.snapshot == 0:
                    self._snapshot()
                self._stop_if_asked()
            if settings.snapshot_after_train:
                self._snapshot()
            if settings.display and self.iteration % settings.display == 0:
                self._report_last_loss()
            self._test_if_due()
            self._stop_if_asked()
        assert self._written is not None
        return self._written[1]

    def _step(self) -> None:
        """One update; then its report."""
        total, outputs = self._accumulate()
        self._losses.append(total)
        rate = self._rate.at(self.iteration)
        self._updater.update(rate, self.iteration)
        done, self.iteration = self.iteration, self.iteration + 1
        if self._settings.display and done % self._settings.display == 0:
            values = {"loss": self._mean_loss()}
            values |= {name: value for name, value in named_values(outputs) if name != "loss"}
            self._report(done, "train", values, rate)

    def _accumulate(self) -> tuple[Tensor, dict[str, Tensor]]:
        """Gradients of `iter_size` batches; their mean loss and the last one's outputs."""
        total: Tensor | float = 0.0
        outputs: dict[str, Tensor] = {}
        for _ in range(self._settings.iter_size):
            loss, outputs = self._train.forward()
            if loss.requires_grad:
                loss.backward()
            total = total + loss.detach() / self._settings.iter_size
        assert isinstance(total, Tensor)
        return total, outputs

    def _mean_loss(self) -> float:
        """Over the last `average_loss` iterations of this run."""
        return float(torch.stack(list(self._losses)).mean())

    def _report_last_loss(self) -> None:
        """Caffe runs the net once more after the last update."""
        with torch.no_grad():
            self._losses.append(self._train.forward()[0])
        self._report(self.iteration, "train", {"loss": self._mean_loss()}, None)

    def _test_if_due(self) -> None:
        interval = self._settings.test_interval
        if not interval or self.iteration % interval:
            return
        for number, net in enumerate(self._tests):
            if not self._interruption.asked:
                self._test(number, net)

    def _test(self, number: int, net: PhaseNet) -> None:
        """Outputs of a test net, averaged; none if interrupted."""
        batches = self._settings.test_iter[number]
        sums: dict[str, Tensor | float] = defaultdict(float)
        total: Tensor | float = 0.0
        for _ in range(batches):
            if self._interruption.asked:
                return
            with torch.inference_mode():
                loss, outputs = net.forward()
                total = total + loss
                for name, output in outputs.items():
                    sums[name] = sums[name] + output.float()
        if self._settings.test_compute_loss:
            logger.info("test loss: %g", float(total) / batches)
        means = {name: torch.as_tensor(value) / batches for name, value in sums.items()}
        prefix = f"net{number}/" if number else ""
        values = {prefix + name: value for name, value in named_values(means)}
        self._report(self.iteration, "test", values, None)

    def _report(
        self, iteration: int, phase: str, values: dict[str, float], rate: float | None
    ) -> None:
        """Tell the caller; what interrupts there does so after the iteration."""
        if self._on_step is None or not values:
            return
        try:
            self._on_step(Step(iteration, self._settings.max_iter, phase, values, rate))
        except KeyboardInterrupt:
            self._interruption.asked = True

    def _snapshot(self) -> None:
        """Write a snapshot of this iteration, once."""
        if self._written is not None and self._written[0] == self.iteration:
            return
        model, state = write_snapshot(
            self._settings,
            self._definition.name,
            self._train.graph.weights(),
            self.iteration,
            self._rate.current_step,
            [history.cpu().contiguous().numpy() for history in self._updater.history],
        )
        self._written = (self.iteration, model, state)
        logger.info("wrote %s", model)

    def _stop_if_asked(self) -> None:
        if self._interruption.asked:
            self._snapshot()
            assert self._written is not None
            raise TrainingStopped(self.iteration, self._written[2])
