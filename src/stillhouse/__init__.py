"""Consistent snapshots of PostgreSQL-family warehouse clusters, behind the DWS snapshot API."""

import os

__version__ = "0.1.0"

# NumPy's linear algebra is not used, and its threads, one for each processor in each process, would wait busily for it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
