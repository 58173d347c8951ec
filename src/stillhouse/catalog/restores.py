"""The progress of each node of a restore, in its current phase."""

from collections.abc import Sequence

from sqlalchemy import delete, insert, select

from stillhouse.catalog.schema.database import Transaction
from stillhouse.catalog.schema.tables import restores
from stillhouse.domain.progress import Progress

COPYING = "copying"
REPLAYING = "replaying"


def put(transaction: Transaction, operation_id: str, node: str, progress: Progress) -> None:
    """Replace the node's progress: a step that runs again begins anew."""
    transaction.execute(
        delete(restores).where(restores.c.operation_id == operation_id, restores.c.node == node)
    )
    row = {
        "phase": progress.phase,
        "bytes_done": progress.bytes_done,
        "bytes_total": progress.bytes_total,
        "bytes_per_second": progress.bytes_per_second,
    }
    transaction.execute(insert(restores), {"operation_id": operation_id, "node": node} | row)


def of_operation(transaction: Transaction, operation_id: str) -> list[Progress]:
    """The progress of the nodes that have begun."""
    query = select(restores).where(restores.c.operation_id == operation_id).order_by(restores.c.node)
    return [
        Progress(row.phase, row.bytes_done, row.bytes_total, row.bytes_per_second)
        for row in transaction.execute(query)
    ]


def phase_of(nodes: Sequence[Progress]) -> str:
    """The phase of the whole restore: all nodes are copied before any of them replays."""
    return REPLAYING if any(node.phase == REPLAYING for node in nodes) else COPYING
