"""A bank spread over the data nodes, and writers that move money between them through the coordinator."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count, cycle
from typing import Any

import psycopg

from stillhouse.domain.cluster import Cluster, Node
from stillhouse.postgres.sessions import session

Connection = psycopg.Connection[Any]
_ACCOUNTS = 64
_EACH = 1000


@dataclass(frozen=True)
class Bank:
    """A warehouse with money in its table `accounts`, whose `total` no writer changes.

    `halves` are the ids of the accounts on each of two data nodes.
    """

    cluster: Cluster
    password: str
    database: str = "gaussdb"
    halves: tuple[tuple[int, ...], ...] = ()
    total: int = _ACCOUNTS * _EACH

    def connect(self, node: Node | None = None) -> Connection:
        """Log in as programs do, over TCP: to the coordinator as its user, to a data node as the coordinator."""
        coordinator = self.cluster.coordinator
        at_home = node is None or node is coordinator
        at = coordinator if node is None else node
        return psycopg.connect(
            host=at.host,
            port=at.port,
            user=self.cluster.user_name,
            password=self.password if at_home else inner_password(coordinator, self.database),
            dbname=self.database,
            autocommit=True,
        )


def inner_password(coordinator: Node, database: str) -> str:
    """What the coordinator logs in with to its data nodes."""
    with session.connect(coordinator, database) as connection:
        ((password,),) = connection.execute(
            "SELECT DISTINCT option_value FROM pg_user_mapping, pg_options_to_table(umoptions)"
            " WHERE option_name = 'password'"
        ).fetchall()
    return str(password)


def found_bank(cluster: Cluster, password: str) -> Bank:
    """Create the distributed table (one hash partition per data node) and pay the money in."""
    bank = Bank(cluster, password)
    distribute(bank, "accounts", "id int, balance bigint")
    with bank.connect() as coordinator:
        coordinator.execute(
            "INSERT INTO accounts SELECT i, %s FROM generate_series(1, %s) i", [_EACH, _ACCOUNTS]
        )
        rows = coordinator.execute(
            "SELECT array_agg(id ORDER BY id) FROM accounts GROUP BY tableoid ORDER BY tableoid"
        ).fetchall()
    return replace(bank, halves=tuple(tuple(ids) for (ids,) in rows))


def distribute(bank: Bank, table: str, columns: str) -> None:
    """A root on the coordinator, hash-partitioned by id, with a foreign partition on every data node."""
    nodes = bank.cluster.data_nodes
    with bank.connect() as coordinator:
        coordinator.execute(f"CREATE TABLE {table} ({columns}) PARTITION BY HASH (id)".encode())
        for place, node in enumerate(nodes):
            part = f"{table}_{place}"
            with bank.connect(node) as data_node:
                data_node.execute(f"CREATE TABLE {part} ({columns})".encode())
            coordinator.execute(
                f"CREATE FOREIGN TABLE {part} PARTITION OF {table}"
                f" FOR VALUES WITH (MODULUS {len(nodes)}, REMAINDER {place})"
                f" SERVER {server_of(coordinator, node)} OPTIONS (table_name '{part}')".encode()
            )


def server_of(coordinator: Connection, node: Node) -> str:
    """The name of the coordinator's foreign server for `node`."""
    (row,) = coordinator.execute(
        "SELECT quote_ident(srvname) FROM pg_foreign_server WHERE srvoptions @> %s",
        [[f"host={node.host}", f"port={node.port}"]],
    ).fetchall()
    return str(row[0])


@dataclass
class Writer:
    """What one writer has done: transfers, the longest time that one took, errors by SQLSTATE."""

    transfers: int = 0
    longest_seconds: float = 0.0
    errors: list[str] = field(default_factory=list)


@contextmanager
def writing(bank: Bank, number: int, *, lock_first: bool = False) -> Iterator[list[Writer]]:
    """`number` writers at work until the block ends; with `lock_first` they begin by SELECT ... FOR UPDATE.

    Each moves its own accounts, so that they can neither deadlock nor, as postgres_fdw always reads
    repeatably on the data nodes, fail to serialise: any error is somebody else's doing.
    """
    stop = threading.Event()
    writers = [Writer() for _ in range(number)]
    threads = [
        threading.Thread(target=_write, args=(bank, place, number, writer, stop, lock_first))
        for place, writer in enumerate(writers)
    ]
    for thread in threads:
        thread.start()
    try:
        until(lambda: all(writer.transfers or writer.errors for writer in writers), 30)
        yield writers
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)


def _write(
    bank: Bank, place: int, number: int, writer: Writer, stop: threading.Event, lock_first: bool
) -> None:
    first, second = (cycle(half[place::number]) for half in bank.halves[:2])
    amount = cycle((7, -7, 3, -3))
    with bank.connect() as connection:
        connection.execute("SET statement_timeout = '60s'")
        while not stop.is_set():
            begun = time.monotonic()
            try:
                transfer(connection, next(first), next(second), next(amount), lock_first=lock_first)
            except psycopg.Error as error:
                writer.errors.append(error.sqlstate or type(error).__name__)
                if connection.closed:
                    return
            writer.transfers += 1
            writer.longest_seconds = max(writer.longest_seconds, time.monotonic() - begun)


def transfer(
    connection: Connection, payer: int, payee: int, amount: int, *, lock_first: bool = False
) -> None:
    """One transaction over two data nodes."""
    with connection.transaction():
        if lock_first:
            connection.execute("SELECT balance FROM accounts WHERE id = %s FOR UPDATE", [payer])
        connection.execute("UPDATE accounts SET balance = balance - %s WHERE id = %s", [amount, payer])
        connection.execute("UPDATE accounts SET balance = balance + %s WHERE id = %s", [amount, payee])


def until(true: Any, seconds: float) -> None:
    """Poll a condition; fail when it does not come true in time."""
    latest = time.monotonic() + seconds
    for _ in count():
        if true():
            return
        assert time.monotonic() < latest, "the condition did not come true in time"
        time.sleep(0.01)
