"""A training step with our compiled kernels beside one with PyTorch's own operations.

The torch engine's own graph on random images and weights, one data layer's batch after the
other, updates left out: forward and backward are measured apart. Both ways take turns, so that
other load on the machine falls on both alike; figures are medians.

    python benchmarks/step_bench.py
    python benchmarks/step_bench.py --net efficientnet_lite0 --size 224 --batch 16 --json out.json
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import numpy as np

from harness import Report, command, machine, say, versions, write_json
from latenthash import nets
from latenthash.engines.torch.execution import PRECISIONS, Execution, default_execution
from latenthash.engines.torch.memory import keep_freed_memory
from latenthash.engines.torch.phase_net import PhaseNet, load_phase
from latenthash.kernels import library
from latenthash.lmdb_store import DatumWriter, make_key
from latenthash.netdef import NetDef

_WARM_UP = 2
_IMAGES = 256
WAYS = ("ours", "PyTorch's")


@contextmanager
def only(way: str) -> Iterator[None]:
    """Within it the compiled kernels are taken, or are not there."""
    native = library.native
    if way != "ours":
        library.native = lambda: None  # type: ignore[assignment]
    try:
        yield
    finally:
        library.native = native


def phase(net: str, size: int, batch: int, folder: Path) -> NetDef:
    """The training phase of a net that reads random images."""
    rng = np.random.default_rng(0)
    with DatumWriter(folder / "train_lmdb") as writer:
        for number in range(_IMAGES):
            pixels = rng.integers(0, 256, (-(-size // 5), -(-size // 5), 3), np.uint8)
            pixels = pixels.repeat(5, 0).repeat(5, 1)[:size, :size]
            writer.put(make_key(number, f"{number}"), pixels, number % 10, "jpeg")
    files = nets.build(net, 48, source=str(folder), size=size)
    for layer in files.train_val.layer:
        if layer.type == "Data":
            layer.data_param.batch_size = batch
            layer.data_param.source = str(folder / "train_lmdb")
    path = folder / "train_val.prototxt"
    path.write_text(str(files.train_val))
    return load_phase(path, "TRAIN")


def step(net: PhaseNet) -> tuple[float, float]:
    """Seconds forward and backward."""
    begin = perf_counter()
    loss, _ = net.forward()
    between = perf_counter()
    loss.backward()
    return between - begin, perf_counter() - between


def measure(definition: NetDef, execution: Execution, steps: int) -> Report:
    """Milliseconds of both ways."""
    seconds: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    with PhaseNet(definition, execution, 1, 2) as net:
        for blobs in net.graph.blobs.values():
            for blob in blobs:
                blob.data.normal_(0, 0.1).abs_() if blob.ndim < 4 else blob.data.normal_(0, 0.1)
        for number in range(_WARM_UP + steps):
            for way in WAYS:
                with only(way):
                    taken = step(net)
                if number >= _WARM_UP:
                    seconds[way].append(taken)
    return {
        way: {
            "forward_ms": 1e3 * statistics.median(forward for forward, _ in taken),
            "backward_ms": 1e3 * statistics.median(backward for _, backward in taken),
            "step_ms": 1e3 * statistics.median(map(sum, taken)),
        }
        for way, taken in seconds.items()
    }


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--net", default="efficientnet_lite0", help="a builder's (%(default)s)")
    parser.add_argument("--size", type=int, default=128, help="of the images (%(default)s)")
    parser.add_argument("--batch", type=int, default=64, help="images of a step (%(default)s)")
    parser.add_argument("--steps", type=int, default=15, help="of each way (%(default)s)")
    parser.add_argument("--precision", choices=PRECISIONS, default="bfloat16")
    parser.add_argument("--json", type=Path, help="write the report here")
    args = parser.parse_args()
    keep_freed_memory()  # as training does
    with tempfile.TemporaryDirectory() as folder:
        definition = phase(args.net, args.size, args.batch, Path(folder))
        found = measure(definition, default_execution(args.precision), args.steps)
    for way, times in found.items():
        say(f"{way:10}" + "".join(f"  {name} {value:8.1f}" for name, value in times.items()))
    ratio = found["PyTorch's"]["step_ms"] / found["ours"]["step_ms"]
    say(f"ratio {ratio:.2f}")
    if args.json:
        report = {**command(args, "json"), "machine": machine(), "versions": versions()}
        write_json({**report, "ways": found, "ratio": ratio}, args.json)


if __name__ == "__main__":
    main()
