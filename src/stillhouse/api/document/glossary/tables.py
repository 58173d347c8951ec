"""Descriptions of the fields and parameters of RestoreTable and CheckTableRestore."""

TERMS: dict[str, tuple[str, str]] = {
    "CheckedTableNames.database": (
        "The database, if the snapshot or the cluster has none of this name",
        "null",
    ),
    "check_table_name_result": ("What speaks against it; null where nothing does", ""),
    "case_sensitive": ("False: names are folded to lower case, as where they are not quoted", "true"),
    "restore_table_list": ("The tables in the snapshot: 1 to 100", ""),
    "CheckedTableNames.restore_table_list": ("Those that the snapshot does not have", '["public.ghosts"]'),
    "target_table_list": (
        "The tables in the cluster, by position; an empty name stands for one made of the source's",
        "",
    ),
    "CheckedTableNames.target_table_list": (
        "Those whose names the cluster has already; a table is replaced",
        '["mart.orders"]',
    ),
    "table_name": ("Name of the table", '"orders"'),
}
