"""Random work on a server: every kind of statement that moves, copies, rewrites, truncates or forgets files."""

import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from stillhouse.domain.cluster import Node
from stillhouse.errors import NodeUnreachable
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.session import Connection
from support.snapshots.cuts import ask, tell

MAX_BYTES = 64 << 20  # of all databases: beyond it tables are emptied
TABLES, DATABASES, TABLESPACES, PREPARED = 5, 2, 3, 3
INDEXES = (
    "btree (k)", "btree (tag, id)", "hash (tag)", "gin (words)", "gist (spot)", "spgist (spot)", "brin (id)",
)  # fmt: skip
# Why a session at a database may not begin while others work on it.
_GONE = ('database "', "lock timeout", "terminating connection due to administrator command")
# What statements on the same things at once may meet; anything else that is internal is a find.
_RACES = (
    "concurrently",
    "cache lookup failed",
    "could not open relation",
    "could not find",
    "does not exist",
)

Step = Callable[["Load", random.Random], None]


@dataclass
class Load:
    """What is done to `node`. Two threads may use one, each with its own `random.Random`."""

    node: Node
    done: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    why: dict[str, str] = field(default_factory=dict)
    _number: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _held: list[Connection] = field(default_factory=list)

    def found(self) -> None:
        """Settings under which pages come and go, and the first tables."""
        for setting in (
            "autovacuum = off",
            "fsync = off",
            "shared_buffers = '4MB'",
            "max_wal_size = '64MB'",
            "bgwriter_delay = '10ms'",
        ):
            self.tell("postgres", f"ALTER SYSTEM SET {setting}")
        self.tell("postgres", "CREATE TABLE public.promised (gid text)")
        for database in ("postgres", "gaussdb"):
            for _ in range(2):
                make_table(self, random.Random(self._number), database)

    def do(self, draw: random.Random, steps: Sequence[tuple[Step, int]]) -> None:
        """One random step. That it is refused is part of the game; that the server is broken is not."""
        (step,) = draw.choices([step for step, _ in steps], [weight for _, weight in steps])
        try:
            step(self, draw)
        except NodeUnreachable as error:
            if not any(reason in str(error) for reason in _GONE):
                raise
            # It was dropped, with its sessions even, or is being dropped or copied; or somebody rewrites the catalog.
            self._count(self.failed, step.__name__)
        except psycopg.Error as error:
            state = error.sqlstate or ""
            if state.startswith("XX") and not any(race in str(error) for race in _RACES):
                raise AssertionError(f"{step.__name__}: {error}") from error
            self._count(self.failed, step.__name__)
            self.why[f"{step.__name__}: {error}".partition(chr(10))[0]] = state
        else:
            self._count(self.done, step.__name__)

    def _count(self, counter: Counter[str], name: str) -> None:
        with self._lock:
            counter[name] += 1

    @contextmanager
    def session(self, database: str) -> Iterator[Connection]:
        limits = {"lock_timeout": "200ms", "statement_timeout": "30s"}
        with closing(
            session.connect(self.node, database, application_name="torture", settings=limits)
        ) as connection:
            yield connection

    def tell(self, database: str, *statements: str) -> None:
        with self.session(database) as connection:
            for statement in statements:
                tell(connection, statement)

    def ask(self, database: str, question: str) -> list[Any]:
        with self.session(database) as connection:
            return ask(connection, question)

    def name(self, prefix: str) -> str:
        with self._lock:
            self._number += 1
            return f"{prefix}{self._number}"

    def databases(self) -> list[str]:
        return self._names(
            "postgres", "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY 1"
        )

    def own_databases(self) -> list[str]:
        return [name for name in self.databases() if name.startswith("d")]

    def tablespaces(self) -> list[str]:
        return self._names("postgres", "SELECT spcname FROM pg_tablespace WHERE oid >= 16384 ORDER BY 1")

    def tables(self, database: str) -> list[str]:
        return self._names(
            database,
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
            " AND relname LIKE 't%' ORDER BY 1",
        )

    def indexes(self, database: str) -> list[str]:
        return self._names(
            database,
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'i'"
            " AND relname LIKE 't%' ORDER BY 1",
        )

    def _names(self, database: str, question: str) -> list[str]:
        return [name for (name,) in self.ask(database, question)]

    def somewhere(self, draw: random.Random) -> tuple[str, str]:
        """A database and a table in it, which is made if there is none."""
        database = draw.choice(self.databases())
        tables = self.tables(database)
        return database, draw.choice(tables) if tables else make_table(self, draw, database)

    def hold(self, connection: Connection) -> None:
        """Keep a session open until `let_go`: its temporary tables, its transaction."""
        with self._lock:
            self._held.append(connection)

    def let_go(self, draw: random.Random) -> None:
        with self._lock:
            held, self._held = self._held, []
        for connection in held:
            with suppress(psycopg.Error), closing(connection):
                tell(connection, draw.choice(["COMMIT", "ROLLBACK"]))

    def place(self, name: str) -> Path:
        """A new tablespace's directory, the servers' account's own."""
        place = Path(self.node.directory, "tablespaces", name)
        place.mkdir()
        owner = Path(self.node.directory).stat()
        os.chown(place, owner.st_uid, owner.st_gid)
        return place

    def keep_small(self, draw: random.Random) -> None:
        """Empty the largest tables when all of it has grown too large."""
        if self._bytes() > MAX_BYTES:
            self.let_go(draw)  # their locks
        while self._bytes() > MAX_BYTES:
            largest: list[tuple[int, str, str]] = []
            for database in self.databases():
                sizes = self.ask(
                    database,
                    "SELECT pg_total_relation_size(oid), relname FROM pg_class"
                    " WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname LIKE 't%'",
                )
                largest += [(size, database, table) for size, table in sizes]
            if not largest or max(largest)[0] < 1 << 20:
                break
            _, database, table = max(largest)
            self.settle_all(database)
            self.tell(database, f"TRUNCATE public.{table}")

    def _bytes(self) -> int:
        return int(self.ask("postgres", "SELECT sum(pg_database_size(oid)) FROM pg_database")[0][0])

    def settle_all(self, database: str) -> None:
        for (gid,) in self.ask(
            database, f"SELECT gid FROM pg_prepared_xacts WHERE database = '{database}' ORDER BY 1"
        ):
            self.tell(database, f"ROLLBACK PREPARED '{gid}'")


