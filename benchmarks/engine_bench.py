"""The engines side by side: JPEG files to stored codes and features, and training steps.

Extraction is `latenthash.extract` from the first file to the finished code file, the
loading of the net included. Training is the net's own solver over an LMDB made of the
same images, smaller batches aside; a step is the time between two reports, and the
first ones do not count. Engines take turns, so that other load on the machine falls on
all alike; figures are medians. The weights are random unless --weights says otherwise:
they do not change the work. `ratio` is the best of torch over Caffe. The loader's figure
is what the torch engine's data layer delivers while nothing computes.

    python benchmarks/engine_bench.py --net alexnet_48 --images photos/ --json alexnet.json
    python benchmarks/engine_bench.py --net efficientnet_lite0_48 --images photos/ \\
        --count 200 --train-batch 16 --json efficientnet.json
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np

from harness import Report, command, machine, say, timed, versions, write_json
from latenthash.engines import Engine, get_engine
from latenthash.engines.base import Step
from latenthash.engines.caffe_home import pycaffe_folder
from latenthash.errors import EngineError
from latenthash.extract import DEFAULT_BATCH, extract
from latenthash.images import Preprocess, decode
from latenthash.lmdb_store import DatumWriter, make_key
from latenthash.model import HashModel, open_model
from latenthash.netdef import NetDef, load_netdef
from latenthash.netdef.phase import layers_of
from latenthash.netdef.upgrade import upgrade
from latenthash.proto import read_net, read_solver, write_mean, write_text
from latenthash.proto.caffe_pb2 import LayerParameter
from latenthash.sources import Source, open_source
from latenthash.threads import usable_cores
from latenthash.weights import Weights, write_weights

PROTOTXT = Path(__file__).resolve().parent.parent / "prototxt"
WAYS = {
    "caffe": ("caffe", "float32"),
    "torch": ("torch", "float32"),
    "torch-bfloat16": ("torch", "bfloat16"),
}
_MARGIN = 256 / 227  # of images over crops, as the nets of 2012 have it
Rates = dict[str, list[float]]


class Set:
    """Images, and all that is made of them in a folder.

    Attributes:
        source: the images.
        shape: (C, H, W) that the net takes.
        preprocess: how an image comes to that.
        net: train_val with its data, mean and batches replaced; None without one.
    """

    def __init__(self, args: argparse.Namespace, work: Path) -> None:
        self.args, self.work = args, work
        self.folder = args.net if args.net.is_dir() else PROTOTXT / args.net
        source = open_source(args.images, labelled=False)
        self.source = replace(source, samples=source.samples[: args.count])
        self.deploy = self.folder / "deploy.prototxt"
        deploy = load_netdef(self.deploy, "TEST")
        self.shape = tuple(deploy.blob_shapes[deploy.data_layers[0].tops[0]][1:])
        self._message = upgrade(read_net(self.folder / "train_val.prototxt"))
        [data] = [layer for layer in layers_of(self._message, "TEST") if layer.type == "Data"]
        self.preprocess = self._preprocess(data)
        self.weights = args.weights or write_random(deploy, work / "deploy.caffemodel")

    def _preprocess(self, data: LayerParameter) -> Preprocess:
        """As the TEST phase has it; a mean file becomes a flat one of the right size."""
        channels, *crop = self.shape
        transform = data.transform_param
        larger = self.args.resize or round(crop[0] * _MARGIN)
        resize = (larger if transform.crop_size else crop[0],) * 2
        mean: object = tuple(transform.mean_value) or None
        if transform.HasField("mean_file"):
            mean = np.full((channels, *resize), 117, np.float32)
        elif mean is not None:
            mean = (mean * channels)[:channels]
        return Preprocess(channels, resize, (crop[0], crop[1]), mean, transform.scale)

    def model(self) -> HashModel:
        """The deploy net as a hash model."""
        mean_file = None
        if isinstance(self.preprocess.mean, np.ndarray):
            mean_file = str(self._mean_file())
        return open_model(self.deploy, self.weights, self.preprocess.to_json(mean_file))

    def _mean_file(self) -> Path:
        path = self.work / "mean.binaryproto"
        if not path.exists():
            write_mean(self.preprocess.mean, path)
        return path

    def solver(self) -> tuple[Path, Path]:
        """The net's solver for a few steps over an LMDB of the images; its first weights."""
        for layer in self._message.layer:
            if layer.type == "Data":
                layer.data_param.source = str(self.work / "lmdb")
                layer.data_param.batch_size = self.args.train_batch
                if layer.transform_param.HasField("mean_file"):
                    layer.transform_param.mean_file = str(self._mean_file())
        net = self.work / "train_val.prototxt"
        write_text(self._message, net)
        definition = self.training_net(net)
        self._write_lmdb(definition.classes or 1)
        settings = read_solver(self.folder / "solver.prototxt")
        for field in ("test_iter", "test_interval", "snapshot", "stepsize", "stepvalue"):
            settings.ClearField(field)
        settings.net, settings.snapshot_prefix = str(net), str(self.work / "net")
        settings.base_lr, settings.lr_policy = 1e-6, "fixed"  # random weights stay as they are
        settings.display, settings.max_iter = 1, self.args.skip + self.args.steps + 1
        settings.snapshot_after_train = True  # after the last report
        write_text(settings, self.work / "solver.prototxt")
        return self.work / "solver.prototxt", write_random(definition, self.work / "net.caffemodel")

    def training_net(self, net: Path | None = None) -> NetDef:
        """train_val in the TRAIN phase, once `solver` has written it."""
        stored = (self.preprocess.channels, *self.preprocess.resize)
        return load_netdef(net or self.work / "train_val.prototxt", "TRAIN", {"data": stored})

    def _write_lmdb(self, classes: int) -> None:
        with DatumWriter(self.work / "lmdb") as writer:
            for number, sample in enumerate(self.source.samples):
                assert sample.path is not None  # a folder's samples are files
                pixels = decode(sample.path, self.preprocess.channels, self.preprocess.resize)
                key = make_key(number, f"{number}")
                writer.put(key, pixels, number % classes, self.args.encode)


