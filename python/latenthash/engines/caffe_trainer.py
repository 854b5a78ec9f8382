"""The child process in which Caffe's solver trains; see `caffe.py` for the parent's side.

    python caffe_trainer.py PYCAFFE_FOLDER PARENT_ID SOLVER WEIGHTS STATE

WEIGHTS and STATE may be empty; LATENTHASH_GPU may name a GPU by its number. The solver is
Caffe's own; this script does what the `caffe train` tool does, because that tool ignores
-weights in some of Caffe's forks.
SIGINT, or the end of the parent, makes it write a snapshot before the next iteration
and end with code STOPPED. The log goes to stderr.
"""

from __future__ import annotations

import os
import signal
import sys

STOPPED = 3


class _Stop(Exception):  # noqa: N818  (no error)
    """Leaves the solver from within its callback."""


def main(pycaffe: str, parent: int, solver_file: str, weights: str, state: str) -> int:
    """Train to the end, or until told to stop."""
    asked = []
    signal.signal(signal.SIGINT, lambda *_: asked.append(True))
    sys.path[0] = pycaffe  # instead of this script's own folder
    import _caffe

    if gpu := os.environ.get("LATENTHASH_GPU"):
        _caffe.set_device(int(gpu))
        _caffe.set_mode_gpu()
    else:
        _caffe.set_mode_cpu()
    solver = _caffe.get_solver(solver_file)
    if weights:
        solver.net.copy_from(weights)
    if state:
        solver.restore(state)

    def before_iteration() -> None:
        if asked or os.getppid() != parent:
            solver.snapshot()
            raise _Stop

    solver.add_callback(before_iteration, lambda: None)
    try:
        solver.solve()
    except _Stop:
        return STOPPED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:]))
