"""Who asked for what, and what came of it: rows that are only ever added."""

from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import insert, select

from stillhouse.catalog.database import Transaction
from stillhouse.catalog.tables import audit


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


def list_records(transaction: Transaction, project: str, limit: int = 100) -> list[AuditRecord]:
    """The newest first."""
    query = select(audit).where(audit.c.project == project).order_by(audit.c.id.desc()).limit(limit)
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
