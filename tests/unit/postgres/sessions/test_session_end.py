"""Why a backup's session ended, deduced from the server's last word and from what it shows afterwards."""

import pytest

from stillhouse.postgres.sessions.session_end import Afterwards, LastSeen, why_ended

MB = 1 << 20
SEEN = LastSeen("57P01", "terminating connection", holds_from=100 * MB, idle_seconds=5, server_started="1")
SETTINGS = {"wal_segment_size": 16 * MB, "max_slot_wal_keep_size": -1, "idle_replication_slot_timeout": 0}


def seen(code: str | None = "57P01", **otherwise: object) -> LastSeen:
    return LastSeen(**{**vars(SEEN), "code": code, **otherwise})


def after(flushed: int = 100 * MB, started: str = "1", **settings: int) -> Afterwards:
    return Afterwards(started, flushed, {**SETTINGS, **settings})


@pytest.mark.parametrize(
    ("last", "found", "told"),
    [
        (seen(), after(), "somebody ended the backup's session"),
        (seen(), after(400 * MB), "somebody ended"),
        (seen(), after(121 * MB, max_slot_wal_keep_size=20), "somebody ended"),
        (seen(), after(133 * MB, max_slot_wal_keep_size=20), "max_slot_wal_keep_size is 20 MB"),
        (seen(None), after(133 * MB, max_slot_wal_keep_size=0), "max_slot_wal_keep_size is 0 MB"),
        (seen("55000"), after(133 * MB, max_slot_wal_keep_size=20), "max_slot_wal_keep_size is 20 MB"),
        (seen(), after(idle_replication_slot_timeout=5), "idle_replication_slot_timeout is 5 s"),
        (seen(), after(idle_replication_slot_timeout=6), "somebody ended"),
        (seen(), after(started="2", max_slot_wal_keep_size=0), "was restarted"),
        (seen(timeline=1), Afterwards("2", 0, SETTINGS, timeline=2), "failed over: a standby was promoted"),
        (seen(timeline=2), Afterwards("2", 0, SETTINGS, timeline=2), "was restarted"),
        (seen(), None, "was shut down"),
        (seen(None), None, "crashed, or cannot be reached"),
        (seen(None, said="connection lost"), after(), "broke: connection lost"),
        (seen("57P02"), after(), "one of its processes crashed"),
        (seen("57P05"), after(), "by idle_session_timeout"),
        (seen("25P04"), after(), "by transaction_timeout"),
        (seen("57014", said="due to user request"), after(), "was cancelled: due to user request"),
        (seen("53100", said="no space"), after(), "has no room: no space"),
        (seen("42501", said="permission denied"), after(), "broke: permission denied"),
    ],
)
def test_the_reason_is_the_true_one(last: LastSeen, found: Afterwards | None, told: str) -> None:
    assert told in why_ended("dn1", last, found).message


def test_a_server_without_the_newer_setting_has_no_such_limit() -> None:
    without = Afterwards("1", 100 * MB, {"wal_segment_size": 16 * MB, "max_slot_wal_keep_size": -1})
    assert "somebody ended" in why_ended("dn1", seen(idle_seconds=1e6), without).message
