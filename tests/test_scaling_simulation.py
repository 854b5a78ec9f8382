"""The simulated cluster against what can be known without simulating."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest

from scaling_simulation import (
    Cluster,
    Node,
    Replica,
    Shape,
    Simulation,
    local_bytes,
    measured_node,
    milvus_bytes,
    nodes_for,
    plan,
    simulate,
)

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
NODE = Node(fixed_ms=4, per_million_ms=0.1, p99_over_p50=2)
IDLE = 0.01  # queries a second: nobody ever waits


@pytest.mark.parametrize("shards", [1, 8, 40])
def test_the_slowest_of_many_shards_as_its_distribution_says(shards: int) -> None:
    cluster = Cluster(shards, 1, "random", IDLE, network_ms=0)
    run = Simulation(cluster, NODE, images=shards * 10e6, seed=3)
    times = [run.query(1e5 * turn) for turn in range(4000)]
    sigma = math.log(2) / NormalDist().inv_cdf(0.99)
    for share in (0.5, 0.95):
        alone = NormalDist().inv_cdf(share ** (1 / shards))  # all shards within it
        expected = 5 * math.exp(sigma * alone)
        assert np.quantile(times, share) == pytest.approx(expected, rel=0.04)


def test_a_node_works_on_as_many_queries_as_it_has_slots() -> None:
    node = Replica(2)
    assert [node.work(0, 10), node.work(0, 10), node.work(0, 10), node.work(25, 1)] == [
        10, 10, 20, 26,
    ]  # fmt: skip
    assert node.load(25) == 0
    assert Replica(1).load(0) == 0


def test_queries_wait_as_in_the_textbook() -> None:
    """One server, even service: the mean wait of M/D/1 is busy / (1 - busy) / 2 services."""
    even = Node(fixed_ms=10, per_million_ms=0, p99_over_p50=1, slots=1)
    run = Simulation(Cluster(1, 1, "random", 70, network_ms=0), even, 1, seed=0)
    arrivals = np.cumsum(np.random.default_rng(5).exponential(1e3 / 70, 40_000))
    waited = np.mean([run.query(float(now)) - 10 for now in arrivals])
    assert waited == pytest.approx(10 * 0.7 / 0.3 / 2, rel=0.08)


def test_without_a_replica_answers_lack_a_shard_until_it_is_loaded() -> None:
    found = simulate(Cluster(4, 1, "random", 50), NODE, 100e6, 20e9, 6000)
    assert found["before"]["without_a_shard"] == found["after"]["without_a_shard"] == 0
    assert found["unnoticed"]["without_a_shard"] == found["reloading"]["without_a_shard"] == 1
    assert found["reload_s"] == 20


@pytest.mark.parametrize(("policy", "delay"), [("random", 100), ("shortest", 100), ("hedged", 30)])
def test_with_replicas_a_dead_node_costs_its_timeout_until_it_is_noticed(
    policy: str, delay: float
) -> None:
    found = simulate(Cluster(4, 2, policy, 50), NODE, 100e6, 20e9, 6000)
    for span in ("before", "unnoticed", "reloading", "after"):
        assert found[span]["without_a_shard"] == 0
        assert found[span]["queries"] > 0
    assert found["unnoticed"]["p95_ms"] > delay
    assert found["before"]["p99_ms"] < found["unnoticed"]["p99_ms"] < delay + 40
    assert found["reloading"]["p99_ms"] < 60


def test_too_many_queries_are_told_by_how_busy_the_nodes_are() -> None:
    found = simulate(Cluster(1, 1, "random", 1000), NODE, 10e6, 1e9, 2000)
    assert found["busy"] > 2
    assert found["before"]["p50_ms"] > 10 * found["shard_median_ms"]


def test_sizes_are_those_of_the_formats() -> None:
    """The local index as docs/index_format.md has it, here by its own arrays."""
    shape = Shape(1000, bits=100, dim=10, value=2, name=20, distinct=0.5)
    sizes = local_bytes(shape)
    assert sizes["codes"] == 500 * (100 / 8 + 8)
    assert sizes["features"] == 1000 * 10 * 2
    assert milvus_bytes(shape)["features"] == 1000 * 10 * 4
    assert nodes_for({"codes": 79, "tables": 0, "features": 900}, 100, False) == 1
    assert nodes_for({"codes": 79, "tables": 0, "features": 900}, 100, True) == 13


def test_a_node_is_what_was_measured(tmp_path: Path) -> None:
    node = measured_node(BENCHMARKS / "results")
    assert 0.01 < node.per_million_ms < 1
    assert 1 < node.fixed_ms < 50
    assert node.p99_over_p50 > 1
    tables = plan(node, 256e9, seed=0, queries=200)
    assert tables.count("\n") > 14
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "scaling_simulation.py"), "--queries", "300"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["cluster"]["shards"] == 4
