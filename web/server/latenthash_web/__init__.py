"""The Django project: settings, addresses, entry points."""

import os

# OpenBLAS reads it when NumPy is loaded. Its threads wait for one another by spinning: with
# more than one a worker, they take the time of three quarters of all searches.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
