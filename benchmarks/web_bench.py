"""The service under load: searches, uploads, many users at once, memory.

    make demo-photos
    python benchmarks/web_bench.py --codes demo-photos/photos.h5 --images 100000 --json web.json

The index is made of the code file's images and of noisy copies of them, until there are
as many as wanted; their codes are those of the file's own hash, so that uploads go
through its network. The noise is such that copies are images of their own, not the near-copies
that searches fold into one. Then `tools/serve.py` runs as it is, and the load comes from
processes of this program, on the same machine. Figures:

`search`: in-library searches for the top 100, `--clients` at once, each as soon as the
last one is answered; requests a second, and milliseconds from sending to the last byte.
`upload`: a JPEG of `--pixels` pixels uploaded and searched with in one step, one by one, or
by `--upload-clients` at once, which LATENTHASH_BATCH is for.
`users`: `--users` at once, who search, turn pages of the gallery and look at figures;
errors are answers that are none. `memory`: of all processes together, each shared page
counted once (PSS), before and after; also without the pages of files, of which those of the
index count as they are touched.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from time import monotonic, perf_counter, sleep

import numpy as np
from PIL import Image

from harness import CORES, Report, command, machine, percentiles, say, versions, write_json
from latenthash.codes import CodeSet, CodeWriter
from latenthash.hashing import read_hash
from latenthash.index import build_index

ROOT = Path(__file__).resolve().parent.parent
_MIX = 10  # requests of a user: so many, one each of which is for pages and figures

Ask = Callable[[http.client.HTTPConnection, np.random.Generator], None]


@dataclass
class Load:
    """What some clients met.

    Attributes:
        seconds: of each request that was answered.
        errors: what became of the others.
    """

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def report(self, wall: float) -> Report:
        """Figures of it."""
        times = percentiles(self.seconds) if self.seconds else {}
        rate = round(len(self.seconds) / wall, 1)
        return {"requests_per_s": rate, **times, "errors": len(self.errors),
                "first_errors": self.errors[:3]}  # fmt: skip


def main() -> None:
    """Build, serve, measure."""
    args = arguments()
    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        work = Path(folder)
        index = args.index or enlarged(
            args.codes, args.images, work / "index", args.seed, args.noise
        )
        report = {"command": command(args, "codes", "index"), "machine": machine(),
                  "versions": versions(), **measured(index, work, args)}  # fmt: skip
    say(json.dumps({key: report[key] for key in ("search", "upload", "users", "memory")}, indent=1))
    if args.json:
        write_json(report, args.json)


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--codes", type=Path, default=ROOT / "demo-photos/photos.h5")
    parser.add_argument("--index", type=Path, help="serve this one as it is")
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument(
        "--noise",
        type=float,
        default=0.5,
        help="of a copy, in standard deviations; 0.05 makes near-copies, which every search folds",
    )
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--workers", type=int, default=CORES)
    parser.add_argument("--clients", type=int, default=4, help="of the searches")
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60, help="of searches, and of users")
    parser.add_argument("--uploads", type=int, default=50, help="of each client")
    parser.add_argument("--upload-clients", type=int, default=1)
    parser.add_argument("--pixels", type=int, default=500, help="a side of an uploaded picture")
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="folder for what is built")
    parser.add_argument("--json", type=Path, help="write the report there")
    return parser.parse_args()


def enlarged(path: Path, images: int, output: Path, seed: int, noise: float) -> Path:
    """Index of a code file's images and of noisy copies of them."""
    rng = np.random.default_rng(seed)
    function = read_hash(path.with_name(path.name + ".hash.h5"))
    grown = output.with_name("grown.h5")
    with CodeSet(path) as codes:
        rows = codes.rows(0, len(codes))
        spread = noise * rows.features.astype(np.float32).std()
        with CodeWriter(grown, codes.bits, codes.dim, images) as writer:
            for start in range(0, images, len(rows)):
                count = min(len(rows), images - start)
                shift = rng.normal(0, spread, rows.features.shape) * bool(start)
                features = np.maximum(rows.features + shift, 0).astype(np.float16)
                copies = replace(
                    rows,
                    names=[f"{start}/{name}" if start else name for name in rows.names],
                    features=features,
                    codes=function.encode(features),
                    content=rng.integers(0, 256, (len(rows), 32), np.uint8),
                )
                writer.append(replace(copies, **{
                    name: getattr(copies, name)[:count]
                    for name in ("names", "labels", "features", "codes", "content")
                }))  # fmt: skip
            writer.finish(codes.manifest)
    with CodeSet(grown) as codes:
        return build_index(codes, output)


def measured(index: Path, work: Path, args: argparse.Namespace) -> Report:
    """Figures of the service over an index."""
    data = work / "data"
    settings = {**os.environ, "LATENTHASH_RATE": "0"}
    options = ["--index", index, "--data", data, "--port", args.port,
               "--workers", args.workers, "--engine", args.engine]  # fmt: skip
    serve = [sys.executable, str(ROOT / "tools/serve.py"), *map(str, options)]
    with subprocess.Popen(serve, env=settings, stdout=sys.stderr) as process:
        try:
            images = ready(args.port, process)
            return {"images": images, **loads(process, images, args)}
        finally:
            process.terminate()
            process.wait(60)
            shutil.rmtree(data, ignore_errors=True)


