"""One database, SQLite or PostgreSQL by URL: its transactions, its schema, its failures."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, Index, create_engine, event, exc, inspect, make_url, text

from stillhouse.catalog.schema import commits, postgres_pool
from stillhouse.catalog.schema.failures import failures_translated
from stillhouse.catalog.schema.place import Place, place_of
from stillhouse.catalog.schema.sqlite_time import supply_to_all_connections
from stillhouse.errors import CatalogNotOurs, CatalogRefused, CatalogUnavailable, InternalError
from stillhouse.sealing import Sealer

# The argument of all functions in this package; opaque to every other package.
Transaction = Connection

# Connections are opened as they are needed, and kept: opening one costs as much as several requests. The API's threads
# and all flows at once (`durable/flows.py`) find one each; the driver opens more beyond that, and closes them again.
# `Database` ends each transaction itself, so none is left to roll back when a connection returns.
_POOL = {"pool_size": 80, "max_overflow": 40, "pool_use_lifo": True, "pool_reset_on_return": None}
_BEGIN = "BEGIN"
_MIGRATIONS_TABLE = "sh_migrations"
_MIGRATIONS = Path(__file__).parents[1] / "migrations" / "versions"
# Any constant will do that no other application uses.
_MIGRATION_LOCK = 0x5711_1005E


class Database:
    """The catalog's connection pool. On SQLite in WAL mode, writers queue up at BEGIN for `busy_seconds`.

    `sealer` opens what seals and unseals the secrets in rows of nodes. It is called only for rows that have secrets.
    """

    def __init__(
        self,
        url: str,
        sealer: Callable[[], Sealer] | None = None,
        *,
        busy_seconds: float = 30,
        connections: int = 32,
    ) -> None:
        self._turns: _Turns | None
        self._versions: _Versions | None = None
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            supply_to_all_connections()
            self._engine = _sqlite_engine(parsed, busy_seconds)
            self._turns = _Turns(busy_seconds)
            if _is_in_file(parsed):
                self._versions = _Versions(self._engine)
        else:
            self._turns = None
            self._engine = postgres_pool.pooled(parsed, connections)
        # Options of whole engines cost nothing at each transaction.
        known = self._engine.execution_options(sh_sealer=sealer)
        # IMMEDIATE takes the write lock at once: a reader that turns writer later may fail without waiting.
        self._writing = known.execution_options(sh_begin="BEGIN IMMEDIATE")
        # Each statement of a READ COMMITTED transaction sees a state of its own anyway: BEGIN and COMMIT would be two
        # round trips for nothing.
        self._reading = known if self.is_sqlite else known.execution_options(isolation_level="AUTOCOMMIT")

    @classmethod
    def in_directory(cls, data: Path, sealer: Callable[[], Sealer] | None = None) -> "Database":
        return cls(place_of("", data).url, sealer)

    @classmethod
    def at(cls, place: Place, sealer: Callable[[], Sealer], connections: int) -> "Database":
        return cls(place.url, sealer, connections=connections)

    @property
    def url(self) -> str:
        """The URL for the workflow engine, which uses the same database."""
        return self._engine.url.set(drivername=self._engine.dialect.name).render_as_string(
            hide_password=False
        )

    @property
    def is_sqlite(self) -> bool:
        return self._engine.dialect.name == "sqlite"

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A transaction that may write: committed at the end, rolled back when anything is raised.

        What was noted by `commits.after_commit` is done when the commit is over, and other writers may go on.
        """
        turn = self._turns.one() if self._turns else nullcontext()
        with failures_translated(), turn, self._writing.begin() as connection:
            acts = commits.begin(connection)
            yield connection
        for act in acts:
            act()

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """A transaction that only reads, and on SQLite waits for no writer."""
        with failures_translated(), self._reading.begin() as connection:
            yield connection

    @property
    def reads_never_wait(self) -> bool:
        """Tell whether a reading goes on whatever others do: in a file of SQLite's it does, in WAL mode."""
        return self._versions is not None

    def version(self) -> int | None:
        """Return a number that changes whenever anybody commits; `None` if the database has none, or fails.

        SQLite's `data_version` counts the commits of other connections than the one that asks, so one is kept for it.
        It costs some microseconds (https://sqlite.org/pragma.html#pragma_data_version).
        """
        return self._versions.now() if self._versions else None

    def migrate(self) -> None:
        """Bring the schema up to date. If several services start at once, one works and the others wait.

        Most starts find it so, and need not import Alembic, which takes 11 MB.
        """
        if self.is_up_to_date():
            return
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", "stillhouse.catalog:migrations")
        if self.is_sqlite:
            self._enter_wal_mode()
        with self.transaction() as transaction:
            if not self.is_sqlite:
                _check_rights(transaction)
                transaction.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
            config.attributes["connection"] = transaction
            command.upgrade(config, "head")

    def is_up_to_date(self) -> bool:
        """Tell whether the schema is that of this version. Raises CatalogNotOurs for a newer one."""
        newest = max(path.name.partition("_")[0] for path in _MIGRATIONS.glob("[0-9]*.py"))
        found = self._schema_version()
        if found > newest:
            raise CatalogNotOurs(
                f"the catalog has schema {found}, and this version of Stillhouse knows {newest} at most",
                hint="a newer version has worked on it: run that one",
            )
        return found == newest

    def _schema_version(self) -> str:
        """Return the version of the schema, "" for an empty database."""
        with self.reading() as reading:
            if not inspect(reading).has_table(_MIGRATIONS_TABLE):
                return ""
            return str(reading.execute(text(f"SELECT version_num FROM {_MIGRATIONS_TABLE}")).scalar() or "")

    def _enter_wal_mode(self) -> None:
        """Set WAL mode once: the mode stays with the file, so the workflow engine gets it too."""
        with failures_translated(), self._engine.connect() as connection:
            outside = connection.execution_options(sh_begin=None)
            outside.exec_driver_sql("PRAGMA journal_mode = WAL")

    def close(self) -> None:
        if self._versions:
            self._versions.close()
        self._engine.dispose()


