"""A server that no attempt can capture is refused by name, and the message says what to do."""

from dataclasses import replace
from typing import Any

import pytest

from stillhouse.postgres.host.capture_checks import Look, why_unfit

FIT = Look(
    18,
    False,
    1800,
    {
        "wal_block_size": "8192",
        "wal_level": "replica",
        "max_replication_slots": "10",
        "max_slot_wal_keep_size": "-1",
        "wal_segment_size": "16777216",
    },
)


def test_10_what_we_make_ourselves_is_fit() -> None:
    assert why_unfit(FIT) is None
    assert why_unfit(replace(FIT, major=15, control_version=1300)) is None
    assert why_unfit(replace(FIT, settings={**FIT.settings, "max_slot_wal_keep_size": "16"})) is None


@pytest.mark.parametrize(
    ("change", "named", "remedy"),
    [
        ({"major": 14}, "PostgreSQL 14", "PostgreSQL 15 to 18"),
        ({"major": 19}, "PostgreSQL 19", "PostgreSQL 15 to 18"),
        ({"is_standby": True}, "is a standby", "capture its primary"),
        ({"control_version": 1900}, "pg_control is of version 1900", "modified PostgreSQL"),
    ],
)
def test_10_a_server_that_is_another_is_refused(change: dict[str, Any], named: str, remedy: str) -> None:
    unfit = why_unfit(replace(FIT, **change))
    assert unfit is not None and named in unfit[0] and remedy in unfit[1]


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("wal_block_size", "16384", "--with-wal-blocksize=8"),
        ("wal_level", "minimal", "set wal_level = replica"),
        ("max_replication_slots", "0", "set max_replication_slots = 10"),
        ("max_slot_wal_keep_size", "0", "set max_slot_wal_keep_size = -1"),
        ("max_slot_wal_keep_size", "15", "with less than a segment"),
    ],
)
def test_10_a_setting_that_forbids_captures_is_refused(name: str, value: str, remedy: str) -> None:
    unfit = why_unfit(replace(FIT, settings={**FIT.settings, name: value}))
    assert unfit is not None and f"{name} is {value}" in unfit[0] and remedy in unfit[1]
