"""Descriptions of the fields and parameters of ShowSnapshotDifference."""

TERMS: dict[str, tuple[str, str]] = {
    "SnapshotDifference.before": ("The snapshot that it is compared with", ""),
    "SnapshotDifference.after": ("The snapshot of the path", ""),
    "SnapshotDifference.nodes": ("What differs, node by node", ""),
    "Compared.id": ("Snapshot ID", '"2f4c9e10-5a77-4c1b-9d3e-8b0f6a2d1c55"'),
    "Compared.name": ("Snapshot name", '"before-upgrade"'),
    "NodeChanged.node": ("Name of the node", '"dn1"'),
    "NodeChanged.pages": (
        "Pages of all relations, indexes and the catalog included, that differ as they were copied; null if they were"
        " not counted",
        "812",
    ),
    "NodeChanged.why": ("Why its pages were not counted; else null", "null"),
    "same_tables": ("Tables that hold the same rows in both snapshots", "41"),
    "NodeChanged.tables": (
        "Tables that differ, or that a snapshot does not tell; by name, at most 1,000",
        "",
    ),
    "more_tables": ("Such tables that are not listed", "0"),
    "TableChanged.database": ("The table's database", '"gaussdb"'),
    "TableChanged.schema_name": ("The table's schema", '"public"'),
    "TableChanged.table_name": ("The table's name", '"orders"'),
    "change": (
        "ADDED, REMOVED, CHANGED; UNKNOWN if one of the snapshots does not tell, and `why` gives the reason",
        '"CHANGED"',
    ),
    "rows_before": (
        "Its rows in the other snapshot; null if there was no such table, or they were not read",
        "1200",
    ),
    "rows_after": ("Its rows in the snapshot; null if there is no such table, or they were not read", "1100"),
    "TableChanged.pages": (
        "Pages of the table and its TOAST table that differ as they were copied; null if they were not counted",
        "12",
    ),
    "TableChanged.why": ("Why its rows cannot be compared; else null", "null"),
}
