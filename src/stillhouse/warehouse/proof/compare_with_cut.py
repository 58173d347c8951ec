"""The comparison of a clone with the fingerprints that were taken of its source at the cut."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any, TypeVar

from stillhouse.domain.cluster import Node
from stillhouse.errors import DatabaseClosed, NodeUnreachable, ProofFailed, TableReplaced, shown
from stillhouse.postgres.files.corruption import first_line, tells_of_bad_data
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.databases import Database, Kind, databases_of, reopened
from stillhouse.postgres.sessions.reading import enter_as_reader
from stillhouse.postgres.sessions.session import Connection
from stillhouse.warehouse.proof.tables import SETTINGS, Relation, count_rows, list_relations, read_rows

# A line of a manifest: docs/format.md, section 5.
TableLine = Mapping[str, Any]

Read = TypeVar("Read")


@dataclass
class Compared:
    """The result of a comparison.

    `findings` are differences, `left_out` the tables without a fingerprint and why, `unchecked` the things that could
    not be compared though they should have been. `tables` with `rows` were compared, out of all that the clone has.
    """

    findings: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    tables: int = 0
    tables_total: int = 0
    rows: int = 0
    rows_total: int = 0

    @property
    def is_of_nothing(self) -> bool:
        """Whether no table was compared, or not one of the existing rows."""
        return self.tables == 0 or (self.rows == 0 and self.rows_total > 0)


def compare_at_cut(
    node: Node, databases: Iterable[str], tables: Iterable[TableLine], go_on: Callable[[], None]
) -> Compared:
    """Compare the clone with its fingerprints.

    `tables` come database by database, only for `databases`. `go_on` is called before each table is read. Tables
    without a fingerprint are counted, so that the compared share is known. Raises NodeUnreachable or ProofFailed when
    the server ends meanwhile.
    """
    compared = Compared()
    with session.refusing_as(ProofFailed, node):
        there = {database.name: database for database in databases_of(node) if not database.is_pristine}
        without_table = dict.fromkeys(databases)
        for name, lines in groupby(tables, lambda line: str(line["database"])):
            without_table.pop(name, None)
            _Database(node, name, there.pop(name, None), compared, go_on).compare(lines)
        for name in without_table:
            _Database(node, name, there.pop(name, None), compared, go_on).compare(())
        for name, database in there.items():
            _Database(node, name, database, compared, go_on).count()
    return compared


class _Database:
    """One database of the clone. A table that cannot be read is a finding against the snapshot, or leaves a gap."""

    def __init__(
        self,
        node: Node,
        name: str,
        database: Database | None,
        compared: Compared,
        go_on: Callable[[], None],
    ) -> None:
        self._node, self._database, self._compared, self._go_on = node, database, compared, go_on
        self._where = f"{node.name}: {shown(name)}"

    def compare(self, lines: Iterable[TableLine]) -> None:
        expected = {(line["schema"], line["name"]): line for line in lines}
        if self._database is None:
            self._compared.findings.append(f"{self._where} is missing")
            return
        with self._entered(self._database) as connection:
            if connection is None or (relations := self._relations(connection)) is None:
                return
            for relation in relations:
                self._go_on()
                line = expected.pop((relation.schema, relation.name), None)
                self._compare_table(connection, relation, line)
        for schema, name in sorted(expected):
            self._compared.findings.append(f"{self._where}: {shown(f'{schema}.{name}')} is missing")

    def count(self) -> None:
        """Count the rows of a database that has no fingerprints at all.

        Each database has the two tables of large objects: where these are empty, nothing is left out.
        """
        assert self._database is not None, "it was found in the clone"
        if self._database.kind is Kind.INVALID:
            self._compared.left_out.append(f"{self._where} is half dropped: it cannot be entered")
            return
        with self._entered(self._database) as connection:
            for relation in (connection and self._relations(connection)) or ():
                assert connection is not None
                self._go_on()
                if self._count(connection, relation) or relation.schema != "pg_catalog":
                    self._compared.tables_total += 1
                    what = f"{self._where}: {relation}"
                    self._compared.left_out.append(f"{what}: its database has no fingerprints")

    def _compare_table(self, connection: Connection, relation: Relation, line: TableLine | None) -> None:
        compared, what = self._compared, f"{self._where}: {relation}"
        compared.tables_total += 1
        if line is None:
            compared.findings.append(f"{what} was not there")
        elif "left_out" in line:
            compared.left_out.append(f"{what}: {line['left_out']}")
            self._count(connection, relation)
        elif not relation.is_populated:
            compared.findings.append(f"{what} holds no rows any more")
        else:
            rows = self._read(connection, what, partial(read_rows, connection, relation))
            if rows is not None:
                compared.tables += 1
                compared.rows += rows.count
                compared.rows_total += rows.count
                compared.findings += _differences(what, line, rows.count, rows.digest)

    @contextmanager
    def _entered(self, database: Database) -> Iterator[Connection | None]:
        """A session, or None where the database cannot be entered.

        A closed one is opened meanwhile: the clone is in quarantine.
        """
        with ExitStack() as stack:
            try:
                opened = stack.enter_context(reopened(self._node, database))
                connection = enter_as_reader(
                    self._node,
                    opened,
                    autocommit=False,
                    application_name="stillhouse proof",
                    settings=SETTINGS,
                )
            except (NodeUnreachable, DatabaseClosed) as error:
                self._compared.unchecked.append(f"{self._where}: {error.message}")
                yield None
                return
            yield stack.enter_context(closing(connection))

    def _relations(self, connection: Connection) -> list[Relation] | None:
        found = self._read(connection, f"{self._where}: its catalog", partial(list_relations, connection))
        return None if found is None else [relation for relation in found if relation.kind != "S"]

    def _count(self, connection: Connection, relation: Relation) -> int:
        """Count the rows of a table that has no fingerprint."""
        if not relation.is_populated:
            return 0
        what = f"{self._where}: {relation}"
        count = self._read(connection, what, partial(count_rows, connection, relation)) or 0
        self._compared.rows_total += count
        return count

    def _read(self, connection: Connection, what: str, read: Callable[[], Read]) -> Read | None:
        try:
            with connection.transaction():
                return read()
        except TableReplaced as error:
            self._compared.unchecked.append(f"{what} cannot be read: {error.message}")
            return None
        except session.Error as error:
            if connection.closed:
                raise
            told = self._compared.findings if tells_of_bad_data(error) else self._compared.unchecked
            told.append(f"{what} cannot be read: {first_line(error)}")
            return None


def _differences(what: str, line: TableLine, count: int, digest: str) -> Iterator[str]:
    if count != line["rows"]:
        yield f"{what} has {count} rows, not {line['rows']}"
    elif digest != line["digest"]:
        yield f"{what} holds other rows"
