"""Clusters of servers that are somebody's: registered, and given other passwords and addresses."""

import hashlib
import uuid
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from stillhouse import atomic_file
from stillhouse.catalog import clusters
from stillhouse.control import quotas
from stillhouse.control.audit import audited
from stillhouse.control.catalog_context import CatalogContext
from stillhouse.control.clusters.check_ups import examine, keep, registered_cluster
from stillhouse.control.lookup import known_cluster
from stillhouse.control.schedule.snapshot_policies import add_default_policies
from stillhouse.domain import names
from stillhouse.domain.cluster import Cluster, ClusterStatus, Connection, Engine, Node, Provider, Role
from stillhouse.domain.ids import new_hex, new_uuid
from stillhouse.domain.registered import registration
from stillhouse.domain.registered.check_up import Finding, musts
from stillhouse.domain.registered.registration import Registration, WantedNode
from stillhouse.errors import InvalidInput, StateForbids, StillhouseError
from stillhouse.postgres.host.capture_checks import identify
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.databases import MAINTENANCE
from stillhouse.postgres.wal import lineage
from stillhouse.warehouse.gate.check_up import find_data_nodes

_AUTHORITIES = "authorities"


def register_cluster(context: CatalogContext, project: str, wanted: Registration) -> str:
    """Register servers as a cluster, if they pass the check-up. Returns the cluster's id.

    Raises StateForbids, with everything that must be mended. The servers are asked outside of a transaction, which on
    SQLite holds up all other writers.
    """
    cluster_id = new_uuid()
    nodes, findings, refusal = _admit(context, wanted, cluster_id)
    with audited(context, project, "RegisterCluster", f"cluster/{cluster_id}") as transaction:
        if refusal is not None:
            raise refusal
        now = context.clock.now()
        cluster = Cluster(
            id=cluster_id,
            project=project,
            name=wanted.name,
            engine=wanted.engine,
            status=ClusterStatus.AVAILABLE,
            number_of_node=max(1, len(wanted.data_nodes)),
            port=nodes[0].port,
            user_name=wanted.coordinator.role,
            created=now,
            updated=now,
            provider=Provider.REGISTERED,
        )
        quotas.check(transaction, context.settings, project, quotas.Wanted(cluster.number_of_node), 0)
        clusters.insert_cluster(transaction, cluster)
        clusters.save_nodes(transaction, cluster_id, nodes)
        keep(transaction, cluster_id, now, findings)
        if context.settings.default_policies:
            add_default_policies(transaction, cluster_id, now)
    return cluster_id


def change_connections(context: CatalogContext, project: str, cluster_id: str, wanted: Registration) -> None:
    """Give a registered cluster other addresses, roles, passwords or certificates. Its servers stay the same ones.

    `wanted.name` is ignored. Raises StateForbids if other servers answer, or with everything that must be mended.
    """
    refusal: StillhouseError | None = None
    nodes: Sequence[Node] = ()
    findings: list[Finding] = []
    try:
        cluster = registered_cluster(context, project, cluster_id)
        if (wanted.engine, len(wanted.nodes)) != (cluster.engine, len(cluster.nodes)):
            raise InvalidInput(
                f"the cluster has the engine {cluster.engine} and {len(cluster.nodes)} servers"
            )
        nodes = [
            _like(known, new)
            for known, new in zip(
                cluster.nodes, _nodes(context.settings.data / _AUTHORITIES, wanted, cluster_id), strict=True
            )
        ]
        findings = examine(cluster.engine, nodes)
        _refuse_unfit(findings)
    except StillhouseError as error:
        refusal = error
    with audited(context, project, "ChangeConnections", f"cluster/{cluster_id}") as transaction:
        if refusal is not None:
            raise refusal
        now = context.clock.now()
        known_cluster(transaction, project, cluster_id)
        clusters.save_nodes(transaction, cluster_id, nodes)
        keep(transaction, cluster_id, now, findings)


def cluster_ids(context: CatalogContext, project: str) -> dict[str, str]:
    """Return the ids of the project's clusters by their names."""
    with context.database.reading() as reading:
        return {cluster.name: cluster.id for cluster in clusters.list_clusters(reading, project)}


def propose(wanted: WantedNode, name: str) -> dict[str, object]:
    """Return the document that registers a coordinator with the data nodes that its foreign servers lead to."""
    node = _node(None, wanted, new_uuid(), "cn", Role.CN)
    return registration.proposed(name, wanted, find_data_nodes(node))


def check_up_servers(context: CatalogContext, project: str, wanted: Registration) -> list[Finding]:
    """Check servers for a caller before their registration; nothing is changed. Raises InvalidInput."""
    with audited(context, project, "CheckServers", registration.written(wanted.coordinator.hosts[0])):
        pass  # the caller makes the service connect to a host, and that is recorded
    return examine(wanted.engine, _nodes(context.settings.data / _AUTHORITIES, wanted, new_uuid()))


