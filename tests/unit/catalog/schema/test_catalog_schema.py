"""The schema: migrations make exactly what the models say, once, however many start at the same time."""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.sql.schema import SchemaItem

from stillhouse.catalog.access.access_keys import list_access_keys
from stillhouse.catalog.schema.database import Database, Transaction
from stillhouse.catalog.schema.tables import metadata
from stillhouse.catalog.snapshots import read_snapshot
from stillhouse.domain.access.permissions import FULL_ACCESS
from stillhouse.errors import CatalogUnavailable
from support.servers.catalog_server import fresh_database, migrate

_DEFINITIONS = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE '%sh_migrations%'",
    "postgresql": """
        SELECT indexname, indexdef FROM pg_catalog.pg_indexes
        WHERE schemaname = 'public' AND tablename <> 'sh_migrations'
        UNION ALL
        SELECT conname, conrelid::regclass || ' ' || pg_get_constraintdef(oid) FROM pg_catalog.pg_constraint
        WHERE connamespace = 'public'::regnamespace AND conrelid <> 'sh_migrations'::regclass
        UNION ALL
        SELECT table_name || '.' || column_name, concat_ws(' ', data_type, is_nullable, column_default)
        FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'sh_migrations'
    """,
}


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with fresh_database(request.param, tmp_path) as opened:
        yield opened


def _definitions(transaction: Transaction) -> set[tuple[str, str]]:
    rows = transaction.execute(text(_DEFINITIONS[transaction.dialect.name]))
    # White space is Alembic's or SQLAlchemy's own, quotes those of a renaming; what is said must be the same.
    return {(row[0], " ".join(str(row[1]).replace('"', "").split()).replace(" ,", ",")) for row in rows}


def test_migrations_and_models_define_the_same_schema(database: Database) -> None:
    database.migrate()
    with database.transaction() as transaction:
        migrated = _definitions(transaction)
        metadata.drop_all(transaction)
        metadata.create_all(transaction)
        modelled = _definitions(transaction)
    assert len(migrated) > 20
    assert migrated == modelled


# SQLite's expression indexes cannot be reflected; the test above compares them.
@pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based index")
@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
def test_alembic_sees_nothing_left_to_migrate(database: Database) -> None:
    def only_ours(_item: SchemaItem, name: str | None, kind: str, _reflected: bool, _model: object) -> bool:
        return kind != "table" or (name or "").startswith("sh_")

    database.migrate()
    with database.transaction() as transaction:
        options = {"include_object": only_ours, "version_table": "sh_migrations"}
        assert compare_metadata(MigrationContext.configure(transaction, opts=options), metadata) == []


def test_migrating_again_changes_nothing(database: Database) -> None:
    database.migrate()
    with database.reading() as reading:
        before = _definitions(reading)
    database.migrate()
    with database.reading() as reading:
        assert _definitions(reading) == before


def test_the_first_migration_can_be_undone(database: Database) -> None:
    database.migrate()
    config = Config()
    config.set_main_option("script_location", "stillhouse.catalog:migrations")
    with database.transaction() as transaction:
        config.attributes["connection"] = transaction
        command.downgrade(config, "base")
        assert _definitions(transaction) == set()


def test_a_key_of_before_there_were_policies_still_may_do_everything(database: Database) -> None:
    config = Config()
    config.set_main_option("script_location", "stillhouse.catalog:migrations")
    with database.transaction() as transaction:
        config.attributes["connection"] = transaction
        command.upgrade(config, "0001")
        transaction.exec_driver_sql(
            "INSERT INTO sh_access_keys (access_key, sealed_secret, project, created)"
            " VALUES ('A', 'sealed', 'p', '2026-11-20 08:00:00')"
        )
    database.migrate()
    with database.reading() as reading:
        (key,) = list_access_keys(reading)
    assert (key.access_key, key.policies, key.expires) == ("A", (FULL_ACCESS,), None)


