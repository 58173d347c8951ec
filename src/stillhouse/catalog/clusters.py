"""Clusters and their nodes. A deleted cluster's row stays: its kept snapshots still refer to it."""

from collections.abc import Sequence, Set
from dataclasses import asdict
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Row, Select, bindparam, delete, exists, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from stillhouse.catalog import operations
from stillhouse.catalog.schema.database import Transaction, sealer_of, violates
from stillhouse.catalog.schema.tables import cluster_name, clusters, nodes, snapshots
from stillhouse.catalog.schema.tables import operations as operation_rows
from stillhouse.domain.cluster import Cluster, ClusterStatus, Connection, Engine, Node, Provider, Role, Task
from stillhouse.domain.reports.failure import Failure
from stillhouse.domain.reports.operations import DONE, FAILED
from stillhouse.domain.snapshot import SnapshotStatus
from stillhouse.errors import ClusterUnknown, NameTaken


def insert_cluster(transaction: Transaction, cluster: Cluster) -> None:
    """Add the cluster's row. The operation that holds the cluster and its nodes have rows in other tables."""
    row = {
        "id": cluster.id,
        "project": cluster.project,
        "name": cluster.name,
        "engine": cluster.engine,
        "status": cluster.status,
        "number_of_node": cluster.number_of_node,
        "port": cluster.port,
        "user_name": cluster.user_name,
        "stopped": cluster.stopped,
        "failed_code": cluster.failed_code,
        "failed_reason": cluster.failed_reason,
        "facts": cluster.facts,
        "created": cluster.created,
        "updated": cluster.updated,
        "provider": cluster.provider,
        "deleted": cluster.updated if cluster.status is ClusterStatus.DELETED else None,
    }
    try:
        transaction.execute(insert(clusters), row)
    except IntegrityError as error:
        if violates(error, cluster_name):
            raise NameTaken(f"the project already has a cluster named {cluster.name}") from error
        raise


def find_cluster(transaction: Transaction, project: str, cluster_id: str) -> Cluster | None:
    """The project's cluster, unless it is deleted or another project's."""
    return _one(transaction, _one_visible(), {"of": project, "this": cluster_id})


def is_name_taken(transaction: Transaction, project: str, name: str) -> bool:
    """Whether the name is taken, for a check beforehand. An insert is checked by the unique index."""
    query = select(clusters.c.id).where(
        clusters.c.project == project,
        func.lower(clusters.c.name) == name.lower(),
        clusters.c.deleted.is_(None),
    )
    return transaction.execute(query).first() is not None


def read_cluster(transaction: Transaction, cluster_id: str) -> Cluster:
    """Any cluster, also a deleted one: for flows, and for the former cluster of a snapshot."""
    cluster = _one(transaction, _one_of_all(), {"this": cluster_id})
    if cluster is None:
        raise ClusterUnknown(f"cluster {cluster_id} is not in the catalog")
    return cluster


def list_clusters(transaction: Transaction, project: str) -> list[Cluster]:
    query = _with_task().where(clusters.c.project == project, clusters.c.deleted.is_(None))
    return _all(transaction, query.order_by(clusters.c.created.desc(), clusters.c.id))


def all_clusters(transaction: Transaction) -> list[Cluster]:
    """Every cluster of every project that is not deleted. A starting service looks after these."""
    query = _with_task().where(clusters.c.deleted.is_(None))
    return _all(transaction, query.order_by(clusters.c.created, clusters.c.id))


def known_ids(transaction: Transaction) -> set[str]:
    """Ids of all clusters, deleted ones as well."""
    return set(transaction.execute(select(clusters.c.id)).scalars())


def deleted_of(transaction: Transaction, ids: Set[str]) -> set[str]:
    """Those of these ids that are of deleted clusters."""
    query = select(clusters.c.id).where(clusters.c.id.in_(ids), clusters.c.deleted.is_not(None))
    return set(transaction.execute(query).scalars())