def examine_servers(wanted: Registration) -> list[Finding]:
    """Check servers without a service. Raises InvalidInput."""
    return examine(wanted.engine, _nodes(None, wanted, new_uuid()))


def _admit(
    context: CatalogContext, wanted: Registration, cluster_id: str
) -> tuple[list[Node], list[Finding], StillhouseError | None]:
    """Return the nodes, ready for their first snapshot, and the findings, or the error that refuses them."""
    nodes: list[Node] = []
    findings: list[Finding] = []
    try:
        names.check_cluster_name(wanted.name)
        nodes = _nodes(context.settings.data / _AUTHORITIES, wanted, cluster_id)
        if wanted.engine is Engine.FDW and not wanted.data_nodes:
            raise _without_data_nodes(nodes[0])
        findings = examine(wanted.engine, nodes)
        _refuse_unfit(findings)
        nodes = [_identified(node) for node in nodes]
        for node in nodes:
            _prepare(node)
    except StillhouseError as error:
        return nodes, findings, error
    return nodes, findings, None


def _without_data_nodes(coordinator: Node) -> StillhouseError:
    found = find_data_nodes(coordinator)
    if not found:
        return StateForbids(
            "the coordinator has no foreign server of postgres_fdw in any database",
            hint="its engine is single",
        )
    flags = " ".join(f"--data-node {','.join(map(registration.written, one))}" for one in found)
    return InvalidInput("a coordinator has data nodes", hint=f"its foreign servers lead to: {flags}")


def _nodes(authorities: Path | None, wanted: Registration, cluster_id: str) -> list[Node]:
    """Return the nodes as they are wanted. Certificates that were sent are kept in the directory `authorities`."""
    return [
        _node(authorities, one, cluster_id, f"dn{number}" if number else "cn", Role.DN if number else Role.CN)
        for number, one in enumerate(wanted.nodes)
    ]


def _node(authorities: Path | None, wanted: WantedNode, cluster_id: str, name: str, role: Role) -> Node:
    for file in (wanted.password_file, wanted.pgpass_file, wanted.ca_file):
        if file and not Path(file).is_file():
            raise InvalidInput(f"{file} is not a file")
    ca_file = _resolved(wanted.ca_file)
    if wanted.ca_certificate and authorities is not None:
        ca_file = _keep_authority(authorities, wanted.ca_certificate)
    host, port = (wanted.known_as or wanted.hosts)[0]
    return Node(
        id=str(uuid.uuid5(uuid.UUID(cluster_id), name)),
        name=name,
        role=role,
        host=host,
        port=port,
        directory="",
        socket="",
        lineage=new_hex(),
        secret=wanted.password,
        connection=Connection(
            wanted.hosts,
            wanted.role,
            password_file=_resolved(wanted.password_file),
            pgpass_file=_resolved(wanted.pgpass_file),
            tls=wanted.tls,
            ca_file=ca_file,
        ),
    )


def _resolved(file: str) -> str:
    return str(Path(file).resolve()) if file else ""


def _keep_authority(directory: Path, certificate: str) -> str:
    """Keep a certificate in a file, which libpq reads, under a name that its content gives it."""
    if "-----BEGIN CERTIFICATE-----" not in certificate:
        raise InvalidInput("ca_certificate is a PEM text of certificates")
    content = certificate.encode(errors="replace")
    directory.mkdir(mode=0o700, exist_ok=True)
    path = directory / f"{hashlib.sha256(content).hexdigest()}.pem"
    atomic_file.replace(path, content)
    return str(path.resolve())


def _like(known: Node, new: Node) -> Node:
    """Return the new connection to a known server."""
    assert known.connection is not None
    assert new.connection is not None
    same = replace(new.connection, system_identifier=known.connection.system_identifier)
    return replace(new, id=known.id, lineage=known.lineage, connection=same)


def _identified(node: Node) -> Node:
    assert node.connection is not None
    return replace(node, connection=replace(node.connection, system_identifier=identify(node)))


def _refuse_unfit(findings: Sequence[Finding]) -> None:
    if found := musts(findings):
        told = "; ".join(f"{finding.node}: {finding.message}" for finding in found)
        mends = "; ".join(finding.mend for finding in found if finding.mend)
        what = "server" if len({finding.node for finding in findings}) < 2 else "cluster"
        raise StateForbids(f"the {what} cannot be captured: {told}", hint=mends)


def _prepare(node: Node) -> None:
    """Make the place of the mark that later snapshots build on, if the role may make it."""
    with closing(session.connect(node, MAINTENANCE, application_name="stillhouse clusters")) as connection:
        lineage.prepare_if_allowed(connection)
