"""A clone is started in quarantine with as few settings as recovery needs."""

from stillhouse.warehouse.clone import quarantine_settings

SOURCE = {
    "max_connections": "5000",
    "max_worker_processes": "64",
    "max_wal_senders": "20",
    "max_prepared_transactions": "300",
    "max_locks_per_transaction": "256",
}
GIB = 1 << 30


def locks(settings: dict[str, str], name: str) -> int:
    backends = ("max_connections", "max_worker_processes", "max_wal_senders", "max_prepared_transactions")
    return int(settings[name]) * sum(int(settings.get(each, 0)) for each in backends)


def test_prepared_transactions_have_the_room_that_they_had() -> None:
    ours = quarantine_settings.ours(18, {"max_pred_locks_per_transaction": "128"}, SOURCE, GIB)
    assert ours["max_prepared_transactions"] == "300"
    assert int(ours["max_connections"]) < 5000
    then = SOURCE | {"max_pred_locks_per_transaction": "128"}
    for name in ("max_locks_per_transaction", "max_pred_locks_per_transaction"):
        assert locks(ours, name) >= locks(then, name)


def test_a_source_that_says_nothing_had_what_postgresql_gives() -> None:
    ours = quarantine_settings.ours(18, {}, {}, GIB)
    assert ours["max_prepared_transactions"] == "0"
    assert int(ours["max_locks_per_transaction"]) >= 64


def test_memory_is_this_host_s_and_not_the_source_s() -> None:
    buffers = [
        quarantine_settings.ours(18, {"shared_buffers": "64GB"}, SOURCE, gib * GIB)["shared_buffers"]
        for gib in (1, 16, 1024)
    ]
    assert buffers == ["65536kB", "524288kB", "1048576kB"]


def test_no_version_is_told_what_it_does_not_know() -> None:
    assert "event_triggers" not in quarantine_settings.ours(16, {}, {}, GIB)
    assert quarantine_settings.ours(17, {}, {}, GIB)["event_triggers"] == "off"


def test_nothing_comes_in_goes_out_or_happens_by_itself_whatever_the_source_sets() -> None:
    shut_off = {
        "listen_addresses": "",
        "archive_mode": "off",
        "primary_conninfo": "",
        "archive_cleanup_command": "",
        "recovery_end_command": "",
        "recovery_min_apply_delay": "0",
        "autovacuum": "off",
        "autovacuum_freeze_max_age": "2000000000",
        "autovacuum_multixact_freeze_max_age": "2000000000",
        "max_worker_processes": "0",
        "max_logical_replication_workers": "0",
        "max_wal_senders": "0",
        "event_triggers": "off",
        "sync_replication_slots": "off",
    }
    source = dict.fromkeys(shut_off, "7")
    ours = quarantine_settings.ours(18, source, source, GIB)
    assert {name: ours.get(name) for name in shut_off} == shut_off
    assert not shut_off.keys() & quarantine_settings.inherited(source).keys()
    assert not shut_off.keys() & quarantine_settings.of_strength(source).keys()


def test_only_what_is_named_is_inherited() -> None:
    source = {
        "archive_command": "cp",
        "recovery_min_apply_delay": "1h",
        "wal_receiver_timeout": "0",
        "promote_trigger_file": "/tmp/x",
        "zero_damaged_pages": "on",
        "shared_preload_libraries": "citus",
        "citus.node_conninfo": "sslmode=require",
    }
    assert quarantine_settings.inherited(source) == {
        "shared_preload_libraries": "citus",
        "citus.node_conninfo": "sslmode=require",
    }


def test_buffers_beyond_the_memory_there_is_are_told() -> None:
    for size, too_many in (
        ("64GB", True),
        ("12GB", False),
        ("13 GB", True),
        ("1TB", True),
        ("1048576", False),
    ):
        assert bool(quarantine_settings.exceeds({"shared_buffers": size}, 16 * GIB)) == too_many, size
    assert (
        quarantine_settings.exceeds({}, GIB)
        == quarantine_settings.exceeds({"shared_buffers": "?"}, GIB)
        == ""
    )


def test_locks_and_connections_go_together() -> None:
    base = quarantine_settings.modest({}, SOURCE, GIB)
    locks_of_the_source = {"max_locks_per_transaction": "256"}
    together = quarantine_settings.with_room(base, {"max_connections": "5000"} | locks_of_the_source)
    assert together["max_locks_per_transaction"] == "256"
    without = quarantine_settings.with_room(base, locks_of_the_source)
    assert locks(without, "max_locks_per_transaction") >= locks(SOURCE, "max_locks_per_transaction")


def test_a_person_s_choice_of_strength_counts_in_quarantine_and_no_other() -> None:
    chosen = {"shared_buffers": "1GB", "autovacuum": "on", "listen_addresses": "*", "work_mem": "1GB"}
    assert quarantine_settings.of_strength(chosen) == {"shared_buffers": "1GB"}
