"""Named protocols: which images of a data set ask, which are ranked, what is reported.

A protocol says what its data look like. Other data are refused, unless the caller says
that they are others; the answer is then named so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import DataError
from .evaluation import Task
from .pool import Numbers, Pool
from .seen import seen_classes
from .splits import drawn, stratified

Counts = tuple[int, ...]
"""Images of each class, in ascending order."""

_CIFAR_TRAIN, _CIFAR_TEST = (5000,) * 10, (1000,) * 10
_MNIST_TRAIN = (5421, 5842, 5851, 5918, 5923, 5949, 5958, 6131, 6265, 6742)
_MNIST_TEST = (892, 958, 974, 980, 982, 1009, 1010, 1028, 1032, 1135)
_CALTECH = (8677, 101)  # images, classes, without BACKGROUND_Google
LIBRARY_QUERIES = 40


@dataclass(frozen=True)
class Choices:
    """What the user can choose of a protocol.

    Attributes:
        seed: of the split.
        seen: names of the classes that the network was trained on; None asks what its
            training left behind.
        query_share: share of each class that `folder` takes as queries.
        other_data: run on data that are not the protocol's own.
    """

    seed: int = 0
    seen: Sequence[str] | None = None
    query_share: float = 0.1
    other_data: bool = False


@dataclass(frozen=True)
class Plan:
    """What is to be measured.

    Attributes:
        tasks: name -> task; the first is the protocol's own.
        facts: what the report says of the choice of images.
    """

    tasks: dict[str, Task]
    facts: dict[str, object]


@dataclass(frozen=True)
class Protocol:
    """A way to evaluate that others can repeat.

    Attributes:
        name: as the user gives it.
        says: one line on what is asked and ranked.
        source: who uses it.
        measure: key of the figure to quote.
        files: code files that it takes: 1 or 2.
        plan: chooses the images.
        differs: in what the images are not the protocol's own; "" if they are.
        library_metric: distance of the hashed and the plain search, where they belong to
            the protocol; its queries are of the library.
    """

    name: str
    says: str
    source: str
    measure: str
    files: int
    plan: Callable[[Pool, Choices], Plan]
    differs: Callable[[Pool], str] = lambda pool: ""
    library_metric: str | None = None


def choose(protocol: Protocol, pool: Pool, choices: Choices) -> Plan:
    """The images that ask and those that are ranked.

    Raises:
        DataError: another number of files, other data than the protocol's without
            `other_data`, or nothing to ask or to rank.
    """
    if len(pool.sets) != protocol.files:
        wanted = "splits one code file; leave out --queries"
        if protocol.files == 2:
            wanted = "takes two code files; give --queries"
        raise DataError(f"protocol {protocol.name}", wanted)
    differs = protocol.differs(pool)
    if differs and not choices.other_data:
        raise DataError(
            f"{pool.paths}: not the data of protocol {protocol.name}: {differs}",
            "check the files, or give --other-data and have the answer named so",
        )
    plan = protocol.plan(pool, choices)
    for name, task in plan.tasks.items():
        if not len(task.queries) or not len(task.database):
            raise DataError(
                f"{pool.paths}: {len(task.queries)} queries and {len(task.database)} images to "
                f"rank ({name})",
                "give images of the classes that are asked for",
            )
    name = f"{protocol.name} (other data)" if differs else protocol.name
    return Plan(plan.tasks, {"name": name, "differs": differs, **plan.facts})


def _as_given(pool: Pool, choices: Choices) -> Plan:
    return Plan({"all": Task(pool.rows_of(1), pool.rows_of(0))}, {})


def _tenth_of_the_test_images(pool: Pool, choices: Choices) -> Plan:
    test = pool.rows_of(1)
    chosen, left = stratified(pool.labels[test], 0.1, choices.seed)
    database = np.concatenate([pool.rows_of(0), test[left]])
    return Plan({"all": Task(test[chosen], database)}, {})


def _unseen(pool: Pool, choices: Choices) -> Plan:
    seen, known_from = seen_classes(pool.sets[0].manifest["model"], choices.seen)
    wrong = sorted(set(seen) - set(pool.classes))
    if choices.seen is not None and wrong:
        raise DataError(
            f"--seen {', '.join(wrong)}: no such class", f"there are {', '.join(pool.classes)}"
        )
    unseen = [name for name in pool.classes if name not in seen]
    if not unseen:
        raise DataError(
            f"{pool.paths}: the network was trained on all classes",
            "train one on the list that tools/hold_out.py writes",
        )
    database, queries = pool.rows_of(0), pool.of_classes(pool.rows_of(1), unseen)
    return Plan(
        {
            "unseen": Task(queries, pool.of_classes(database, unseen)),
            "whole_database": Task(queries, database),
        },
        {"seen": sorted(seen), "unseen": sorted(unseen), "seen_known_from": known_from},
    )


def _library(pool: Pool, choices: Choices) -> Plan:
    rows = pool.rows_of(0)
    queries = drawn(len(rows), LIBRARY_QUERIES, choices.seed)
    return Plan({"in_library": Task(rows[queries], rows)}, {"queries_are_ranked_too": True})


def _own_split(pool: Pool, choices: Choices) -> Plan:
    chosen, left = stratified(pool.labels, choices.query_share, choices.seed)
    return Plan({"all": Task(chosen, left)}, {"query_share": choices.query_share})


def _differs_from(train: Counts, test: Counts) -> Callable[[Pool], str]:
    """Compares the images of each class, whatever the classes are called."""

    def differs(pool: Pool) -> str:
        problems = []
        for number, (what, wanted) in enumerate((("database", train), ("queries", test))):
            found = _counts(pool, pool.rows_of(number))
            if found != wanted:
                problems.append(f"{what}: {_told(found)} instead of {_told(wanted)}")
        return "; ".join(problems)

    return differs


def _counts(pool: Pool, rows: Numbers) -> Counts:
    return tuple(sorted(np.unique(pool.labels[rows], return_counts=True)[1].tolist()))


def _told(counts: Counts) -> str:
    low, high = counts[0], counts[-1]
    each = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    return f"{sum(counts):,} images ({len(counts)} classes of {each})"


def _differs_from_caltech(pool: Pool) -> str:
    found = len(pool), len(np.unique(pool.labels))
    if found == _CALTECH:
        return ""
    (images, classes), (wanted, in_classes) = found, _CALTECH
    return f"{images:,} images of {classes} classes instead of {wanted:,} of {in_classes}"


_CIFAR = _differs_from(_CIFAR_TRAIN, _CIFAR_TEST)
PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "cifar10",
            "10,000 test images ask the 50,000 training images",
            source="Lin et al., CVPR Workshops 2015",
            measure="map_at_1000",
            files=2,
            plan=_as_given,
            differs=_CIFAR,
        ),
        Protocol(
            "cifar10-1000",
            "100 test images of each class ask the other 59,000",
            source="Liu et al., CVPR 2012; Xia et al., AAAI 2014",
            measure="map_all",
            files=2,
            plan=_tenth_of_the_test_images,
            differs=_CIFAR,
        ),
        Protocol(
            "cifar10-unseen",
            "test images of classes that training never saw ask the training images",
            source="Sablayrolles et al., ICASSP 2017",
            measure="map_all",
            files=2,
            plan=_unseen,
            differs=_CIFAR,
        ),
        Protocol(
            "mnist",
            "10,000 test digits ask the 60,000 training digits",
            source="LeCun et al., Proceedings of the IEEE 1998 (the split)",
            measure="map_at_1000",
            files=2,
            plan=_as_given,
            differs=_differs_from(_MNIST_TRAIN, _MNIST_TEST),
        ),
        Protocol(
            "caltech101-40",
            "40 images of the library ask it, hashed and plain",
            source="the thesis, chapter 5",
            measure="precision_at_20",
            files=1,
            plan=_library,
            differs=_differs_from_caltech,
            library_metric="chi2",
        ),
        Protocol(
            "folder",
            "a share of each class of one code file asks the rest",
            source="-",
            measure="map_all",
            files=1,
            plan=_own_split,
        ),
    )
}
