"""PostgreSQL 15, the second version under test: Debian's package; where it is missing its tests say so."""

import os
from pathlib import Path

import pytest

PG_BIN = Path("/usr/lib/postgresql/15/bin")
_MISSING = "PostgreSQL 15 is not installed: apt-get install postgresql-15"

if os.environ.get("CI") == "true" and not PG_BIN.exists():
    raise RuntimeError(_MISSING)

needs_fifteen = pytest.mark.skipif(not PG_BIN.exists(), reason=_MISSING)
