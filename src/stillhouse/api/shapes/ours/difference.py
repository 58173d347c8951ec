"""What differs between two snapshots: the body of the answer."""

from stillhouse.api.shapes.values import Answer, Int32, Int64, Json, NullableText
from stillhouse.control.snapshots.difference import Difference, NodeDifference, TablePages
from stillhouse.errors import shown


class Compared(Answer):
    id: str
    name: str


class TableChanged(Answer):
    database: str
    schema_name: str
    table_name: str
    change: str
    rows_before: Int64 | None
    rows_after: Int64 | None
    pages: Int64 | None
    why: NullableText


class NodeChanged(Answer):
    node: str
    pages: Int64 | None
    why: NullableText
    same_tables: Int32
    tables: list[TableChanged]
    more_tables: Int32


class SnapshotDifference(Answer):
    before: Compared
    after: Compared
    nodes: list[NodeChanged]


_MOST_TABLES = 1000  # of one node


def difference(found: Difference) -> Json:
    """The tables that differ, node by node, the first 1,000 of each by name."""
    return {
        "before": {"id": found.before.id, "name": found.before.name},
        "after": {"id": found.after.id, "name": found.after.name},
        "nodes": [_node(node) for node in found.nodes],
    }


def _node(node: NodeDifference) -> Json:
    return {
        "node": node.node,
        "pages": node.pages,
        "why": node.why or None,
        "same_tables": node.same,
        "tables": [_table(one) for one in node.tables[:_MOST_TABLES]],
        "more_tables": max(len(node.tables) - _MOST_TABLES, 0),
    }


def _table(one: TablePages) -> Json:
    found = one.difference
    return {
        "database": shown(found.table.database),
        "schema_name": shown(found.table.schema),
        "table_name": shown(found.table.name),
        "change": found.change.value,
        "rows_before": found.rows_before,
        "rows_after": found.rows_after,
        "pages": one.pages,
        "why": found.why or None,
    }
