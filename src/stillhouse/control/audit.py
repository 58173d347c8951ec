"""The audit log. An accepted request's record is written with its change, a refused one's by itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from stillhouse.catalog.access import audit_log
from stillhouse.catalog.access.audit_log import AuditRecord as AuditRecord
from stillhouse.catalog.schema.database import Transaction
from stillhouse.control.catalog_context import CatalogContext
from stillhouse.errors import CatalogUnavailable, StillhouseError

ACCEPTED = "accepted"
# Some of the text is the caller's, who may have sent anything of any length.
_TEXT_LIMIT = 300
# Of why work has failed more is kept: it is ours, and the hint comes last.
_REASON_LIMIT, _OF_FAILURES = 1000, ("failed", "cancelled", "refuted")


@contextmanager
def audited(context: CatalogContext, project: str, action: str, resource: str) -> Iterator[Transaction]:
    """Open a transaction for the change. If the change is refused, only the refusal's record remains."""
    try:
        with context.database.transaction() as transaction:
            yield transaction
            record(context, transaction, project, action, resource, ACCEPTED)
    except CatalogUnavailable:
        raise  # there is nowhere to write it
    except StillhouseError as refusal:
        with context.database.transaction() as transaction:
            record(context, transaction, project, action, resource, refusal.code, str(refusal))
        raise


def record(
    context: CatalogContext,
    transaction: Transaction,
    project: str,
    action: str,
    resource: str,
    outcome: str,
    detail: str = "",
) -> None:
    written = AuditRecord(
        time=context.clock.now(),
        project=project,
        access_key=_storable(context.caller.access_key),
        action=action,
        resource=_storable(resource),
        outcome=outcome,
        request_id=context.caller.request_id,
        detail=_storable(" ".join(detail.split()), _REASON_LIMIT if outcome in _OF_FAILURES else _TEXT_LIMIT),
    )
    audit_log.append(transaction, written)


def list_records(
    context: CatalogContext, project: str = "", *, since: datetime | None = None, limit: int = 100
) -> list[AuditRecord]:
    """List records, the newest first; without a project, those of all projects."""
    with context.database.reading() as reading:
        return audit_log.list_records(reading, project, since=since, limit=limit)


def _storable(text: str, limit: int = _TEXT_LIMIT) -> str:
    """Cut the text to size, and drop characters that PostgreSQL's text or UTF-8 cannot hold."""
    return "".join(char if char.isprintable() else "?" for char in text[:limit])
