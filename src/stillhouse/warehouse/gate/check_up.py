"""The check-up of a coordinator that is somebody's: which data nodes it leads to, and whether its gate can be shut."""

from collections.abc import Iterator, Sequence
from contextlib import closing, suppress

from stillhouse.domain.cluster import Node
from stillhouse.domain.registered.check_up import Finding, Weight
from stillhouse.domain.registered.registration import written
from stillhouse.errors import CaptureFailed, DatabaseClosed, NodeUnreachable
from stillhouse.postgres.sessions import session, sql
from stillhouse.postgres.sessions.databases import MAINTENANCE, Database, databases_of, enter
from stillhouse.postgres.sessions.event_triggers import fired_by_our_locks
from stillhouse.postgres.sessions.grants import GATE_RIGHTS, gate_role, missing, statement
from stillhouse.postgres.sessions.session import Connection
from stillhouse.warehouse.gate.coordinator_catalog import (
    Address,
    NotOurs,
    Server,
    Wiring,
    fdw_servers,
    not_ours_to_lock,
    read_wiring,
)

_NAMED = 10  # tables in a finding


def find_data_nodes(coordinator: Node) -> list[tuple[Address, ...]]:
    """Find the data nodes: the addresses in each foreign server of postgres_fdw, in every database, without repetition.

    Raises NodeUnreachable.
    """
    found: list[tuple[Address, ...]] = []
    with session.refusing_as(CaptureFailed, coordinator):
        for database in databases_of(coordinator):
            with suppress(DatabaseClosed), _asking(coordinator, database) as connection:
                for server in fdw_servers(connection):
                    given = tuple(sorted(server.addresses))
                    if given and not any(server.addresses & {*known} for known in found):
                        found.append(given)
    return found


def check_up_gate(coordinator: Node, data_nodes: Sequence[Node]) -> list[Finding]:
    """Look at everything that the gate needs of the coordinator. Nothing is changed there."""
    try:
        with session.refusing_as(CaptureFailed, coordinator):
            return [*_findings(coordinator, data_nodes)]
    except (NodeUnreachable, CaptureFailed) as error:
        return [Finding(coordinator.name, Weight.MUST, "gate", error.message, error.hint)]


def _findings(coordinator: Node, data_nodes: Sequence[Node]) -> Iterator[Finding]:
    with closing(
        session.connect(coordinator, MAINTENANCE, application_name="stillhouse check-up")
    ) as connection:
        role = connection.info.user
        lacks = [*missing(connection, GATE_RIGHTS)]
    for right in lacks:
        yield Finding(
            coordinator.name,
            Weight.MUST,
            "rights",
            f"the role lacks {right.name}: {right.why}",
            f"{statement(right.grant, role)};",
        )
    if lacks:
        return
    servers: list[Server] = []
    gated = 0
    for database in databases_of(coordinator):
        if not database.is_open:
            continue
        try:
            with _asking(coordinator, database) as connection:
                servers += fdw_servers(connection)
                wiring = read_wiring(connection, data_nodes)
                gated += len(wiring.tables)
                yield from _of_tables(coordinator, database, connection, wiring)
        except DatabaseClosed as error:
            mend = (
                f"GRANT CONNECT ON DATABASE {sql.Identifier(database.name).as_string()} TO {_quoted(role)};"
            )
            message = f"{error.message}: a snapshot waits until no session works in it"
            yield Finding(coordinator.name, Weight.SHOULD, "gate", message, mend)
    yield from _of_wiring(coordinator, data_nodes, servers)
    yield Finding(
        coordinator.name,
        Weight.GOOD,
        "gate",
        f"it locks {gated} distributed tables for a moment of each snapshot",
    )


def _of_tables(
    coordinator: Node, database: Database, connection: Connection, wiring: Wiring
) -> Iterator[Finding]:
    def must(message: str, mend: str) -> Finding:
        return Finding(coordinator.name, Weight.MUST, "gate", f"in database {database} {message}", mend)

    found = not_ours_to_lock(connection, wiring.tables)
    role = _quoted(connection.info.user)
    if rooted := [table for table in found if not table.lone]:
        mend = f"GRANT {gate_role(connection.info.server_version)} TO {role};"
        yield must(f"the role may not lock the distributed tables {_names(rooted)}", mend)
    if lone := [table for table in found if table.lone]:
        owners = sorted({table.owner for table in lone})
        mend = " ".join(f"GRANT {_quoted(owner)} TO {role};" for owner in owners)
        yield must(
            f"the foreign tables {_names(lone)} are nobody's partitions, and only their owners may lock them",
            mend,
        )
    if any(table.foreign for table in wiring.tables) and (triggers := fired_by_our_locks(connection)):
        yield must(
            f"the event triggers {', '.join(triggers)} would run with the role's rights when foreign tables are locked",
            " ".join(f"ALTER EVENT TRIGGER {_quoted(name)} DISABLE;" for name in triggers),
        )


def _of_wiring(coordinator: Node, data_nodes: Sequence[Node], servers: Sequence[Server]) -> Iterator[Finding]:
    known = {address for server in servers for address in server.addresses}
    for node in data_nodes:
        if not node.addresses & known:
            told = ", ".join(written(address) for address in sorted(node.addresses))
            yield Finding(
                node.name,
                Weight.MUST,
                "gate",
                f"no foreign server of the coordinator leads to {told}: is it a node of this cluster?",
                "give the address that the foreign server has, as known_as in the YAML file",
            )
    every = frozenset[Address]().union(*(node.addresses for node in data_nodes))
    strangers = {server.name: server for server in servers if not server.addresses & every}
    for name, server in sorted(strangers.items()):
        told = ", ".join(written(address) for address in sorted(server.addresses)) or "no address"
        yield Finding(
            coordinator.name,
            Weight.SHOULD,
            "gate",
            f"foreign server {name} leads to {told}, which is no node of this cluster: what is written there is in no"
            " snapshot",
            "add it as a data node, if it is one",
        )


def _asking(node: Node, database: Database) -> closing[Connection]:
    return closing(enter(node, database, application_name="stillhouse check-up"))


def _names(tables: Sequence[NotOurs]) -> str:
    more = f" and {len(tables) - _NAMED} more" if len(tables) > _NAMED else ""
    return ", ".join(table.name for table in tables[:_NAMED]) + more


def _quoted(name: str) -> str:
    return sql.Identifier(name).as_string()
