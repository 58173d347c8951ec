"""Shapes of the answers about damage; see `answer`."""

from stillhouse.api.shapes.answer import Answer, Int32, Int64


class LostFile(Answer):
    path: str
    tablespace: Int64 | None
    database: Int64 | None
    relation: Int64 | None
    segment: Int32 | None
    whole: bool
    blocks: list[list[Int64]]
    bytes: list[list[Int64]]
    more_ranges: Int64


class LostOfNode(Answer):
    node: str
    whole: bool
    files: list[LostFile]
    more_files: Int64


class Lost(Answer):
    snapshot_id: str
    name: str
    cluster_id: str
    cluster_name: str
    whole: bool
    nodes: list[LostOfNode]


class DamagedObject(Answer):
    cluster_id: str
    key: str
    kind: str
    detail: str
    costs: bool
    found: str


class SnapshotDamage(Answer):
    damage: Lost | None


class Damages(Answer):
    snapshots: list[Lost]
    objects: list[DamagedObject]
    is_worked_out: bool
    count: Int32
