"""Everything that can be measured here, beside what was published: `make reproduce`."""

from .report import write_report
from .reproduction import Reproduction

__all__ = ["Reproduction", "write_report"]
