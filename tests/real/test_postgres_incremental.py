"""The reproducer of `make bench-postgres-incremental`, run as it stands."""

import postgres_incremental
import pytest

pytestmark = pytest.mark.long


def test_postgresql_brings_deleted_rows_back_and_we_do_not() -> None:
    """Should PostgreSQL be mended, this fails, and docs/incremental.md is to say since when."""
    found = postgres_incremental.run()
    assert found["stillhouse"] == found["should_be"] and found["should_be"]["deleted"] == 0
    assert found["pg_verifybackup"] == "backup successfully verified"
    assert found["pg_combinebackup"]["deleted"] > 0