def test_snapshots_that_were_cancelled_before_failures_had_codes_are_known_by_their_reason(
    database: Database,
) -> None:
    reasons = {
        "a": "the snapshot was cancelled: the cluster is being deleted",
        "b": "deleted before its turn came",
        "c": "dn1 is away (start it)",
    }
    config = Config()
    config.set_main_option("script_location", "stillhouse.catalog:migrations")
    time = "'2026-11-20 08:00:00'"
    with database.transaction() as transaction:
        config.attributes["connection"] = transaction
        command.upgrade(config, "0014")
        transaction.exec_driver_sql(
            "INSERT INTO sh_clusters (id, project, name, engine, status, number_of_node, port, user_name, stopped,"
            " failed_code, failed_reason, facts, created, updated)"
            f" VALUES ('c', 'p', 'sales', 'single', 'AVAILABLE', 1, 1, 'u', false, '', '', '{{}}', {time}, {time})"
        )
        for name, reason in reasons.items():
            transaction.exec_driver_sql(
                "INSERT INTO sh_snapshots (id, project, cluster_id, cluster_name, name, description, status, type,"
                " started, updated, progress, plain_bytes, stored_bytes, db_user, backup_key, reason,"
                " cancel_requested, attempt)"
                f" VALUES ('{name}', 'p', 'c', 'sales', '{name}', '', 'UNAVAILABLE', 'MANUAL', {time}, {time}, 0,"
                f" 0, 0, 'u', '', '{reason}', false, 1)"
            )
    database.migrate()
    with database.reading() as reading:
        states = [read_snapshot(reading, name).state for name in reasons]
    assert states == ["CANCELLED", "CANCELLED", "FAILED"]


@pytest.mark.long
def test_several_processes_migrating_one_empty_database_all_succeed(database: Database) -> None:
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(3, mp_context=spawning) as pool:
        list(pool.map(migrate, [database.url] * 3))
    with database.reading() as reading:
        assert reading.execute(text("SELECT count(*) FROM sh_clusters")).scalar_one() == 0


def test_the_migrations_lie_inside_the_package() -> None:
    package = Path(__import__("stillhouse.catalog").catalog.__file__).parent
    assert list((package / "migrations" / "versions").glob("0001_*.py"))
    assert (package / "migrations" / "env.py").is_file()


def test_every_table_is_prefixed_so_that_the_engine_may_share_the_file() -> None:
    assert all(name.startswith("sh_") for name in metadata.tables)


def test_a_directory_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(CatalogUnavailable, match="unable to open"):
        Database.in_directory(tmp_path / "missing").migrate()


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "catalog.sqlite").write_bytes(os.urandom(8192))
    with pytest.raises(CatalogUnavailable, match="not a database"):
        Database.in_directory(tmp_path).migrate()


def test_a_server_that_does_not_answer_is_unavailable(tmp_path: Path) -> None:
    database = Database(f"postgresql://catalog@/postgres?host={tmp_path}")
    with pytest.raises(CatalogUnavailable, match="does not answer") as failure:
        database.migrate()
    assert "SELECT" not in str(failure.value)


def test_a_writer_locked_out_for_longer_than_the_busy_time_is_unavailable(tmp_path: Path) -> None:
    first = Database.in_directory(tmp_path)
    first.migrate()
    second = Database(first.url, busy_seconds=0.05)
    with first.transaction():
        with pytest.raises(CatalogUnavailable, match="locked"), second.transaction():
            pass
        with second.reading() as reading:
            assert reading.execute(text("SELECT count(*) FROM sh_clusters")).scalar_one() == 0


def test_a_full_disk_is_unavailable(tmp_path: Path) -> None:
    database = Database.in_directory(tmp_path)
    database.migrate()
    with pytest.raises(CatalogUnavailable, match="full"), database.transaction() as transaction:  # noqa: PT012
        transaction.exec_driver_sql("PRAGMA max_page_count = 1")
        transaction.exec_driver_sql(
            "INSERT INTO sh_sealed_secrets VALUES ('k', hex(zeroblob(1000000)), '2026-01-01')"
        )


def test_a_lost_server_connection_is_unavailable_and_the_next_transaction_works(tmp_path: Path) -> None:
    with fresh_database("postgresql", tmp_path) as database:
        database.migrate()
        backend = text("SELECT pg_backend_pid()")
        with pytest.raises(CatalogUnavailable), database.transaction() as lost:  # noqa: PT012
            pid = lost.execute(backend).scalar_one()
            with database.transaction() as killer:
                killer.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
            lost.execute(backend)
        with database.transaction() as transaction:
            assert transaction.execute(backend).scalar_one() != pid


def test_sessions_that_the_server_ended_while_they_were_idle_cost_no_transaction(tmp_path: Path) -> None:
    with fresh_database("postgresql", tmp_path) as database:
        database.migrate()
        with database.reading(), database.reading(), database.transaction():
            pass  # three connections are kept
        others = text(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        beside = Database(database.url)
        with beside.reading() as reading:
            assert len(reading.execute(others).all()) >= 2
        beside.close()
        for _ in range(4):
            with database.transaction() as transaction:
                assert transaction.execute(text("SELECT 1")).scalar_one() == 1
