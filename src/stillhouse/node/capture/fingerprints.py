"""Fingerprints of a node's tables as they were at the cut, read while the rest of a capture goes on.

The reader has a transaction in each database, in the snapshot that a witness of the cut has exported. It locks each
table in a sub-transaction, so that a waiting DDL statement waits for one table at most, and only until the wait is
noticed. A snapshot does not protect against every change: TRUNCATE and rewriting leave the reader an empty table, and
ALTER TABLE leaves it other columns. These changes show in the table's shape, which is read twice while the lock is
held: as of the cut and as of now.
"""

import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

from stillhouse.domain.cluster import Node
from stillhouse.domain.snapshot import Witness
from stillhouse.errors import DatabaseClosed, NodeUnreachable, ObjectTooLarge, TableReplaced, shown
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.databases import MAINTENANCE, Database, Kind, databases_of
from stillhouse.postgres.sessions.reading import check_name, enter_as_reader
from stillhouse.postgres.sessions.session import Connection, sql
from stillhouse.repository.format.fields import encode_line
from stillhouse.repository.format.lines import PartitionedLine, TableLine, WitnessLine
from stillhouse.warehouse.proof.tables import (
    SETTINGS,
    Relation,
    Rows,
    list_files,
    list_partitioned,
    list_relations,
    read_rows,
)

_SPOOL_BYTES = 4 << 20
_WATCH_SECONDS, _STOP_SECONDS = 0.5, 0.1
_SPARE_SECONDS = 30  # after that the server ends a transaction that we did not end
_REASON = 500  # characters: a server's words may be long
_NO_TIME = "there was no time"
_UNREAD = "its tables were not read to the end"

_SETTINGS = {
    **SETTINGS,
    "lock_timeout": "1s",
    "max_parallel_workers_per_gather": "0",  # one reader, even on a large machine
    "tcp_user_timeout": "10s",
    "client_connection_check_interval": "5s",
}
_SHAPE = """
    SELECT concat_ws(' ', c.relfilenode, c.relnamespace::oid, c.relname, c.relispopulated) || ': ' ||
           coalesce((SELECT string_agg(concat_ws(' ', attnum, attname, atttypid, atttypmod, attisdropped), ', '
                                       ORDER BY attnum)
                       FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0), '')
      FROM pg_class c WHERE c.oid = %s
"""
# A value of an enum is printed by its present label, even in an older snapshot.
_LABELS = "SELECT oid, enumlabel FROM pg_enum"
_WAITED_FOR = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND %s = ANY(pg_blocking_pids(pid)))"


class _LeftOut(Exception):
    """The table at hand has no fingerprint. The message says why."""


