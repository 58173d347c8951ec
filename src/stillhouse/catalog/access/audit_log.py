"""The log of requests and their outcomes. Rows never change; only old rows of refused callers are removed."""

from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import delete, insert, select

from stillhouse.catalog.schema.access_tables import audit
from stillhouse.catalog.schema.database import Transaction


@dataclass(frozen=True)
class AuditRecord:
    time: datetime
    project: str
    access_key: str
    action: str
    resource: str
    outcome: str
    request_id: str
    detail: str = ""


def append(transaction: Transaction, record: AuditRecord) -> None:
    transaction.execute(insert(audit), asdict(record))


def list_records(
    transaction: Transaction, project: str = "", *, since: datetime | None = None, limit: int = 100
) -> list[AuditRecord]:
    """The newest first; without a project, the records of all projects."""
    query = select(audit).order_by(audit.c.id.desc()).limit(limit)
    if project:
        query = query.where(audit.c.project == project)
    if since is not None:
        query = query.where(audit.c.time >= since)
    return [
        AuditRecord(
            row.time,
            row.project,
            row.access_key,
            row.action,
            row.resource,
            row.outcome,
            row.request_id,
            row.detail,
        )
        for row in transaction.execute(query)
    ]


def forget_oldest(transaction: Transaction, outcome: str, keep: int) -> None:
    """Remove all records with this outcome but the newest `keep`."""
    mine = audit.c.outcome == outcome
    oldest_kept = (
        select(audit.c.id).where(mine).order_by(audit.c.id.desc()).offset(keep - 1).limit(1).scalar_subquery()
    )
    transaction.execute(delete(audit).where(mine, audit.c.id < oldest_kept))
