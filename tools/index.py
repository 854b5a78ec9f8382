#!/usr/bin/env python3
"""Look after an index: add, remove, compact, verify, stats, duplicates, info."""

from __future__ import annotations

import _cli  # isort: skip  (first: it finds the project's interpreter)

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from _index_text import contents, left_out, listing, measures
from latenthash.codes import CodeSet
from latenthash.errors import DataError, StorageError
from latenthash.index import Address, open_index, open_writer
from latenthash.index.advice import warnings
from latenthash.index.bucket.generation import Generation, open_generation
from latenthash.index.checkup import Copy, index_duplicates, index_health, named
from latenthash.index.duplicates import MAX_DISTANCE, RADIUS

DAMAGED = 1


def main() -> int:
    args = arguments()
    code: int = args.run(args)
    return code


def arguments() -> _cli.argparse.Namespace:
    parser = _cli.parser(
        "Look after an index. Readers keep what they have opened while it changes.\n"
        "stats and duplicates read folders only.",
        "python tools/index.py stats run/index --plot health.png\n\n"
        "exit codes: 0 fine, 1 verify found damage, 2 a mistake of the user",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    part = command(commands, "add", add, "add the images of a code file")
    part.add_argument("codes", type=Path, help="output of extract.py, of the same network")
    part = command(commands, "remove", remove, "remove images; compact frees their room")
    part.add_argument("names", nargs="*", metavar="NAME", help="as search.py shows it")
    part.add_argument("--ids", type=int, nargs="+", default=[], metavar="ID", help="by id")
    part.add_argument("--from", dest="file", metavar="FILE", help="a name per line; - is stdin")
    command(commands, "compact", compact, "merge all segments; leave removed images out")
    command(commands, "verify", check, "compare every file with its checksum")
    command(commands, "info", info, "what the index holds")
    part = command(commands, "stats", stats, "what the codes are worth; warns of bad ones")
    part.add_argument("--plot", type=Path, metavar="PNG", help="draw it")
    part.add_argument("--queries", type=int, default=200, help="images to sample as queries")
    part = command(commands, "duplicates", duplicates, "group near-copies")
    part.add_argument("--radius", type=int, default=RADIUS, help="bits that may differ")
    part.add_argument(
        "--max-distance",
        type=float,
        default=MAX_DISTANCE,
        metavar="D",
        help="largest cosine distance between the features",
    )
    part.add_argument("--show", type=int, default=20, metavar="N", help="groups to print")
    part.add_argument("--save", type=Path, metavar="PNG", help="draw the ten largest groups")
    return parser.parse_args()


def command(commands: Any, name: str, run: Any, text: str) -> _cli.argparse.ArgumentParser:
    part: _cli.argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text,
        formatter_class=_cli.argparse.ArgumentDefaultsHelpFormatter,
    )
    part.set_defaults(run=run)
    part.add_argument(
        "index",
        type=_cli.address,
        metavar="INDEX",
        help="index folder, or milvus://host:port/collection",
    )
    _cli.add_json(part)
    return part


def report(args: _cli.argparse.Namespace, facts: dict[str, Any], text: str) -> int:
    """Print as JSON or for people."""
    if args.json:
        _cli.report_json({"index": str(args.index), **facts})
    else:
        print(text)
    return 0


def add(args: _cli.argparse.Namespace) -> int:
    with (
        CodeSet(args.codes) as codes,
        open_writer(args.index) as writer,
        _cli.bar("adding") as progress,
    ):
        done = writer.add(codes, progress)
    facts = {
        "added": done.added,
        "duplicates": [{"name": name, "equals": other} for name, other in done.duplicates],
        "generation": done.generation,
    }
    text = f"{args.index}: {done.added:,} images added, generation {done.generation}"
    return report(args, facts, "\n".join([text, *left_out(done.duplicates)]))


def remove(args: _cli.argparse.Namespace) -> int:
    names = [*args.names, *(lines_of(args.file) if args.file else [])]
    if not names and not args.ids:
        raise DataError("nothing to remove", "give names, --ids or --from FILE")
    with open_writer(args.index) as writer:
        removed = writer.remove({*args.ids, *writer.ids_of(names)})
        facts = {"removed": removed, **totals(writer.manifest)}
    text = f"{args.index}: {removed:,} images removed, {facts['images']:,} left"
    return report(args, facts, text)


