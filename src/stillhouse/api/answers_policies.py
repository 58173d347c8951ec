"""What is answered about automated snapshots: policies, copies, statistics; see `answers`."""

from stillhouse.api.answers import Answer, Int32, Text


class ShownStrategy(Answer):
    policy_id: str
    policy_name: str
    backup_strategy: str
    backup_type: str
    backup_level: str
    next_fire_time: Text
    update_time: str
    time_zone_offset: Int32
    backup_database: Text
    backup_schema_list: list[str] | None
    backup_table_list: list[str] | None


class SnapshotPolicies(Answer):
    keep_day: Int32
    auto_backup: bool
    device_name: str
    server_ips: list[str] | None
    server_port: Text
    backup_param: Text
    backup_strategy_cluster_type_limit_num: Int32
    backup_strategy_schema_type_limit_num: Int32
    backup_strategies: list[ShownStrategy]


class SnapshotCopied(Answer):
    snapshot_id: str


class StorageFigure(Answer):
    name: str
    value: float
    unit: str


class StorageStatistics(Answer):
    statistics: list[StorageFigure]
