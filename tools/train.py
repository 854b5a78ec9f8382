"""Fine-tune a network by Caffe's solver."""

import _cli  # isort: skip  (first: it finds the project's interpreter)

import argparse
import math
import sys
from contextlib import closing
from pathlib import Path

from tqdm import tqdm

from latenthash.engines import Step, TrainingStopped
from latenthash.train import Override, TrainResult, train


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = _cli.parser(
        "Train a network by Caffe's own solver. Data, weights and disk are checked first; "
        "Ctrl-C stops with a snapshot to resume from.",
        "python tools/train.py --solver prototxt/lenet_48/solver.prototxt",
    )
    parser.add_argument("--solver", type=Path, required=True, help="solver prototxt")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--weights", type=Path, help="caffemodel to fine-tune")
    start.add_argument("--resume", type=Path, help="solverstate to go on from")
    parser.add_argument(
        "--output", type=Path, help="folder for snapshots, log, curves; else the solver's own"
    )
    parser.add_argument("--seed", type=int, default=0, help="taken if the solver sets none")
    parser.add_argument(
        "--mirror",
        action=argparse.BooleanOptionalAction,
        help="mirror training images half of the time, whatever the net says",
    )
    parser.add_argument(
        "--crop", type=int, metavar="N", help="cut N x N pixels out of images, whatever it says"
    )
    _cli.add_engine(parser)
    _cli.add_json(parser)
    return parser.parse_args()


class Bar:
    """Progress bar of iterations, with the latest loss and accuracy; opens at the first step."""

    def __init__(self) -> None:
        self._bar: tqdm[None] | None = None
        self._shown: dict[str, str] = {}

    def show(self, step: Step) -> None:
        """Move to a step."""
        if self._bar is None:
            self._bar = tqdm(
                desc="train",
                unit="it",
                total=step.max_iter,
                initial=step.iteration,
                file=sys.stderr,
                mininterval=0.2,
            )
        for name, value in step.values.items():
            if "accuracy" in name or (step.phase == "train" and name == "loss"):
                self._shown[name] = f"{value:.4f}" if math.isfinite(value) else str(value)
        self._bar.set_postfix(self._shown, refresh=False)
        self._bar.update(step.iteration - self._bar.n)

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()


def report(result: TrainResult, as_json: bool) -> None:
    """Print what was made, for people or machines."""
    if as_json:
        files = ("caffemodel", "manifest", "log", "curves")
        paths = {name: str(getattr(result, name)) for name in files}
        _cli.report_json({**paths, "iterations": result.iterations, "final": result.final})
        return
    for name, value in result.final.items():
        print(f"{name:<10} {value:.4f}")
    print(f"weights    {result.caffemodel}")
    print(f"curves     {result.curves}")
    print(f"log        {result.log}")


def resume_line(args: argparse.Namespace, stopped: TrainingStopped) -> str:
    """Say how to go on after Ctrl-C."""
    output = f" --output {args.output}" if args.output else ""
    mirror = {None: "", True: " --mirror", False: " --no-mirror"}[args.mirror]
    crop = f" --crop {args.crop}" if args.crop else ""
    command = (
        f"python tools/train.py --solver {args.solver} --resume {stopped.state}"
        f"{output}{mirror}{crop}"
    )
    return f"stopped at iteration {stopped.iteration}; resume with: {command}"


def main() -> int:
    """Train and report."""
    args = arguments()
    engine = _cli.engine(args)
    try:
        with closing(Bar()) as bar:
            result = train(
                args.solver,
                engine,
                weights=args.weights,
                resume=args.resume,
                output=args.output,
                on_step=bar.show,
                seed=args.seed,
                override=Override(args.mirror, args.crop),
            )
    except TrainingStopped as stopped:
        print(resume_line(args, stopped), file=sys.stderr)
        return 130
    report(result, args.json)
    return 0


if __name__ == "__main__":
    _cli.run(main)
