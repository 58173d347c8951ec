"""The operation that holds a cluster. A unique index, not a check, allows at most one at a time.

Its row stays when it has ended: the API shows it as a job.
"""

from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Row, Update, bindparam, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from stillhouse.catalog.schema.database import Transaction, violates
from stillhouse.catalog.schema.tables import clusters, one_active_operation, operations
from stillhouse.domain.cluster import Task
from stillhouse.domain.ids import new_uuid
from stillhouse.domain.reports.failure import Failure
from stillhouse.domain.reports.operations import DONE, FAILED, YIELDED, Operation
from stillhouse.errors import ClusterBusy


def begin(
    transaction: Transaction,
    cluster_id: str,
    kind: Task,
    subject_id: str,
    now: datetime,
    detail: dict[str, Any] | None = None,
) -> str:
    """Take the cluster, or raise ClusterBusy. A collection gives way to any other operation, at once."""
    if kind is not Task.COLLECTING:
        transaction.execute(
            update(operations)
            .where(
                operations.c.cluster_id == cluster_id,
                operations.c.kind == Task.COLLECTING,
                operations.c.ended.is_(None),
            )
            .values(ended=now, outcome=YIELDED)
        )
    operation_id = new_uuid()
    row = {
        "id": operation_id,
        "cluster_id": cluster_id,
        "kind": kind,
        "subject_id": subject_id,
        "detail": detail,
        "progress": 0,
        "started": now,
        "outcome": "",
    }
    try:
        transaction.execute(insert(operations), row)
    except IntegrityError as error:
        if violates(error, one_active_operation):
            raise ClusterBusy(f"another operation runs on cluster {cluster_id}") from error
        raise
    return operation_id


def note_done(transaction: Transaction, cluster_id: str, kind: Task, now: datetime) -> str:
    """Add an operation that took no time and held nothing, since clients ask for the job of a change. Its id."""
    operation_id = new_uuid()
    row = {
        "id": operation_id,
        "cluster_id": cluster_id,
        "kind": kind,
        "subject_id": cluster_id,
        "detail": None,
        "progress": 100,
        "started": now,
        "ended": now,
        "outcome": DONE,
    }
    transaction.execute(insert(operations), row)
    return operation_id


def active(transaction: Transaction, cluster_id: str) -> Operation | None:
    query = select(operations).where(operations.c.cluster_id == cluster_id, operations.c.ended.is_(None))
    row = transaction.execute(query).one_or_none()
    return None if row is None else _operation(row)


def all_active(transaction: Transaction, kind: Task) -> list[Operation]:
    """Those of one kind on all clusters, in the order of the clusters' ids."""
    query = select(operations).where(operations.c.kind == kind, operations.c.ended.is_(None))
    return [_operation(row) for row in transaction.execute(query.order_by(operations.c.cluster_id))]


def find(transaction: Transaction, project: str, operation_id: str) -> Operation | None:
    """An operation on one of the project's clusters, deleted ones as well."""
    query = (
        select(operations)
        .join(clusters, clusters.c.id == operations.c.cluster_id)
        .where(clusters.c.project == project, operations.c.id == operation_id)
    )
    row = transaction.execute(query).one_or_none()
    return None if row is None else _operation(row)


def latest(
    transaction: Transaction, cluster_id: str, kind: Task, *, outcome: str | None = None
) -> Operation | None:
    """The cluster's last operation of a kind; if `outcome` is given, the last that ended with it."""
    query = select(operations).where(operations.c.cluster_id == cluster_id, operations.c.kind == kind)
    if outcome is not None:
        query = query.where(operations.c.outcome == outcome)
    row = transaction.execute(query.order_by(operations.c.started.desc(), operations.c.id).limit(1)).first()
    return None if row is None else _operation(row)


def newest(
    transaction: Transaction,
    project: str,
    *,
    cluster_id: str | None = None,
    outcome: str | None = None,
    limit: int,
) -> list[tuple[Operation, str]]:
    """The operations on the project's clusters, each with its cluster's name, without collections."""
    query = (
        select(operations, clusters.c.name.label("cluster_name"))
        .join(clusters, clusters.c.id == operations.c.cluster_id)
        .where(clusters.c.project == project, operations.c.kind != Task.COLLECTING)
        .order_by(operations.c.started.desc(), operations.c.id)
        .limit(limit)
    )
    if cluster_id is not None:
        query = query.where(operations.c.cluster_id == cluster_id)
    if outcome is not None:
        query = query.where(operations.c.outcome == outcome)
    return [(_operation(row), str(row.cluster_name)) for row in transaction.execute(query)]


