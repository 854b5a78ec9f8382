"""Spark beside the single-process tool on the same images: images a second, and the same codes.

    make demo-photos
    python benchmarks/spark_bench.py --images data/stamps --net efficientnet_lite0 \
        --hash demo-photos/photos.h5.hash.h5 --master 'local[2]' --json spark.json

Both extract all images to codes and features, `--runs` times, taking turns; each run starts
with nothing. `single` is what `tools/extract.py` does, in this process with all its cores.
`spark` is what `tools/spark_extract.py` does on the session of `--master`, which is open
before the clock starts (`session_s`); each of its Python processes loads the network in the
first run (`first_s`) and keeps it. `rerun_s`: Spark once more over a finished table, where
every image is read and none encoded. `files_per_s` counts those that could not be used too.
`differing`: images whose codes differ between the two, which is a rounding at the threshold;
`feature_error` is the largest difference of a feature's value.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from harness import Report, command, machine, say, timed, versions, write_json
from latenthash.adapters.spark import (
    CodeTable,
    ImageFolder,
    extract_table,
    open_session,
    write_shards,
)
from latenthash.codes import CodeSet
from latenthash.engines import get_engine
from latenthash.extract import DEFAULT_BATCH, extract
from latenthash.hashing import read_hash
from latenthash.model import HashModel, open_features, open_model, with_hash
from latenthash.pretrained import published_weights
from latenthash.sources import open_source

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Measure and write the report."""
    args = arguments()
    model = model_of(args)
    opening, session = timed(lambda: open_session(args.master))
    try:
        with tempfile.TemporaryDirectory(dir=args.work) as work:
            report = measured(args, model, session, Path(work))
    finally:
        session.stop()
    write_json({**report, "session_s": round(opening, 2)}, args.json)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--images", type=Path, required=True, help="folder of images")
    parser.add_argument("--net", required=True, help="folder in prototxt/ or caffe_models/")
    parser.add_argument("--weights", type=Path, help="default: the published ones")
    parser.add_argument("--hash", type=Path, help="of a net without codes of its own")
    parser.add_argument("--master", default="local[2]")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--batch", type=int, default=DEFAULT_BATCH)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", type=Path, help="where results go; default: the temporary folder")
    parser.add_argument("--json", type=Path, required=True, help="report to write")
    return parser.parse_args()


def model_of(args: argparse.Namespace) -> HashModel:
    """The network to run."""
    folders = (ROOT / "prototxt" / args.net, ROOT / "caffe_models" / args.net, Path(args.net))
    deploy = next(f / "deploy.prototxt" for f in folders if (f / "deploy.prototxt").is_file())
    weights = args.weights or published_weights(ROOT / "caffe_models" / args.net)
    if args.hash is None:
        return open_model(deploy, weights)
    return with_hash(open_features(deploy, weights), read_hash(args.hash), args.hash)


def measured(args: argparse.Namespace, model: HashModel, session: Any, work: Path) -> Report:
    """Both ways in turn, then how much their results differ."""
    ways = {"single": single, "spark": on_spark}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    found = 0
    for run in range(args.runs):
        for name in sorted(ways, reverse=run % 2 == 1):
            place = work / f"{name}{run}"
            took, found = timed(partial(ways[name], args, model, session, place))
            seconds[name].append(took)
            say(f"{name}: {found / took:.1f} images/s")
    again, _ = timed(partial(on_spark, args, model, session, work / "spark0"))
    median = {name: statistics.median(times) for name, times in seconds.items()}
    return {
        "machine": machine(),
        "versions": {**versions(), "spark": session.version},
        "command": command(args, "images", "weights", "hash"),
        "images": found,
        "files_per_s": {name: round(found / took, 1) for name, took in median.items()},
        "ratio": round(median["single"] / median["spark"], 2),
        "first_s": {name: round(times[0], 2) for name, times in seconds.items()},
        "rerun_s": round(again, 2),
        **differences(session, work),
    }


def single(args: argparse.Namespace, model: HashModel, session: Any, place: Path) -> int:
    """The single process; images found."""
    source = open_source(args.images, labelled=False)
    extract(source, model, get_engine(args.engine), place.with_suffix(".h5"), batch=args.batch)
    return len(source.samples)


def on_spark(args: argparse.Namespace, model: HashModel, session: Any, place: Path) -> int:
    """Spark; images found."""
    source = ImageFolder(str(args.images.resolve()))
    report = extract_table(
        session, source, model, place.as_uri(), engine=args.engine, batch=args.batch
    )
    return report.found


def differences(session: Any, work: Path) -> Report:
    """How the first results of both differ, image by image."""
    [shard] = write_shards(CodeTable(session, (work / "spark0").as_uri()), work / "shards", 2**31)
    with CodeSet(shard) as ours, CodeSet(work / "single0.h5") as theirs:
        place = {name: row for row, name in enumerate(theirs.names)}
        rows = np.array([place[name] for name in ours.names])
        codes = (ours.codes != theirs.codes[rows]).any(axis=1)
        features = np.abs(ours.features().astype(np.float32) - theirs.features()[rows])
        return {
            "compared": len(rows),
            "missing": len(place) - len(rows),
            "differing": int(codes.sum()),
            "feature_error": float(features.max()),
        }


if __name__ == "__main__":
    main()
