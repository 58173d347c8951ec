"""Descriptions of the fields of RestoreTable and CheckTableRestore for the OpenAPI document."""

OF_TABLE_RESTORES: dict[str, tuple[str, str]] = {
    "CheckedTableNames.database": (
        "The database, if it is missing in the snapshot or the cluster",
        "null",
    ),
    "check_table_name_result": ("The objections to the restore; null if there is no objection", ""),
    "case_sensitive": ("False: names are folded to lower case, as where they are not quoted", "true"),
    "restore_table_list": ("The tables in the snapshot: 1 to 100", ""),
    "CheckedTableNames.restore_table_list": ("The tables that are not in the snapshot", '["public.ghosts"]'),
    "target_table_list": (
        "The tables in the cluster, by position; an empty name stands for one made of the source's",
        "",
    ),
    "CheckedTableNames.target_table_list": (
        "The tables with names that the cluster has already; the restore would replace them",
        '["mart.orders"]',
    ),
    "table_name": ("Name of the table", '"orders"'),
}
