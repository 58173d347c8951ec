"""The proof that a clone equals its source: every row, every sequence, every definition.

Three things are not read. Rows of foreign tables are proved on the data node where they lie. Recovery empties unlogged
tables by definition; their definitions are compared. Databases that cannot be entered are compared by name.
Fingerprints are taken while no one writes, or they show different moments.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from stillhouse.domain.cluster import Node
from stillhouse.errors import ProofFailed
from stillhouse.postgres.host.binaries import Binaries
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.databases import Database, databases_of
from stillhouse.postgres.sessions.reading import enter_as_reader, only
from stillhouse.postgres.sessions.session import Connection, sql
from stillhouse.warehouse.proof.tables import SETTINGS, Relation, Rows, list_relations, read_rows
from support.proof import definitions as proof_definitions
from support.proof.definitions import Definitions

_SEQUENCE = """
    SELECT s.last_value, s.is_called, s.log_cnt, p.seqincrement
      FROM {} s, pg_sequence p WHERE p.seqrelid = s.tableoid
"""


@dataclass(frozen=True)
class Position:
    """The state of a sequence. The WAL already counts `logged` more values as spent (commands/sequence.c)."""

    value: int
    called: bool
    logged: int
    increment: int

    def may_be_recovered_as(self, other: "Position") -> bool:
        """Whether recovery of this one gives `other`: the same, or with all values skipped that were logged ahead."""
        return (other.value, other.called) in (
            (self.value, self.called),
            (self.value + self.logged * self.increment, True),
        )


@dataclass(frozen=True)
class DatabaseFingerprint:
    rows: Mapping[str, Rows]
    sequences: Mapping[str, Position]
    # May hold passwords of user mappings and subscriptions.
    definitions: Definitions = field(repr=False)


@dataclass(frozen=True)
class NodeFingerprint:
    """`definitions` are the roles' and tablespaces', `closed` the databases that cannot be entered."""

    node: str
    databases: Mapping[str, DatabaseFingerprint]
    closed: frozenset[str]
    definitions: Definitions = field(repr=False)


@dataclass(frozen=True)
class Difference:
    node: str
    what: str

    def __str__(self) -> str:
        return f"{self.node}: {self.what}"


def fingerprint(node: Node, binaries: Binaries, cluster: Sequence[Node]) -> NodeFingerprint:
    """Read all of a node, each database in one snapshot. `cluster` are all nodes it may be wired to."""
    with session.refusing_as(ProofFailed, node):
        found = databases_of(node)
        databases = {one.name: _read_database(node, one, binaries, cluster) for one in found if one.is_open}
    closed = frozenset(one.name for one in found if not one.is_open)
    return NodeFingerprint(
        node.name, databases, closed, proof_definitions.of_roles_and_tablespaces(node, binaries)
    )


def fingerprint_cluster(nodes: Sequence[Node], binaries: Binaries) -> list[NodeFingerprint]:
    return [fingerprint(node, binaries, nodes) for node in nodes]


def compare(source: Sequence[NodeFingerprint], restored: Sequence[NodeFingerprint]) -> list[Difference]:
    """Every difference, with its name; empty means that the clone equals its source."""
    clones = {clone.node: clone for clone in restored}
    found = [
        Difference(home.node, what)
        for home in source
        if home.node in clones
        for what in _differences(home, clones[home.node])
    ]
    names = {home.node for home in source}
    found += [Difference(name, "the node is missing") for name in sorted(names - clones.keys())]
    found += [Difference(name, "the node was not there") for name in sorted(clones.keys() - names)]
    return found


def _read_database(
    node: Node, database: Database, binaries: Binaries, cluster: Sequence[Node]
) -> DatabaseFingerprint:
    rows: dict[str, Rows] = {}
    sequences: dict[str, Position] = {}
    with closing(
        enter_as_reader(
            node, database, autocommit=False, application_name="stillhouse proof", settings=SETTINGS
        )
    ) as connection:
        ((snapshot,),) = connection.execute("SELECT pg_export_snapshot()").fetchall()
        for relation in list_relations(connection):
            with connection.transaction(force_rollback=True):  # its lock goes, the snapshot stays
                if relation.has_rows:
                    rows[str(relation)] = read_rows(connection, relation)
                elif relation.kind == "S":
                    sequences[str(relation)] = _read_position(connection, relation)
        definitions = proof_definitions.of_database(node, database.name, snapshot, binaries, cluster)
    return DatabaseFingerprint(rows, sequences, definitions)


def _read_position(connection: Connection, sequence: Relation) -> Position:
    query = sql.SQL(_SEQUENCE).format(sequence.identifier)
    with only(connection, sequence):
        ((value, called, logged, increment),) = connection.execute(query).fetchall()
    return Position(value, called, logged, increment)


def _differences(source: NodeFingerprint, restored: NodeFingerprint) -> Iterator[str]:
    yield from proof_definitions.differences(source.definitions, restored.definitions)
    yield from _absences("database", source.databases, restored.databases)
    yield from _absences("closed database", source.closed, restored.closed)
    for name, database in source.databases.items():
        if name in restored.databases:
            for what in _database_differences(database, restored.databases[name]):
                yield f"{name}: {what}"


def _database_differences(source: DatabaseFingerprint, restored: DatabaseFingerprint) -> Iterator[str]:
    yield from proof_definitions.differences(source.definitions, restored.definitions)
    yield from _absences("rows of", source.rows, restored.rows)
    for name, then in source.rows.items():
        now = restored.rows.get(name, then)
        if now.count != then.count:
            yield f"{name} has {now.count} rows, not {then.count}"
        elif now != then:
            yield f"{name} holds other rows"
    yield from _absences("position of", source.sequences, restored.sequences)
    for name, stood in source.sequences.items():
        stands = restored.sequences.get(name, stood)
        if not stood.may_be_recovered_as(stands):
            yield f"sequence {name} stands at {stands.value}, not {stood.value}"


def _absences(
    kind: str,
    source: Mapping[str, object] | frozenset[str],
    restored: Mapping[str, object] | frozenset[str],
) -> Iterator[str]:
    yield from (f"{kind} {name}: missing" for name in source if name not in restored)
    yield from (f"{kind} {name}: was not there" for name in restored if name not in source)
