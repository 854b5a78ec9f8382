#!/usr/bin/env python3
"""What else one could use: other hash functions on the same features, other searches."""

from __future__ import annotations

import _cli  # isort: skip  (first: it finds the project's interpreter)

import json
import sys
from contextlib import ExitStack
from pathlib import Path

from latenthash.baselines import SEARCHES, make_search
from latenthash.cache import Cache
from latenthash.codes import CodeSet
from latenthash.comparison import (
    BITS,
    OWN,
    HashResult,
    SearchResult,
    compare_hashes,
    compare_search,
    draw,
    hash_table,
    read_sets,
    read_training,
    report,
    search_table,
)
from latenthash.files import atomic_file
from latenthash.hashing import METHODS, SUPERVISED


def arguments() -> _cli.argparse.Namespace:
    """Parse the command line."""
    parser = _cli.parser(
        "Learn hash functions on the features of code files, rank the database by each, and "
        "measure as evaluate.py does; --search also times nearest-neighbour searches.",
        "python tools/compare.py --codes train.h5 --queries test.h5 --bits 12 48 --search",
    )
    functions = (OWN, *METHODS, *SUPERVISED)
    parser.add_argument("--codes", type=Path, required=True, help="code file of the database")
    parser.add_argument("--queries", type=Path, required=True, help="code file of the queries")
    parser.add_argument("--learn", type=Path, metavar="H5", help="learned from (default: --codes)")
    parser.add_argument(
        "--methods", nargs="*", choices=functions, metavar="NAME", default=functions,
        help=f"hash functions, of {', '.join(functions)}; {OWN}: the codes in the files",
    )  # fmt: skip
    parser.add_argument("--bits", nargs="+", type=int, default=BITS, help="widths of the codes")
    parser.add_argument("--k", type=int, default=1000, help="ranks that mAP looks at")
    parser.add_argument(
        "--search", nargs="*", choices=SEARCHES, metavar="NAME",
        help=f"compare searches too, all or some of {', '.join(SEARCHES)}",
    )  # fmt: skip
    parser.add_argument("--top", type=int, default=10, help="neighbours that --search asks for")
    parser.add_argument("--asked", type=int, default=1000, help="queries of --search, at most")
    parser.add_argument("--keep-known", action="store_true", help="also queries of the database")
    parser.add_argument("--seed", type=int, default=0, help="of everything random")
    parser.add_argument("--threads", type=int, help="of the ranking; default: the free cores")
    parser.add_argument(
        "--cache", type=Path, default=_cli.ROOT / "run/cache", help="what was measured is kept here"
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="everything as JSON")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="draw the curves into DIR")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    with ExitStack() as stack:
        files = {"database": args.codes, "queries": args.queries, "training": args.learn}
        opened = {name: stack.enter_context(CodeSet(path)) for name, path in files.items() if path}
        hashes, searches = functions(args, opened), neighbours(args, opened)
        found = report(hashes, searches, opened, args.seed, [Path(sys.argv[0]).name, *sys.argv[1:]])
    if hashes:
        print(hash_table(hashes, f"map_at_{args.k}"))
    if searches:
        print(search_table(searches))
    if args.json:
        with atomic_file(args.json) as partial:
            partial.write_text(json.dumps(found, indent=1) + "\n")
    if args.plots:
        draw(hashes, args.k, args.plots)


def functions(args: _cli.argparse.Namespace, files: dict[str, CodeSet]) -> list[HashResult]:
    """Hash functions side by side."""
    if not args.methods:
        return []
    database, queries = read_sets(files["database"], files["queries"], args.keep_known)
    training = database
    if "training" in files:
        training = read_training(files["training"], files["database"])
    with _cli.bar("hash functions", "function") as progress:
        return compare_hashes(
            training, database, queries, args.methods, args.bits, k=args.k, seed=args.seed,
            cache=Cache(args.cache), threads=args.threads, on_progress=progress,
        )  # fmt: skip


def neighbours(args: _cli.argparse.Namespace, files: dict[str, CodeSet]) -> list[SearchResult]:
    """Searches side by side."""
    if args.search is None:
        return []
    methods = [make_search(name, args.seed) for name in args.search or SEARCHES]
    with _cli.bar("searches", "search") as progress:
        return compare_search(
            files["database"], files["queries"], methods, args.top, most=args.asked,
            keep_known=args.keep_known, seed=args.seed, on_progress=progress,
        )  # fmt: skip


if __name__ == "__main__":
    _cli.run(main)
