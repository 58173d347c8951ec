"""The audit log as a project's events: actions on its clusters and snapshots, without refused requests."""

from sqlalchemy import Table, func, select

from stillhouse.catalog.schema.access_tables import audit
from stillhouse.catalog.schema.database import Transaction
from stillhouse.catalog.schema.tables import clusters, snapshots
from stillhouse.domain.reports.events import Event

# Outcomes of actions that happened. The outcome of a refusal is its error's code.
HAPPENED = ("accepted", "failed", "proved", "refuted", "restored", "skipped", "replaced")

_TABLES = {"cluster": clusters, "snapshot": snapshots}
_KINDS = {"cluster": "cluster", "snapshot": "snapshot", "copy": "snapshot"}


def page_of_events(
    transaction: Transaction, project: str, *, limit: int, skip: int
) -> tuple[list[Event], int]:
    """One page, the newest first, and the number of events in all."""
    about_something = audit.c.resource.like("cluster/%") | audit.c.resource.like("snapshot/%")
    mine = (audit.c.project == project) & audit.c.outcome.in_(HAPPENED) & about_something
    total = transaction.execute(select(func.count()).select_from(audit).where(mine)).scalar_one()
    query = select(audit).where(mine).order_by(audit.c.id.desc()).limit(limit).offset(skip)
    rows = transaction.execute(query).all()
    about = [_about(row.resource) for row in rows]
    known = {
        kind: _names(transaction, table, [id_ for of, id_ in about if of == kind])
        for kind, table in _TABLES.items()
    }
    page = [
        Event(
            number=row.id,
            time=row.time,
            action=row.action,
            kind=kind,
            id=id_,
            name=known.get(kind, {}).get(id_, ""),
            outcome=row.outcome,
            detail=row.detail,
        )
        for row, (kind, id_) in zip(rows, about, strict=True)
    ]
    return page, total


def _about(resource: str) -> tuple[str, str]:
    """The kind and id that a resource's event is about.

    For `cluster/ID/snapshot/ID` or `snapshot/ID/copy/ID` it is the last part; for `cluster/ID/policy/ID` it is the
    cluster.
    """
    parts = resource.split("/")
    pairs = zip(parts[::2], parts[1::2], strict=False)
    return [(_KINDS[kind], id_.lower()) for kind, id_ in pairs if kind in _KINDS][-1]


def _names(transaction: Transaction, table: Table, ids: list[str]) -> dict[str, str]:
    query = select(table.c.id, table.c.name).where(table.c.id.in_(ids))
    return {row.id: row.name for row in transaction.execute(query)}