def write_random(net: NetDef, path: Path) -> Path:
    """A caffemodel of random weights, scaled so that activations neither grow nor vanish."""
    rng = np.random.default_rng(0)
    weights: Weights = {}
    for name, shapes in net.param_shapes.items():
        if net.layer(name).type == "BatchNorm":
            blobs = [np.zeros(shapes[0]), *(np.ones(shape) for shape in shapes[1:])]
        elif net.layer(name).type == "Scale":
            blobs = [np.ones(shapes[0]), *(np.zeros(shape) for shape in shapes[1:])]
        else:
            blobs = [
                rng.standard_normal(shape, np.float32) * math.sqrt(2 / math.prod(shape[1:]))
                if len(shape) > 1
                else np.zeros(shape)
                for shape in shapes
            ]
        weights[name] = [blob.astype(np.float32) for blob in blobs]
    write_weights(weights, path)
    return path


def in_turn(ways: dict[str, Callable[[], float]], runs: int) -> Rates:
    """Rates of each way, `runs` times; the order rotates."""
    rates: Rates = {name: [] for name in ways}
    names = list(ways)
    for run in range(runs):
        shift = run % len(names)
        for name in names[shift:] + names[:shift]:
            rates[name].append(ways[name]())
            say(f"  {name}: {rates[name][-1]:.2f}/s")
    return rates


def extraction(engine: Engine, model: HashModel, source: Source, args: argparse.Namespace) -> float:
    """Images a second from files to a code file."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "codes.h5"
        seconds, done = timed(lambda: extract(source, model, engine, output, batch=args.batch))
    return float(done.images / seconds)


def training(engine: Engine, solver: Path, weights: Path, args: argparse.Namespace) -> float:
    """Steps a second, from the times between reports."""
    stamps: list[float] = []

    def on_step(step: Step) -> None:
        if step.phase == "train":
            stamps.append(perf_counter())

    engine.train(solver, weights, on_step=on_step)
    counted = np.diff(stamps)[args.skip : args.skip + args.steps]
    return float(1 / np.median(counted))


def loading(net: NetDef, batch: int, seconds: float) -> float:
    """Images a second that the torch engine's loader delivers."""
    import torch

    from latenthash.engines.torch.loader import AHEAD, Loader

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with Loader(net, 0, usable_cores(), device) as loader:
        for _ in range(2 * AHEAD):  # what was made before the clock starts
            loader.next()
        begin, batches = perf_counter(), 0
        while perf_counter() - begin < seconds:
            loader.next()
            batches += 1
        if device.type == "cuda":
            torch.cuda.synchronize()
        return batches * batch / (perf_counter() - begin)