def with_snapshots(transaction: Transaction) -> set[str]:
    """Ids of the clusters, deleted ones as well, that have snapshots in any state."""
    return set(transaction.execute(select(snapshots.c.cluster_id).distinct()).scalars())


def in_need_of_keys(transaction: Transaction) -> list[str]:
    """Clusters that are captured, and deleted clusters that still have restorable snapshots."""
    has_snapshots = exists().where(
        snapshots.c.cluster_id == clusters.c.id, snapshots.c.status == SnapshotStatus.AVAILABLE
    )
    query = select(clusters.c.id).where(or_(clusters.c.deleted.is_(None), has_snapshots))
    return list(transaction.execute(query.order_by(clusters.c.id)).scalars())


def last_captured(transaction: Transaction) -> str | None:
    """The cluster of the newest restorable snapshot; it may be deleted."""
    query = select(snapshots.c.cluster_id).where(snapshots.c.status == SnapshotStatus.AVAILABLE)
    return transaction.execute(query.order_by(snapshots.c.started.desc()).limit(1)).scalar_one_or_none()


def lock_cluster(transaction: Transaction, cluster_id: str) -> None:
    """Let no other transaction change the cluster, or decide by its state, before this one ends.

    SQLite needs no row locks (and the dialect omits them): its writers run one at a time.
    """
    transaction.execute(select(clusters.c.id).where(clusters.c.id == cluster_id).with_for_update())


def save_nodes(transaction: Transaction, cluster_id: str, members: Sequence[Node]) -> None:
    """Make these, in this order, the cluster's nodes."""
    transaction.execute(delete(nodes).where(nodes.c.cluster_id == cluster_id))
    if members:
        rows = [
            {**_node_row(transaction, node), "cluster_id": cluster_id, "position": position}
            for position, node in enumerate(members)
        ]
        transaction.execute(insert(nodes), rows)


def set_lineage(transaction: Transaction, node_id: str, lineage: str) -> None:
    transaction.execute(update(nodes).where(nodes.c.id == node_id).values(lineage=lineage))


def set_status(transaction: Transaction, cluster_id: str, status: ClusterStatus, now: datetime) -> None:
    transaction.execute(
        update(clusters).where(clusters.c.id == cluster_id).values(status=status, updated=now)
    )


def set_stopped(transaction: Transaction, cluster_id: str, stopped: bool, now: datetime) -> None:
    transaction.execute(
        update(clusters).where(clusters.c.id == cluster_id).values(stopped=stopped, updated=now)
    )


def rename(transaction: Transaction, cluster_id: str, name: str, now: datetime) -> None:
    """Raises NameTaken if another cluster of its project has the name."""
    try:
        transaction.execute(
            update(clusters).where(clusters.c.id == cluster_id).values(name=name, updated=now)
        )
    except IntegrityError as error:
        if violates(error, cluster_name):
            raise NameTaken(f"the project already has a cluster named {name}") from error
        raise


def set_facts(transaction: Transaction, cluster_id: str, facts: dict[str, object], now: datetime) -> None:
    transaction.execute(update(clusters).where(clusters.c.id == cluster_id).values(facts=facts, updated=now))


def note_failure(transaction: Transaction, cluster_id: str, now: datetime, *, code: str, reason: str) -> None:
    """Record the cluster's last failure, for its `failed_reasons`. It is emptied by the next success."""
    transaction.execute(
        update(clusters)
        .where(clusters.c.id == cluster_id)
        .values(failed_code=code, failed_reason=reason, updated=now)
    )


def end_operation(
    transaction: Transaction,
    operation_id: str,
    now: datetime,
    status: ClusterStatus,
    *,
    failed_code: str = "",
    failure: Failure | None = None,
) -> bool:
    """Release the cluster and give it its next state at once; DELETED also frees its name.

    `failed_code` is the kind of operation that failed, `failure` says why.

    Returns False, with nothing changed, if the operation had ended before. A step that runs again must not touch the
    results of a later operation on the cluster.
    """
    outcome = FAILED if failure else DONE
    if not operations.end(transaction, operation_id, now, outcome, failure):
        return False
    cluster_id = select(operation_rows.c.cluster_id).where(operation_rows.c.id == operation_id)
    transaction.execute(
        update(clusters)
        .where(clusters.c.id == cluster_id.scalar_subquery())
        .values(
            status=status,
            failed_code=failed_code,
            failed_reason=failure.line if failure else "",
            updated=now,
            deleted=now if status is ClusterStatus.DELETED else None,
        )
    )
    return True


