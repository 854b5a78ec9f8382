"""How good codes are: a database ranked for every query, by code and by feature, and measured."""

from .evaluation import Evaluation, Task, evaluate, evaluate_task
from .pool import Pool
from .protocols import PROTOCOLS, Choices, Protocol, choose
from .ranking import Labelled, Measured, measure
from .replay import differences, read_report, run_again
from .report import report
from .run import Outcome, Run, execute
from .splits import hold_out, write_seen_list

__all__ = [
    "PROTOCOLS",
    "Choices",
    "Evaluation",
    "Labelled",
    "Measured",
    "Outcome",
    "Pool",
    "Protocol",
    "Run",
    "Task",
    "choose",
    "differences",
    "evaluate",
    "evaluate_task",
    "execute",
    "hold_out",
    "measure",
    "read_report",
    "report",
    "run_again",
    "write_seen_list",
]