def last_failed(transaction: Transaction, cluster_id: str) -> Operation | None:
    query = (
        select(operations)
        .where(operations.c.cluster_id == cluster_id, operations.c.outcome == FAILED)
        .order_by(operations.c.ended.desc(), operations.c.id)
        .limit(1)
    )
    row = transaction.execute(query).first()
    return None if row is None else _operation(row)


def read(transaction: Transaction, operation_id: str) -> Operation:
    """Any operation, also one that has ended. It must exist."""
    row = transaction.execute(select(operations).where(operations.c.id == operation_id)).one()
    return _operation(row)


def is_active(transaction: Transaction, operation_id: str) -> bool:
    query = select(operations.c.id).where(operations.c.id == operation_id, operations.c.ended.is_(None))
    return transaction.execute(query).first() is not None


def collections(transaction: Transaction) -> dict[str, tuple[datetime | None, str]]:
    """When each cluster's last collection ended (None: it has not) and its outcome, by the cluster's id."""
    of_collections = operations.c.kind == Task.COLLECTING
    last = (
        select(operations.c.cluster_id, func.max(operations.c.started).label("started"))
        .where(of_collections)
        .group_by(operations.c.cluster_id)
        .subquery()
    )
    query = (
        select(operations.c.cluster_id, operations.c.ended, operations.c.outcome)
        .join(
            last,
            (last.c.cluster_id == operations.c.cluster_id) & (last.c.started == operations.c.started),
        )
        .where(of_collections)
    )
    return {row.cluster_id: (row.ended, row.outcome) for row in transaction.execute(query)}


def set_progress(transaction: Transaction, operation_id: str, percent: int) -> None:
    """Progress only grows: a step that runs again starts its own count anew."""
    given = {"this": operation_id, "reached": percent, "progress": percent}
    transaction.execute(_came_further(), given)


def add_detail(transaction: Transaction, operation_id: str, more: dict[str, Any]) -> None:
    """Add facts to keep beside the request. They must hold no secret."""
    detail = {**read(transaction, operation_id).detail, **more}
    transaction.execute(update(operations).where(operations.c.id == operation_id).values(detail=detail))


def end(
    transaction: Transaction,
    operation_id: str,
    now: datetime,
    outcome: str,
    failure: Failure | None = None,
) -> bool:
    """Release the cluster. False if that was done before: the caller is a step that runs again."""
    ended = transaction.execute(
        update(operations)
        .where(operations.c.id == operation_id, operations.c.ended.is_(None))
        .values(ended=now, outcome=outcome, **failure_columns(failure))
    )
    return ended.rowcount == 1


def correct_outcome(
    transaction: Transaction,
    subject_id: str,
    kind: Task,
    outcome: str,
    failure: Failure | None = None,
) -> None:
    """What came of an operation that had to release its cluster before it was at its end."""
    transaction.execute(
        update(operations)
        .where(
            operations.c.subject_id == subject_id, operations.c.kind == kind, operations.c.ended.is_not(None)
        )
        .values(outcome=outcome, **failure_columns(failure))
    )


def failure_columns(failure: Failure | None) -> dict[str, str]:
    """The columns of a failure in a row, empty if there is no failure."""
    if failure is None:
        return {"failed_code": "", "reason": "", "hint": ""}
    return {"failed_code": failure.code, "reason": failure.reason, "hint": failure.hint}


@cache
def _came_further() -> Update:
    """Built once: flows run it all the time."""
    return update(operations).where(
        operations.c.id == bindparam("this"), operations.c.progress < bindparam("reached")
    )


def _operation(row: Row[Any]) -> Operation:
    return Operation(
        id=row.id,
        cluster_id=row.cluster_id,
        kind=Task(row.kind),
        subject_id=row.subject_id,
        detail=row.detail,
        progress=row.progress,
        started=row.started,
        ended=row.ended,
        outcome=row.outcome,
        failure=Failure(row.failed_code, row.reason, row.hint) if row.outcome == FAILED else None,
    )