# Built once: flows run these all the time, and building them costs more than running them.


@cache
def _one_of_all() -> Select[Any]:
    return _with_task().where(clusters.c.id == bindparam("this"))


@cache
def _one_visible() -> Select[Any]:
    return _one_of_all().where(clusters.c.project == bindparam("of"), clusters.c.deleted.is_(None))


@cache
def _nodes() -> Select[Any]:
    return (
        select(nodes)
        .where(nodes.c.cluster_id.in_(bindparam("these", expanding=True)))
        .order_by(nodes.c.position)
    )


@cache
def _with_task() -> Select[Any]:
    """Clusters with the kind and progress of the operation that holds them."""
    held = (
        (operation_rows.c.cluster_id == clusters.c.id)
        & operation_rows.c.ended.is_(None)
        # A collection gives way to every other operation, so it is shown to no one as a task that holds the cluster.
        & (operation_rows.c.kind != Task.COLLECTING)
    )
    return select(clusters, operation_rows.c.kind.label("task"), operation_rows.c.progress).select_from(
        clusters.outerjoin(operation_rows, held)
    )


def _one(transaction: Transaction, query: Select[Any], given: dict[str, str]) -> Cluster | None:
    found = _all(transaction, query, given)
    return found[0] if found else None


def _all(transaction: Transaction, query: Select[Any], given: dict[str, str] | None = None) -> list[Cluster]:
    rows = transaction.execute(query, given).all()
    members = _nodes_of(transaction, [row.id for row in rows])
    return [_cluster(row, members.get(row.id, ())) for row in rows]


def _nodes_of(transaction: Transaction, cluster_ids: list[str]) -> dict[str, tuple[Node, ...]]:
    found: dict[str, tuple[Node, ...]] = {}
    for row in transaction.execute(_nodes(), {"these": cluster_ids}):
        found[row.cluster_id] = (*found.get(row.cluster_id, ()), _node(transaction, row))
    return found


def _cluster(row: Row[Any], members: tuple[Node, ...]) -> Cluster:
    return Cluster(
        id=row.id,
        project=row.project,
        name=row.name,
        engine=Engine(row.engine),
        status=ClusterStatus(row.status),
        number_of_node=row.number_of_node,
        port=row.port,
        user_name=row.user_name,
        created=row.created,
        updated=row.updated,
        nodes=members,
        task=None if row.task is None else Task(row.task),
        progress=row.progress or 0,
        stopped=row.stopped,
        failed_code=row.failed_code,
        failed_reason=row.failed_reason,
        facts=row.facts,
        provider=Provider(row.provider),
    )


def _node_row(transaction: Transaction, node: Node) -> dict[str, Any]:
    row = asdict(node)
    secret = row.pop("secret")
    return {
        **row,
        "sealed_secret": sealer_of(transaction).seal(secret, _secret_of(node.id)) if secret else "",
    }


def _node(transaction: Transaction, row: Row[Any]) -> Node:
    sealed = row.sealed_secret
    return Node(
        id=row.id,
        name=row.name,
        role=Role(row.role),
        host=row.host,
        port=row.port,
        directory=row.directory,
        socket=row.socket,
        lineage=row.lineage,
        os_user=row.os_user,
        secret=sealer_of(transaction).unseal(sealed, _secret_of(row.id)) if sealed else "",
        connection=_connection(row.connection),
    )


def _connection(document: dict[str, Any]) -> Connection | None:
    if not document:
        return None
    hosts = tuple((host, port) for host, port in document["hosts"])
    return Connection(**{**document, "hosts": hosts})


def _secret_of(node_id: str) -> str:
    return f"node {node_id}"
