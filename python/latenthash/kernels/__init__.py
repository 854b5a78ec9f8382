"""The inner loops of search, and of training (blobs), compiled, at the speed of the memory.

Written in C (native.c) for the processor at hand: AVX-512, AVX2 or plain; chosen when
loaded. Without the compiled library, NumPy does the same work slowly (numpy_kernels),
PyTorch that of training.
A value depends on its own inputs only, never on the number of threads.
"""

from .codes import rings_batch, scan, scan_rings, within
from .features import fine, rows_of, top
from .nearest import Near, Sample, nearest, sample_of
from .rank import rank
from .select import select_batch, select_rings

__all__ = [
    "Near",
    "Sample",
    "fine",
    "nearest",
    "rank",
    "rings_batch",
    "rows_of",
    "sample_of",
    "scan",
    "scan_rings",
    "select_batch",
    "select_rings",
    "top",
    "within",
]