def make_table(load: Load, draw: random.Random, database: str) -> str:
    table = load.name("t")
    kind = draw.choice(["", "", "", "UNLOGGED"])
    fill = draw.choice([50, 80, 100])
    statements = [
        f"CREATE {kind} TABLE public.{table} (id int, k int, tag text, words text[], spot point, body text)"
        f" WITH (fillfactor = {fill})",
        f"INSERT INTO public.{table} {values(draw, draw.randint(0, 3000))}",
    ]
    statements += [
        f"CREATE INDEX {table}_{number} ON public.{table} USING {index}"
        for number, index in enumerate(draw.sample(INDEXES, draw.randint(1, 3)))
    ]
    load.tell(database, *statements)
    return table


def values(draw: random.Random, rows: int) -> str:
    """Rows for a table of ours; now and then one long enough to be kept out of line."""
    first, length = draw.randrange(1 << 20), draw.choice([1, 3, 20])
    return (
        "SELECT g AS id, g % 1000 AS k, 'tag' || g % 50 AS tag, ARRAY['w' || g % 7, 'w' || g % 11] AS words,"
        " point(g % 100, g % 37) AS spot,"
        f" repeat(md5(g::text), CASE WHEN g % 97 = 0 THEN 200 ELSE {length} END) AS body"
        f" FROM generate_series({first}, {first + rows - 1}) g"
    )