def lines_of(file: str) -> list[str]:
    if file == "-":
        return sys.stdin.read().splitlines()
    try:
        return Path(file).read_text().splitlines()
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}", "give a file with a name per line") from error


def totals(manifest: dict[str, Any]) -> dict[str, Any]:
    return {key: manifest[key] for key in ("images", "generation")}


def size_of(address: Address) -> int | None:
    """Bytes of a folder; only its server knows what another index takes."""
    if not isinstance(address, Path):
        return None
    return sum(path.stat().st_size for path in address.rglob("*") if path.is_file())


def compact(args: _cli.argparse.Namespace) -> int:
    with open_writer(args.index) as writer, _cli.bar("compacting") as progress:
        before = size_of(args.index)
        writer.compact(progress)
        facts = totals(writer.manifest)
    after = size_of(args.index)
    freed = None if before is None or after is None else max(0, before - after)
    text = f"{args.index}: {facts['images']:,} images"
    if freed is not None:
        text += f" in one segment, {freed / 1e6:.1f} MB freed"
    return report(args, {**facts, "bytes_freed": freed}, text)


def check(args: _cli.argparse.Namespace) -> int:
    try:
        unit = "MB" if isinstance(args.index, Path) else "image"
        with _cli.bar("verifying", unit) as progress, open_index(args.index) as index:
            index.verify(progress)
    except StorageError as error:
        if args.json:
            facts = {"ok": False, "problem": error.problem, "remedy": error.remedy}
            report(args, facts, "")
        else:
            print(f"damaged: {error}", file=sys.stderr)
        return DAMAGED
    return report(args, {"ok": True}, f"{args.index}: whole")


def info(args: _cli.argparse.Namespace) -> int:
    with open_index(args.index) as index:
        facts, images = index.manifest, len(index)
    segments = facts.get("segments", [])
    shown = {
        "generation": facts["generation"],
        "images": images,
        "removed": sum(entry["images"] for entry in segments) - images if segments else 0,
        "segments": [
            {key: entry[key] for key in ("name", "images", "buckets")} for entry in segments
        ],
        **{key: facts[key] for key in ("bits", "dim", "storage", "feature_loss", "classes")},
        "root": facts["root"],
        "net": facts["model"].get("net"),
        "bytes": size_of(args.index),
    }
    text = contents(args.index, shown)
    return report(args, shown, text)


def opened_folder(address: Address) -> Generation:
    """An index whose codes lie in files of this machine."""
    if not isinstance(address, Path):
        remedy = "give a folder: one built of the same code file has the same codes"
        raise DataError(f"{address}: its codes are not files here", remedy)
    return open_generation(address)


def stats(args: _cli.argparse.Namespace) -> int:
    generation = opened_folder(args.index)
    with _cli.bar("measuring", "query") as progress:
        health = index_health(generation, args.queries, on_progress=progress)
    told = warnings(health)
    if args.plot:
        from latenthash.plots import health_picture

        health_picture(health, args.plot)
    return report(args, {**health.to_json(), "warnings": told}, measures(health, told))


def duplicates(args: _cli.argparse.Namespace) -> int:
    if args.radius < 0 or not 0 <= args.max_distance <= 2:
        raise DataError("radius or max-distance", "give 0 bits or more and a distance of 0 to 2")
    generation = opened_folder(args.index)
    with _cli.bar("comparing", "step") as progress:
        found = index_duplicates(generation, args.radius, args.max_distance, progress)
    groups = [named(generation, group) for group in found.groups]
    if args.save:
        save(groups[:10], generation.manifest["root"], args.save)
    facts = {
        "radius": args.radius,
        "max_distance": args.max_distance,
        "groups": [[asdict(copy) for copy in group] for group in groups],
        "cut_buckets": found.cut,
    }
    return report(args, facts, listing(args.index, groups, args.show, found.cut))


def save(groups: list[list[Copy]], root: str | None, path: Path) -> None:
    """Draw groups as rows: the first of each, then its near-copies."""
    from latenthash.sheets import Cell, Row, contact_sheet

    def cell(copy: Copy) -> Cell:
        return Cell(Path(root) / copy.name if root else None, f"{copy.distance:.4f}\n{copy.name}")

    if not groups:
        raise DataError("no near-copies to draw", "give a larger --max-distance or --radius")
    rows = [Row(cell(group[0]), [cell(copy) for copy in group[1:10]]) for group in groups]
    contact_sheet(rows, path)


if __name__ == "__main__":
    _cli.run(main)