def measure(args: argparse.Namespace, work: Path) -> Report:
    """All of it."""
    images = Set(args, work)
    engines = {
        name: get_engine(engine, args.threads, **({"precision": p} if engine == "torch" else {}))
        for name, (engine, p) in WAYS.items()
        if name in args.ways
    }
    model = images.model()
    say(f"extraction of {len(images.source.samples)} images")
    extracted = in_turn(
        {
            name: lambda engine=engine: extraction(engine, model, images.source, args)  # type: ignore[misc]
            for name, engine in engines.items()
        },
        args.runs,
    )
    solver, weights = images.solver()
    say(f"training steps of {args.train_batch} images")
    trained = in_turn(
        {
            name: lambda engine=engine: training(engine, solver, weights, args)  # type: ignore[misc]
            for name, engine in engines.items()
        },
        args.runs,
    )
    loaded = None
    if importlib.util.find_spec("torch"):
        net = images.training_net()
        loaded = [loading(net, args.train_batch, args.loader_seconds) for _ in range(args.runs)]
    return report(args, images, extracted, trained, loaded)


def report(
    args: argparse.Namespace, images: Set, extracted: Rates, trained: Rates,
    loaded: list[float] | None,
) -> Report:  # fmt: skip
    """Medians, every run beside them."""
    return {
        "command": command(args, "images", "weights", "net"),
        "net": images.folder.name,
        "images": len(images.source.samples),
        "input": list(images.shape),
        "stored": list(images.preprocess.resize),
        "images_per_s": by_engine(extracted),
        "train_steps_per_s": by_engine(trained),
        "train_batch": args.train_batch,
        "loader_images_per_s": loaded and round(statistics.median(loaded), 1),
        "ratio": {"images_per_s": ratio(extracted), "train_steps_per_s": ratio(trained)},
        "runs": {"images_per_s": extracted, "train_steps_per_s": trained, "loader": loaded},
        "machine": {**machine(), "gpu": gpu()},
        "versions": versions(),
    }


def by_engine(rates: Rates) -> Report:
    """{engine: {precision: median}}."""
    found: Report = {}
    for name, values in rates.items():
        engine, precision = WAYS[name]
        found.setdefault(engine, {})[precision] = round(statistics.median(values), 3)
    return found


def ratio(rates: Rates) -> float | None:
    """The best of torch over Caffe; None if one of them was not measured."""
    medians = by_engine(rates)
    if len(medians) < 2:
        return None
    return round(max(medians["torch"].values()) / medians["caffe"]["float32"], 3)


def gpu() -> str | None:
    """Name of the GPU that torch computes on."""
    if not importlib.util.find_spec("torch"):
        return None
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def installed(names: Iterable[str]) -> list[str]:
    """Ways whose engine is there."""
    found = []
    for name in names:
        try:
            if WAYS[name][0] == "caffe":
                pycaffe_folder()
            else:
                get_engine("torch")
        except EngineError as error:
            say(f"{name} is left out: {error}")
        else:
            found.append(name)
    return found


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--net", type=Path, required=True, help="folder in prototxt/, or another one")
    add("--images", type=Path, required=True, help="folder of images")
    add("--json", type=Path, required=True)
    add("--count", type=int, default=500, help="images at most (default: 500)")
    add("--batch", type=int, default=DEFAULT_BATCH, help="images a forward pass")
    add("--train-batch", type=int, default=32, help="images a training step (default: 32)")
    add("--steps", type=int, default=5, help="training steps that count (default: 5)")
    add("--skip", type=int, default=2, help="training steps before these (default: 2)")
    add("--runs", type=int, default=3, help="of each (default: 3)")
    add("--loader-seconds", type=float, default=3, help="of each of the loader's runs")
    add(
        "--resize",
        type=int,
        help="side that cropped images are stored at; default: 256/227 of the crop",
    )
    add("--encode", choices=("jpeg", "raw"), default="jpeg", help="of the LMDB (default: jpeg)")
    add("--threads", type=int, help="of the engines; default: the free cores")
    add("--weights", type=Path, help="caffemodel of the deploy net; default: random ones")
    add("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    return parser.parse_args()


def main() -> None:
    """Measure in a folder that is removed at the end."""
    args = arguments()
    args.ways = installed(args.ways)
    if not args.ways:
        sys.exit("error: no engine is installed - run `make setup`")
    with tempfile.TemporaryDirectory(prefix="latenthash-engines-") as folder:
        write_json(measure(args, Path(folder)), args.json)


if __name__ == "__main__":
    main()
