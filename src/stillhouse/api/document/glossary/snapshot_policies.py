"""Descriptions of the fields and parameters of snapshot policies."""

TERMS: dict[str, tuple[str, str]] = {
    "DeleteSnapshotPolicy.id": ("Id of the policy", '"1d2c3b4a-0f0e-4d0c-8b0a-090807060504"'),
    "policy_id": ("Id of the policy: a UUID", '"1d2c3b4a-0f0e-4d0c-8b0a-090807060504"'),
    "keep_day": ("For how many days automated snapshots are kept: 1 to 31", "7"),
    "auto_backup": ("Whether automated snapshots are taken", "true"),
    "device_name": ("Where they are kept: OBS", '"OBS"'),
    "server_ips": ("Null: there is no backup server", "null"),
    "server_port": ("Null: there is no backup server", "null"),
    "backup_param": ("Null: there is no backup server", "null"),
    "backup_strategy_cluster_type_limit_num": ("How many policies of whole clusters there may be", "10"),
    "backup_strategy_schema_type_limit_num": ("How many policies of schemas there may be", "50"),
    "backup_strategies": ("The policies", ""),
    "policy_name": ("Name of the policy: 4 to 92 letters, digits, - and _, a letter first", '"weekly-full"'),
    "backup_strategy": ("When it runs: six fields of cron, or one moment; UTC", '"0 0 2 ? * 1"'),
    "backup_type": ("full or increment", '"full"'),
    "next_fire_time": ("When it runs next: epoch milliseconds as text; null for never", '"1795917600000"'),
    "update_time": ("When it was changed: UTC, without a Z", '"2026-11-11T10:06:16"'),
    "time_zone_offset": ("Hours, as they were sent", "0"),
    "backup_database": ("Null: policies are of whole clusters", "null"),
    "backup_schema_list": ("Null: policies are of whole clusters", "null"),
    "backup_table_list": ("Null: policies are of whole clusters", "null"),
}