def ready(port: int, process: subprocess.Popen[bytes]) -> int:
    """Images of the service, once it answers."""
    while process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request("GET", "/readyz")
            return int(json.loads(connection.getresponse().read())["images"])
        except OSError:
            sleep(0.2)
        finally:
            connection.close()
    raise SystemExit("error: the service did not start; it says why above")


def loads(process: subprocess.Popen[bytes], images: int, args: argparse.Namespace) -> Report:
    """One load after the other; each worker has loaded its network before."""
    search, upload = partial(ask_search, images), partial(ask_upload, args.pixels)
    run(args.port, upload, 4 * args.workers, number=4)
    run(args.port, search, args.clients, seconds=min(2.0, args.seconds))
    before = memory(process.pid)
    report = {
        "search": run(args.port, search, args.clients, seconds=args.seconds),
        "upload": run(args.port, upload, args.upload_clients, number=args.uploads),
        "users": run(args.port, partial(ask_mixed, images), args.users, seconds=args.seconds),
    }
    report["memory"] = {"before_mb": before, "after_mb": memory(process.pid)}
    return report


def memory(parent: int) -> Report:
    """Megabytes of a process and its children: all, and those that are no pages of files."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    total = dict.fromkeys(("Pss", "Pss_Anon"), 0)
    for number in [str(parent), *children]:
        for line in Path(f"/proc/{number}/smaps_rollup").read_text().splitlines():
            name, *value = line.split()
            if name[:-1] in total:
                total[name[:-1]] += int(value[0])
    whole, own = (round(kilobytes * 1024 / 1e6, 1) for kilobytes in total.values())
    return {"all": whole, "without_files": own}


def run(
    port: int, ask: Ask, clients: int, seconds: float = np.inf, number: int | None = None
) -> Report:
    """Clients in processes of their own, so that they do not wait for one another.

    Args:
        port: of the service.
        ask: one request.
        clients: at once.
        seconds: that they go on, or
        number: of requests of each client.
    """
    groups = [clients // CORES + (part < clients % CORES) for part in range(CORES)]
    context = multiprocessing.get_context("fork")
    begin = perf_counter()
    with context.Pool(CORES) as pool:
        tasks = [(port, ask, group, seconds, number, seed) for seed, group in enumerate(groups)]
        parts = pool.starmap(clients_of, tasks)
    wall = perf_counter() - begin
    whole = Load([s for part in parts for s in part.seconds], [e for p in parts for e in p.errors])
    return whole.report(wall)


def clients_of(
    port: int, ask: Ask, clients: int, seconds: float, number: int | None, seed: int
) -> Load:
    """Some clients, in threads."""
    load, ends = Load(), monotonic() + seconds
    threads = [
        threading.Thread(target=client, args=(port, ask, ends, number, (seed, one), load))
        for one in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return load


def client(
    port: int, ask: Ask, ends: float, number: int | None, seed: Sequence[int], load: Load
) -> None:
    """One client: it asks again as soon as it was answered, on one connection."""
    rng = np.random.default_rng(seed)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    done = 0
    while monotonic() < ends and (number is None or done < number):
        begin = perf_counter()
        try:
            ask(connection, rng)
            load.seconds.append(perf_counter() - begin)
        except (OSError, http.client.HTTPException, ValueError) as error:
            load.errors.append(repr(error))
            connection.close()
        done += 1
    connection.close()


def answered(connection: http.client.HTTPConnection) -> bytes:
    """Body of a success."""
    response = connection.getresponse()
    body = response.read()
    if response.status != 200:
        raise ValueError(f"{response.status}: {body[:200]!r}")
    return body


def ask_search(
    images: int, connection: http.client.HTTPConnection, rng: np.random.Generator
) -> None:
    """The top 100 for any image of the library, near-copies folded as by default."""
    body = json.dumps({"id": int(rng.integers(images)), "top": 100})
    connection.request("POST", "/api/v1/search", body, {"Content-Type": "application/json"})
    answered(connection)


def ask_upload(side: int, connection: http.client.HTTPConnection, rng: np.random.Generator) -> None:
    """A picture of soft noise, uploaded and searched with."""
    coarse = rng.integers(0, 256, (8, 8, 3), np.uint8)
    file = BytesIO()
    Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).save(file, "JPEG")
    head = b'--edge\r\nContent-Disposition: form-data; name="file"; filename="x.jpg"\r\n\r\n'
    body = head + file.getvalue() + b"\r\n--edge--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=edge"}
    connection.request("POST", "/api/v1/search/upload", body, kind)
    answered(connection)


def ask_mixed(
    images: int, connection: http.client.HTTPConnection, rng: np.random.Generator
) -> None:
    """Mostly searches; a page of the gallery, or figures."""
    choice = int(rng.integers(_MIX))
    if choice > 1:
        ask_search(images, connection, rng)
        return
    page = f"/api/v1/images?page={rng.integers(1, 10)}&seed=1"
    connection.request("GET", "/api/v1/stats" if choice else page)
    answered(connection)


if __name__ == "__main__":
    main()
