"""What a cluster needs for many images, and how long its queries take.

Sizes are formulas. Times are simulated, event by event: a query goes to every shard and
is answered when the last one is. Each shard has replicas on other nodes; a node works on so
many queries at once and the others wait. A node's own time comes from two figures that were
measured on one machine: milliseconds a query, and its 99th percentile. One node fails in
the middle: until that is noticed, what was sent to it is sent again after a timeout; then
the other replicas carry its load, until it has loaded its shards again.

    python benchmarks/scaling_simulation.py --images 100e6 --shards 4 --replicas 2
    python benchmarks/scaling_simulation.py --plan              # the tables of docs/scaling.md
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

Report = dict[str, Any]
POLICIES = ("random", "shortest", "hedged")
_PLANNED = 6000  # queries of each row of a plan: five minutes of them
_Z99 = 2.3263  # standard deviations below which 99 % of a normal distribution lie
_LOCAL_ROW = {"positions, rows": 8, "id": 8, "label": 4, "content": 32, "orders": 8, "offset": 8}
_MILVUS_ROW = {"id, twice": 16, "bucket": 8, "label": 8, "text": 2 * 40, "content": 64}


@dataclass(frozen=True)
class Shape:
    """Images and how they are described.

    Attributes:
        images: how many.
        bits: of a code.
        dim: values of a feature.
        value: bytes of each.
        name: bytes of a name on average.
        distinct: share of the codes that are distinct; the local index keeps each once.
    """

    images: float = 100e6
    bits: int = 128
    dim: int = 4096
    value: int = 1
    name: int = 40
    distinct: float = 0.25


def local_bytes(shape: Shape) -> dict[str, float]:
    """Bytes of the local index: codes and tables that must be in memory, features that may.

    As docs/index_format.md lists them.
    """
    codes = shape.images * shape.distinct * (shape.bits / 8 + 8)
    tables = shape.images * (sum(_LOCAL_ROW.values()) + shape.name)
    return {
        "codes": codes,
        "tables": tables,
        "features": shape.images * shape.dim * shape.value,
    }


def milvus_bytes(shape: Shape) -> dict[str, float]:
    """Bytes in the memory of Milvus, features as float32; a text has about 40 bytes besides."""
    return {
        "codes": shape.images * shape.bits / 8,
        "tables": shape.images * (sum(_MILVUS_ROW.values()) + shape.name),
        "features": shape.images * shape.dim * 4,
    }


def nodes_for(sizes: dict[str, float], memory: float, features_in_memory: bool) -> int:
    """Nodes that hold one copy, a fifth of the memory left free."""
    needed = sizes["codes"] + sizes["tables"] + sizes["features"] * features_in_memory
    return max(1, math.ceil(needed / (0.8 * memory)))


@dataclass(frozen=True)
class Node:
    """What a node does with a query, measured on one.

    Attributes:
        fixed_ms: whatever it holds.
        per_million_ms: more for each million images that its shard has.
        p99_over_p50: how uneven it is.
        slots: queries that it works on at once.
        gb_s: that it loads its shard with.
    """

    fixed_ms: float
    per_million_ms: float
    p99_over_p50: float
    slots: int = 2
    gb_s: float = 1.0

    def median_ms(self, images: float) -> float:
        """Time of a query over a shard with so many images."""
        return self.fixed_ms + self.per_million_ms * images / 1e6


@dataclass(frozen=True)
class Cluster:
    """Shards, their replicas, and the traffic.

    Attributes:
        shards: parts that the images lie in.
        replicas: copies of each; replica r of all shards lies on nodes of its own.
        policy: random: any replica; shortest: of two the one with less to do; hedged: any,
            and another one if it takes longer than `hedge_ms`.
        rate: queries a second.
        network_ms: there and back, with merging.
        timeout_ms: after which a node that does not answer is given up, once.
        notice_s: after its failure nobody asks a dead node any more.
        hedge_ms: see policy.
    """

    shards: int = 4
    replicas: int = 2
    policy: str = "shortest"
    rate: float = 20.0
    network_ms: float = 1.0
    timeout_ms: float = 100.0
    notice_s: float = 10.0
    hedge_ms: float = 30.0


class Replica:
    """One node with one shard: its slots as the times at which they are free."""

    def __init__(self, slots: int) -> None:
        """All free."""
        self._free = [0.0] * slots

    def load(self, now: float) -> float:
        """Milliseconds until a slot is free."""
        return max(0.0, self._free[0] - now)

    def work(self, now: float, takes: float) -> float:
        """Take a query; when it is answered."""
        begin = max(now, self._free[0])
        heapq.heapreplace(self._free, begin + takes)
        return begin + takes


@dataclass
class Failure:
    """A node that is dead from `start` to `end` and known to be from `noticed`, in ms."""

    start: float = math.inf
    noticed: float = math.inf
    end: float = math.inf

    def dead(self, now: float) -> bool:
        """Whether it answers nothing."""
        return self.start <= now < self.end

    def known(self, now: float) -> bool:
        """Whether nobody asks it."""
        return self.noticed <= now < self.end


class Simulation:
    """One run. The node that fails holds replica 0 of shard 0."""

    def __init__(self, cluster: Cluster, node: Node, images: float, seed: int) -> None:
        """Nothing asked yet."""
        self.cluster, self.node = cluster, node
        self._rng = np.random.default_rng(seed)
        self._median = node.median_ms(images / cluster.shards)
        self._sigma = math.log(node.p99_over_p50) / _Z99
        self._replicas = [
            [Replica(node.slots) for _ in range(cluster.replicas)] for _ in range(cluster.shards)
        ]
        self.failure = Failure()

    def takes(self) -> float:
        """Milliseconds of one node for one query: log-normal around the median."""
        return float(self._median * math.exp(self._sigma * self._rng.standard_normal()))

    def query(self, now: float) -> float:
        """Milliseconds until all shards have answered; infinite if one cannot."""
        ends = [self._shard(number, now) for number in range(self.cluster.shards)]
        return max(ends) - now + self.cluster.network_ms

    def _shard(self, number: int, now: float) -> float:
        live = [at for at in range(self.cluster.replicas) if not self._known(number, at, now)]
        if not live:
            return math.inf
        chosen = self._choose(number, live, now)
        if self._dead(number, chosen, now):
            others = [at for at in live if at != chosen]
            if not others:
                return math.inf
            hedged = self.cluster.policy == "hedged"
            later = now + (self.cluster.hedge_ms if hedged else self.cluster.timeout_ms)
            return self._ask(number, self._choose(number, others, later), later)
        end = self._ask(number, chosen, now)
        late = now + self.cluster.hedge_ms
        if self.cluster.policy == "hedged" and end > late:
            others = [at for at in live if at != chosen and not self._dead(number, at, now)]
            if others:
                end = min(end, self._ask(number, self._choose(number, others, late), late))
        return end

    def _choose(self, number: int, live: Sequence[int], now: float) -> int:
        if self.cluster.policy != "shortest" or len(live) == 1:
            return live[int(self._rng.integers(len(live)))]
        two = self._rng.choice(len(live), 2, replace=False)
        return min((live[at] for at in two), key=lambda at: self._replicas[number][at].load(now))

    def _ask(self, number: int, at: int, now: float) -> float:
        return self._replicas[number][at].work(now, self.takes())

    def _dead(self, number: int, at: int, now: float) -> bool:
        return (number, at) == (0, 0) and self.failure.dead(now)

    def _known(self, number: int, at: int, now: float) -> bool:
        return (number, at) == (0, 0) and self.failure.known(now)


def simulate(
    cluster: Cluster,
    node: Node,
    images: float,
    shard_bytes: float,
    queries: int = 20_000,
    seed: int = 0,
) -> Report:
    """Run the cluster; a node fails in the middle of the queries.

    Returns:
        Latencies before the failure, until it is noticed, until the node is back, and after;
        share of answers that lacked a shard.
    """
    rng = np.random.default_rng(seed + 1)
    arrivals = np.cumsum(rng.exponential(1e3 / cluster.rate, queries))
    run = Simulation(cluster, node, images, seed)
    start = float(arrivals[len(arrivals) // 3])
    noticed = start + 1e3 * cluster.notice_s
    run.failure = Failure(start, noticed, noticed + 1e3 * shard_bytes / (node.gb_s * 1e9))
    latencies = np.array([run.query(float(now)) for now in arrivals])
    edges = {"before": 0.0, "unnoticed": start, "reloading": noticed, "after": run.failure.end}
    stops = [*list(edges.values())[1:], math.inf]
    report: Report = {
        name: _quantiles(latencies[(arrivals >= begin) & (arrivals < stop)])
        for (name, begin), stop in zip(edges.items(), stops, strict=True)
    }
    return report | {
        "shard_median_ms": round(node.median_ms(images / cluster.shards), 2),
        "reload_s": round((run.failure.end - noticed) / 1e3, 1),
        "busy": round(_busy(cluster, node, images), 3),
    }


def _busy(cluster: Cluster, node: Node, images: float) -> float:
    """Share of its slots that a node uses: above 1 no queue ends."""
    sigma = math.log(node.p99_over_p50) / _Z99
    mean = node.median_ms(images / cluster.shards) * math.exp(sigma**2 / 2)
    return cluster.rate / cluster.replicas * mean / 1e3 / node.slots


def _quantiles(latencies: Any) -> Report:
    """Of those that got a whole answer; and the share that did not."""
    whole = latencies[np.isfinite(latencies)]
    names = ("p50_ms", "p95_ms", "p99_ms")
    values = np.percentile(whole, (50, 95, 99)) if len(whole) else [None] * 3
    shown = [None if value is None else round(float(value), 1) for value in values]
    lacking = 1 - len(whole) / len(latencies) if len(latencies) else 0.0
    return {
        "queries": len(latencies),
        **dict(zip(names, shown, strict=True)),
        "without_a_shard": round(lacking, 4),
    }


def measured_node(results: Path) -> Node:
    """A node as this project's own measurements have it: the local index on two cores.

    The coarse step's time over the number of codes is a line through 10 and 100 million
    (`scaling.json`); the fine step's is that of 10,000 candidates, 4,096-d int8, in memory
    (`search.json`), whatever the number of images.
    """
    growth = json.loads((results / "scaling.json").read_text())
    coarse = {
        step["codes"]: step["methods"]["LatentHash"]["nearest"]["p50_ms"]
        for step in growth["steps"]
    }
    least, most = 10_000_000, 100_000_000
    slope = (coarse[most] - coarse[least]) / ((most - least) / 1e6)
    whole = json.loads((results / "search.json").read_text())["ours"]
    fine = whole["p50_ms"] - whole["coarse_p50_ms"]
    fixed = max(0.0, coarse[least] - slope * least / 1e6) + fine
    return Node(round(fixed, 3), round(slope, 4), round(whole["p99_ms"] / whole["p50_ms"], 2))


def plan(node: Node, memory: float, seed: int, queries: int = _PLANNED) -> str:
    """Tables for 100 million and a billion images, as Markdown."""
    lines = [
        "| images | engine | codes | tables | features | nodes, features on disk | nodes, "
        "all in memory |",
        "|---|---|---|---|---|---|---|",
    ]
    for images in (100e6, 1e9):
        shape = Shape(images)
        for name, sizes in (("local", local_bytes(shape)), ("Milvus", milvus_bytes(shape))):
            shown = " | ".join(f"{size / 1e9:,.0f} GB" for size in sizes.values())
            few, many = (nodes_for(sizes, memory, inside) for inside in (False, True))
            lines.append(f"| {images / 1e6:,.0f} M | {name} | {shown} | {few} | {many} |")
    lines += [
        "",
        "| images | shards | replicas | choice | a shard | before: p50, p99 | unnoticed: p50, p99 "
        "| reloading: p50, p99 | lacking a shard | reload |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for images, shards in ((100e6, 4), (1e9, 40)):
        for replicas, policy in (
            (1, "random"),
            (2, "random"),
            (2, "shortest"),
            (2, "hedged"),
            (3, "shortest"),
        ):
            lines.append(_row(images, Cluster(shards, replicas, policy), node, seed, queries))
    return "\n".join(lines)


def _row(images: float, cluster: Cluster, node: Node, seed: int, queries: int) -> str:
    sizes = local_bytes(Shape(images))
    found = simulate(cluster, node, images, sum(sizes.values()) / cluster.shards, queries, seed)
    spans = [found[name] for name in ("before", "unnoticed", "reloading")]
    times = " | ".join(f"{_shown(span['p50_ms'])}, {_shown(span['p99_ms'])}" for span in spans)
    lacking = max(span["without_a_shard"] for span in spans)
    return (
        f"| {images / 1e6:,.0f} M | {cluster.shards} | {cluster.replicas} | {cluster.policy} "
        f"| {found['shard_median_ms']} ms | {times} | {lacking:.0%} | {found['reload_s']:.0f} s |"
    )


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:g} ms"


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--images", type=float, default=100e6)
    for name, default in (("shards", 4), ("replicas", 2)):
        add(f"--{name}", type=int, default=default)
    add("--policy", choices=POLICIES, default="shortest")
    add("--rate", type=float, default=Cluster.rate, help="queries a second")
    add("--fixed-ms", type=float, help="of a node, for a query; default: measured")
    add("--per-million-ms", type=float, help="of a node, for a million images")
    add("--p99-over-p50", type=float, help="of a node")
    add("--memory", type=float, default=256e9, help="bytes of a node")
    add("--queries", type=int, default=20_000)
    add("--seed", type=int, default=0)
    add("--plan", action="store_true", help="tables for 100 million and a billion images")
    return parser.parse_args()


def main() -> None:
    """Print one run as JSON, or the tables."""
    args = arguments()
    node = measured_node(Path(__file__).resolve().parent / "results")
    names = ("fixed_ms", "per_million_ms", "p99_over_p50")
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    node = replace(node, **given)
    if args.plan:
        print(plan(node, args.memory, args.seed))
        return
    cluster = Cluster(args.shards, args.replicas, args.policy, args.rate)
    sizes = local_bytes(Shape(args.images))
    shard_bytes = sum(sizes.values()) / cluster.shards
    found = simulate(cluster, node, args.images, shard_bytes, args.queries, args.seed)
    json.dump({"cluster": asdict(cluster), "node": asdict(node), **found}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
