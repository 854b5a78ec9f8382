"""A run of the evaluator: settings in, report out, and the same again from the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..codes import CodeSet
from ..errors import DataError
from ..index import DEFAULT_CANDIDATES, SearchOptions, parse_address
from ..progress import Announce, quietly
from .coarse_to_fine import Fine, measure_fine, opened_index
from .evaluation import Evaluation, Task, evaluate_task
from .in_library import InLibrary, measure_in_library
from .pool import Pool
from .protocols import PROTOCOLS, Choices, Plan, Protocol, choose
from .report import fine_json, measures_json, report

_K = 1000
_AGAIN = "run the command that it names again"


@dataclass(frozen=True)
class Run:
    """What to evaluate and how; JSON holds it, so that a report can be replayed.

    Attributes:
        codes: code file of the database.
        queries: that of the queries; None where the protocol splits one file.
        protocol: a name in `PROTOCOLS`; None measures the two files as they are.
        k: ranks that `map_at_k` looks at; None: 1000. A protocol allows no other.
        keep_known: measure also queries whose very file is in the database; no protocol
            allows it.
        seed: of splits and intervals.
        seen, query_share, other_data: see `Choices`.
        rerank: metric of the fine ranking, measured beside the Hamming one; None: none.
        radius, candidates, exact: see `SearchOptions`; candidates 0 sets no limit.
        index: an index over the database; None builds one for the time of the run.
    """

    codes: str
    queries: str | None = None
    protocol: str | None = None
    k: int | None = None
    keep_known: bool = False
    seed: int = 0
    seen: list[str] | None = None
    query_share: float = Choices.query_share
    other_data: bool = False
    rerank: str | None = None
    radius: int | None = None
    candidates: int = DEFAULT_CANDIDATES
    exact: bool = False
    index: str | None = None

    @classmethod
    def of_report(cls, found: Mapping[str, Any]) -> Run:
        """The run that a report tells of.

        Raises:
            DataError: it tells of none.
        """
        told = found.get("run")
        if not isinstance(told, dict) or set(told) != {field.name for field in fields(cls)}:
            raise DataError("no report of this version: its `run` is missing or another", _AGAIN)
        return cls(**told)

    def require_sound(self) -> Protocol | None:
        """Its protocol.

        Raises:
            DataError: no such protocol, or settings that it does not allow.
        """
        if self.protocol is not None and self.protocol not in PROTOCOLS:
            known = ", ".join(PROTOCOLS)
            raise DataError(f"protocol {self.protocol!r}", f"choose one of {known}")
        protocol = PROTOCOLS[self.protocol] if self.protocol else None
        if protocol is None and self.queries is None:
            raise DataError("no queries", "give --queries, or a --protocol that splits one file")
        for option, problem in self._misplaced(protocol):
            raise DataError(f"{option}: {problem}", f"leave out {option}")
        return protocol

    def _misplaced(self, protocol: Protocol | None) -> Iterator[tuple[str, str]]:
        """Settings that would have no effect, or make the protocol another one."""
        if protocol is not None:
            if self.k not in (None, _K):
                yield "--k", f"protocol {protocol.name} has its own"
            if self.keep_known:
                yield "--keep-known", f"protocol {protocol.name} leaves known queries out"
        for option, changed, user in (
            ("--seen", self.seen is not None, "cifar10-unseen"),
            ("--query-share", self.query_share != Choices.query_share, "folder"),
        ):
            if changed and self.protocol != user:
                yield option, f"is for protocol {user}"
        searched = self.rerank is not None or bool(protocol and protocol.library_metric)
        for option, changed, used in (
            ("--radius", self.radius is not None, searched),
            ("--candidates", self.candidates != DEFAULT_CANDIDATES, searched),
            ("--index", self.index is not None, searched),
            ("--exact", self.exact, self.rerank is not None),
        ):
            if changed and not used:
                yield option, "has no effect without --rerank"

    @property
    def search(self) -> SearchOptions:
        """Options of the fine ranking, if there is one.

        Raises:
            DataError: no such metric, or limits that make no sense.
        """
        return SearchOptions(
            metric=self.rerank or SearchOptions.metric,
            radius=self.radius,
            candidates=self.candidates or None,
            exact=self.exact,
        )


@dataclass(frozen=True)
class Outcome:
    """What a run found.

    Attributes:
        report: all of it, for JSON.
        evaluation: of the codes, over the protocol's first task.
        variants: of its further tasks.
        fine: of the fine ranking over the first task, if wanted.
        in_library: of the protocol that has it.
    """

    report: dict[str, Any]
    evaluation: Evaluation
    variants: dict[str, Evaluation]
    fine: Fine | None
    in_library: InLibrary | None


def execute(
    run: Run,
    command: Sequence[str] = (),
    announce: Announce = quietly,
    threads: int | None = None,
) -> Outcome:
    """Evaluate as `run` says.

    Args:
        run: files and settings.
        command: what the user ran, to be shown.
        announce: called with each stage's name; gives a context with its progress.
        threads: at most, of the Hamming ranking; None: see `threads.thread_count`.

    Raises:
        DataError: files or settings that do not fit the protocol.
        MismatchError: codes, queries or index of different networks.
        StorageError: no room for a temporary index.
    """
    protocol, options = run.require_sound(), run.search  # refused now, not after an hour
    with _opened(run) as pool:
        plan = _plan(run, protocol, pool)
        work = _Work(run, protocol, pool, options, announce, threads)
        outcomes = {name: work.measure(name, task) for name, task in plan.tasks.items()}
        found = outcomes.pop(next(iter(plan.tasks)))
        queries = pool.sets[1] if len(pool.sets) > 1 else None
        told = report(found.evaluation, pool.sets[0], queries, command)
        told |= found.report
        if protocol:
            facts = {"says": protocol.says, "source": protocol.source, "measure": protocol.measure}
            told["protocol"] = {**plan.facts, **facts}
        if outcomes:
            told["variants"] = {
                name: {**measures_json(of.evaluation), **of.report} for name, of in outcomes.items()
            }
        told["run"] = asdict(run)
    variants = {name: of.evaluation for name, of in outcomes.items()}
    return replace(found, report=told, variants=variants)


@contextmanager
def _opened(run: Run) -> Iterator[Pool]:
    with ExitStack() as stack:
        files = [run.codes] if run.queries is None else [run.codes, run.queries]
        yield Pool(*(stack.enter_context(CodeSet(Path(file))) for file in files))


def _plan(run: Run, protocol: Protocol | None, pool: Pool) -> Plan:
    if protocol is None:
        return Plan({"all": Task(pool.rows_of(1), pool.rows_of(0))}, {})
    return choose(protocol, pool, Choices(run.seed, run.seen, run.query_share, run.other_data))


@dataclass(frozen=True)
class _Work:
    """Measures tasks of one run."""

    run: Run
    protocol: Protocol | None
    pool: Pool
    options: SearchOptions
    announce: Announce
    threads: int | None

    @property
    def _library_metric(self) -> str | None:
        return self.protocol.library_metric if self.protocol else None

    def measure(self, name: str, task: Task) -> Outcome:
        """One task: by code alone, and by feature where wanted; the report of the latter."""
        run = self.run
        in_library = self._library_metric is not None
        with self.announce(f"{name}: ranking") as progress:
            coarse = evaluate_task(
                self.pool, task, _K if run.k is None else run.k, progress,
                keep_known=run.keep_known or in_library, seed=run.seed, threads=self.threads,
            )  # fmt: skip
        if run.rerank is None and not in_library:
            return Outcome({}, coarse, {}, None, None)
        return self._measure_fine(name, task, coarse)

    def _measure_fine(self, name: str, task: Task, coarse: Evaluation) -> Outcome:
        run, pool, fine, library = self.run, self.pool, None, None
        told: dict[str, Any] = {}
        with ExitStack() as stack:
            with self.announce(f"{name}: indexing") as progress:
                address = parse_address(run.index) if run.index else None
                index = stack.enter_context(opened_index(pool, task.database, address, progress))
            if run.rerank is not None:
                with self.announce(f"{name}: reranking") as progress:
                    fine = measure_fine(pool, coarse, index, self.options, progress)
                told["rerank"] = fine_json(fine)
            if self._library_metric is not None:
                options = replace(self.options, metric=run.rerank or self._library_metric)
                with self.announce(f"{name}: hashed and plain") as progress:
                    library = measure_in_library(pool, task, index, options, progress)
                told["in_library"] = library.to_json(pool)
        return Outcome(told, coarse, {}, fine, library)