class _Turns:
    """The writers of this process, one at a time. SQLite's own waiting only looks again now and then, so that an
    unlucky writer among many waits for seconds, and holds a connection meanwhile.
    """

    def __init__(self, seconds: float) -> None:
        self._turn, self._seconds = threading.Lock(), seconds

    @contextmanager
    def one(self) -> Iterator[None]:
        if not self._turn.acquire(timeout=self._seconds):
            raise CatalogUnavailable(f"other writers hold the catalog for more than {self._seconds:g} s")
        try:
            yield
        finally:
            self._turn.release()


class _Versions:
    """One connection that never writes, and asks for the version."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._guard = engine, threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def now(self) -> int | None:
        with self._guard:
            try:
                if self._connection is None:
                    self._connection = self._open()
                (version,) = self._connection.execute("PRAGMA data_version").fetchone()
            except (sqlite3.Error, exc.SQLAlchemyError):
                return None  # the reading that follows tells the true cause
            return int(version)

    def _open(self) -> sqlite3.Connection:
        pooled = self._engine.raw_connection()
        connection = pooled.driver_connection
        pooled.detach()
        assert isinstance(connection, sqlite3.Connection)
        return connection

    def close(self) -> None:
        with self._guard:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


def _check_rights(transaction: Transaction) -> None:
    """Raise CatalogRefused unless the role may make our tables, and the schema of the workflow engine's."""
    may_create, encoding = transaction.execute(
        text(
            "SELECT has_database_privilege(current_database(), 'CREATE')"
            " AND has_schema_privilege(current_schema(), 'CREATE'), current_setting('server_encoding')"
        )
    ).one()
    if not may_create:
        raise CatalogRefused(
            "the catalog's role may not make tables and schemas in its database",
            hint="GRANT CREATE ON DATABASE, and GRANT ALL ON SCHEMA public, to the role",
        )
    if encoding != "UTF8":
        raise CatalogRefused(
            f"the catalog's database has the encoding {encoding}", hint="make it anew with ENCODING 'UTF8'"
        )


def sealer_of(transaction: Transaction) -> Sealer:
    """The sealer of the catalog that the transaction belongs to."""
    sealer: Callable[[], Sealer] | None = transaction.get_execution_options().get("sh_sealer")
    if sealer is None:
        raise InternalError("this catalog was opened without the key of its secrets")
    return sealer()


def violates(error: exc.IntegrityError, index: Index) -> bool:
    """Whether this unique index refused the row.

    PostgreSQL names the index. SQLite names it only when it is over an expression, else its columns.
    """
    said = str(error.orig)
    columns = ", ".join(str(column) for column in index.columns)
    return str(index.name) in said or said.endswith(f"failed: {columns}")


def _pool_of(url: URL) -> dict[str, Any]:
    """Return the pool's options. A database in memory has one connection, whose pool takes none."""
    return _POOL if _is_in_file(url) else {}


def _is_in_file(url: URL) -> bool:
    return bool(url.database) and url.database != ":memory:"


def _sqlite_engine(url: URL, busy_seconds: float) -> Engine:
    engine = create_engine(url, connect_args={"timeout": busy_seconds}, **_pool_of(url))

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        # The driver would open a transaction only at the first write; `begin` below opens it explicitly.
        connection.isolation_level = None
        # FULL: in WAL mode anything less may lose the last commits in a power cut.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        statement = connection.get_execution_options().get("sh_begin", _BEGIN)
        if statement is _BEGIN:
            # Straight to the driver, as every request begins so: it takes no lock yet, so it cannot be refused.
            connection.connection.driver_connection.execute(statement)  # type: ignore[union-attr]
        elif statement is not None:
            connection.exec_driver_sql(statement)

    return engine
