"""How good codes are: a database ranked by code alone for every query, and measured."""

from .evaluation import Evaluation, evaluate
from .ranking import Labelled, Measured, measure
from .report import report

__all__ = ["Evaluation", "Labelled", "Measured", "evaluate", "measure", "report"]