class Fingerprints:
    """Starts to read at once, in a thread. `lines` may be called when it is done."""

    def __init__(self, node: Node, witness: Witness, seconds: float) -> None:
        self._node, self._witness, self._seconds = node, witness, seconds
        self._latest = time.monotonic() + seconds
        self._spool = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)  # noqa: SIM115 (closed by stop)
        self._why = witness.why or (_UNREAD if witness.snapshots else "fingerprints are switched off")
        self._relabelled: set[str] = set()
        self._left_out: dict[str, str] = {}
        self.replaced: list[str] = []
        """Tables that were replaced before they could be read, in words. Complete when the work is done."""
        self._stopping, self._done = threading.Event(), threading.Event()
        self._reading: Connection | None = None
        self._in_the_way = False
        self._threads = [
            threading.Thread(target=self._run, name="fingerprints", daemon=True),
            threading.Thread(target=self._watch, name="fingerprints watch", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def done(self, wait_seconds: float) -> bool:
        return self._done.wait(wait_seconds)

    def stop(self) -> None:
        """Stop reading, however far it has come, and end the transactions."""
        self._end()
        for thread in self._threads:
            thread.join()
        self._spool.close()

    def lines(self) -> Iterator[WitnessLine | PartitionedLine | TableLine]:
        """Yield lines of a manifest: one `witness`, then one for each table. Call it only when the reading is done."""
        databases = [
            name for name, _ in self._witness.snapshots if not self._why and name not in self._left_out
        ]
        left_out = {name: why[:_REASON] for name, why in self._left_out.items()} if databases else {}
        try:
            head = self._head(databases, self._why, left_out)
        except ObjectTooLarge:
            databases = []
            head = self._head(
                [], f"the node has too many databases to list: {len(self._witness.snapshots)}", {}
            )
        yield head
        self._spool.seek(0)
        written: Iterator[PartitionedLine | TableLine] = map(json.loads, self._spool if databases else ())
        for line in written:
            if line["t"] == "table" and line["database"] in self._relabelled and "rows" in line:
                del line["rows"], line["digest"]
                line["left_out"] = "a label of an enum was renamed"
            yield line

    @staticmethod
    def _head(databases: list[str], why: str, left_out: dict[str, str]) -> WitnessLine:
        """Return the `witness` line. Raises ObjectTooLarge if it is too long for a manifest."""
        line: WitnessLine = {
            "t": "witness",
            "databases": databases,
            "why": why,
            "partitioned": bool(databases),
        }
        if left_out:
            line["left_out"] = left_out
        encode_line(line)
        return line

    def _run(self) -> None:
        try:
            with ExitStack() as sessions:
                # Enter all databases first: the witness does not wait until the last one is read.
                entered = []
                for database, snapshot in self._witnessed():
                    try:
                        then = sessions.enter_context(self._as_seen_by(database, snapshot))
                    except DatabaseClosed as error:
                        self._left_out[database.name] = error.message
                    else:
                        entered.append((database, then))
                for database, then in entered:
                    self._read_database(then, database)
                    then.close()
            if entered:
                self._why = ""  # only now: an incomplete list of tables would look complete
            elif self._left_out:
                told = "; ".join(f"{shown(name)}: {why}" for name, why in self._left_out.items())
                self._why = told[:_REASON]
        except (session.Error, NodeUnreachable) as error:
            self._why = f"{_UNREAD}: {str(error).partition(chr(10))[0]}"[:_REASON]
        finally:
            self._done.set()

    def _witnessed(self) -> list[tuple[Database, str]]:
        """Return the databases that have a snapshot, each with it. Note the others as left out, with the reason."""
        snapshots = dict(self._witness.snapshots)
        if not snapshots:
            return []
        found = {one.name: one for one in databases_of(self._node) if not one.is_pristine}
        for name, database in found.items():
            if name not in snapshots:
                is_open = database.kind is Kind.OPEN
                self._left_out[name] = (
                    "it could not be entered" if is_open else f"its kind is {database.kind}"
                )
        for name in snapshots.keys() - found.keys():
            self._left_out[name] = "it was dropped or renamed meanwhile"
        return [(found[name], snapshot) for name, snapshot in snapshots.items() if name in found]

    @contextmanager
    def _as_seen_by(self, database: Database, snapshot: str) -> Iterator[Connection]:
        with closing(self._connect(database, autocommit=False)) as then:
            then.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot)))
            yield then

    def _read_database(self, then: Connection, database: Database) -> None:
        with closing(self._connect(database, autocommit=True)) as now:
            with _locks_let_go(then):
                relations = [one for one in list_relations(then) if one.kind != "S"]
                partitioned = list_partitioned(then)
                files = list_files(then)
            for schema, name in partitioned:
                self._write({"t": "partitioned", "database": database.name, "schema": schema, "name": name})
            for relation in relations:
                line: TableLine = {
                    "t": "table",
                    "database": database.name,
                    "schema": relation.schema,
                    "name": relation.name,
                    "kind": relation.kind,
                    "relations": files.get(relation.oid, []),
                }
                try:
                    rows = self._rows(then, now, relation)
                    line |= {"rows": rows.count, "digest": rows.digest}
                except _LeftOut as reason:
                    line["left_out"] = str(reason)[:_REASON]
                except TableReplaced as reason:
                    line["left_out"] = reason.message[:_REASON]
                    self.replaced.append(f"{database}: {reason.message}")
                self._write(line)
            if {*then.execute(_LABELS).fetchall()} - {*now.execute(_LABELS).fetchall()}:
                self._relabelled.add(database.name)

    def _write(self, line: PartitionedLine | TableLine) -> None:
        self._spool.write(json.dumps(line).encode() + b"\n")

    def _connect(self, database: Database, *, autocommit: bool) -> Connection:
        return enter_as_reader(
            self._node,
            database,
            autocommit=autocommit,
            application_name="stillhouse fingerprints",
            settings=_SETTINGS
            | {"idle_in_transaction_session_timeout": f"{self._seconds + _SPARE_SECONDS:.0f}s"},
        )

    def _rows(self, then: Connection, now: Connection, relation: Relation) -> Rows:
        left = self._latest - time.monotonic()
        if not relation.is_populated:
            raise _LeftOut("it is not populated")
        if left <= 0 or self._stopping.is_set():
            raise _LeftOut(_NO_TIME)
        try:
            with _locks_let_go(then):
                then.execute(f"SET LOCAL statement_timeout = {max(1, round(left * 1000))}".encode())
                self._in_the_way, self._reading = False, then
                rows = read_rows(then, relation)
                self._reading = None
                if _shape(then, relation) != _shape(now, relation):
                    raise _LeftOut("it was dropped, rewritten or altered meanwhile")
        except session.Error as error:
            if then.closed:
                raise
            check_name(now, relation)
            raise _LeftOut(self._reason(error)) from error
        finally:
            self._reading = None
        return rows

    def _reason(self, error: session.Error) -> str:
        if self._in_the_way:
            return "another session waited for its lock"
        if time.monotonic() >= self._latest or self._stopping.is_set():
            return _NO_TIME
        return str(error).partition("\n")[0]

    def _watch(self) -> None:
        """Give way to any session that waits for a lock of the reader. Stop the reading if this watch fails."""
        try:
            if self._witness.snapshots:
                with closing(session.connect(self._node, MAINTENANCE, settings=_SETTINGS)) as connection:
                    while not self._done.wait(_WATCH_SECONDS):
                        self._give_way(connection)
        except (session.Error, NodeUnreachable):
            self._end()

    def _give_way(self, watching: Connection) -> None:
        reading = self._reading
        if reading is None:
            return
        ((is_waited_for,),) = watching.execute(_WAITED_FOR, [reading.info.backend_pid]).fetchall()
        if is_waited_for:
            self._in_the_way = True
            self._cancel()

    def _end(self) -> None:
        """Stop the reading, and return when it has stopped."""
        self._stopping.set()
        self._cancel()
        while not self._done.wait(_STOP_SECONDS):
            self._cancel()  # again: the first cancel may have come just before its statement began

    def _cancel(self) -> None:
        reading = self._reading
        if reading is not None:
            with suppress(session.Error):
                reading.cancel_safe()


@contextmanager
def _locks_let_go(connection: Connection) -> Iterator[None]:
    """Run the block in a sub-transaction and roll it back: its locks go, the snapshot stays."""
    connection.execute("SAVEPOINT before")
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute("ROLLBACK TO SAVEPOINT before; RELEASE SAVEPOINT before")


def _shape(connection: Connection, relation: Relation) -> list[tuple[object, ...]]:
    """Return the relation's shape as of the session's snapshot. It cannot change while the relation is locked."""
    return connection.execute(_SHAPE, [relation.oid]).fetchall()
