"""Clusters of servers that are somebody's: registered, and checked up."""

import uuid
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from stillhouse.catalog import clusters
from stillhouse.control import quotas
from stillhouse.control.audit import audited
from stillhouse.control.context import Control
from stillhouse.control.lookup import known_cluster
from stillhouse.control.schedule.snapshot_policies import add_default_policies
from stillhouse.domain import names
from stillhouse.domain.cluster import Cluster, ClusterStatus, Connection, Engine, Node, Provider, Role
from stillhouse.domain.ids import new_hex, new_uuid
from stillhouse.errors import InvalidInput, StateForbids, StillhouseError
from stillhouse.postgres.host.check_up import Finding, Weight, check_up
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.databases import MAINTENANCE
from stillhouse.postgres.wal import lineage


@dataclass(frozen=True)
class Registration:
    """A single server to be registered. `hosts` are as in a connection. The password is the first line of
    `password_file`, which is read at each login, or else `password`, which is kept sealed.
    """

    name: str
    hosts: tuple[tuple[str, int], ...]
    role: str
    password: str = field(default="", repr=False)
    password_file: Path | None = None
    tls: str = "verify-full"
    ca_file: Path | None = None


def register_cluster(control: Control, project: str, wanted: Registration) -> str:
    """Register a server as a cluster, if it passes the check-up. Returns the cluster's id.

    Raises StateForbids, with everything that must be mended.
    """
    cluster_id = new_uuid()
    node, refusal = _examine(wanted, cluster_id)
    with audited(control, project, "RegisterCluster", f"cluster/{cluster_id}") as transaction:
        if refusal is not None:
            raise refusal
        now = control.clock.now()
        cluster = Cluster(
            id=cluster_id,
            project=project,
            name=wanted.name,
            engine=Engine.SINGLE,
            status=ClusterStatus.AVAILABLE,
            number_of_node=1,
            port=node.port,
            user_name=wanted.role,
            created=now,
            updated=now,
            provider=Provider.REGISTERED,
        )
        quotas.check(transaction, control.settings, project, quotas.Wanted(1), 0)
        clusters.insert_cluster(transaction, cluster)
        clusters.save_nodes(transaction, cluster_id, [node])
        if control.settings.default_policies:
            add_default_policies(transaction, cluster_id, now)
    return cluster_id


def check_up_cluster(control: Control, project: str, cluster_id: str) -> list[Finding]:
    """Check a registered cluster's servers as at its registration; nothing is changed."""
    with control.database.reading() as reading:
        cluster = known_cluster(reading, project, cluster_id)
    if cluster.provider is not Provider.REGISTERED:
        raise StateForbids(
            f"cluster {cluster.id} is {cluster.provider}: Stillhouse has made its servers as it needs them"
        )
    return [finding for node in cluster.nodes for finding in check_up(node)]


def check_up_server(wanted: Registration) -> list[Finding]:
    """Check a server before its registration; nothing is changed. Raises InvalidInput."""
    return check_up(_node(wanted, new_uuid()))


def _examine(wanted: Registration, cluster_id: str) -> tuple[Node, StillhouseError | None]:
    """Return the node, ready for its first snapshot, or with the error that refuses it.

    The server is asked outside of a transaction, which on SQLite holds up all other writers.
    """
    node = _node(wanted, cluster_id)
    try:
        names.check_cluster_name(wanted.name)
        _refuse_unfit(check_up(node))
        _prepare(node)
    except StillhouseError as error:
        return node, error
    return node, None


def _node(wanted: Registration, cluster_id: str) -> Node:
    names.check_connection(wanted.hosts, wanted.role, wanted.tls)
    for file in (wanted.password_file, wanted.ca_file):
        if file is not None and not file.is_file():
            raise InvalidInput(f"{file} is not a file")
    host, port = wanted.hosts[0]
    return Node(
        id=str(uuid.uuid5(uuid.UUID(cluster_id), "cn")),
        name="cn",
        role=Role.CN,
        host=host,
        port=port,
        directory="",
        socket="",
        lineage=new_hex(),
        secret="" if wanted.password_file else wanted.password,
        connection=Connection(
            wanted.hosts,
            wanted.role,
            str(wanted.password_file.resolve()) if wanted.password_file else "",
            wanted.tls,
            str(wanted.ca_file.resolve()) if wanted.ca_file else "",
        ),
    )


def _refuse_unfit(findings: list[Finding]) -> None:
    musts = [finding for finding in findings if finding.weight is Weight.MUST]
    if musts:
        told = "; ".join(f"{finding.node}: {finding.message}" for finding in musts)
        mends = "; ".join(finding.mend for finding in musts if finding.mend)
        raise StateForbids(f"the server cannot be captured: {told}", hint=mends)


def _prepare(node: Node) -> None:
    """Make the place of the mark that later snapshots build on, if the role may make it."""
    with closing(session.connect(node, MAINTENANCE, application_name="stillhouse clusters")) as connection:
        lineage.prepare_if_allowed(connection)
