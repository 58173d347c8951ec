"""Shapes of the answers about jobs, tasks, events, and the inside of a cluster; see `answer`."""

from stillhouse.api.shapes.answer import Answer, Int32, Int64, Text


class Job(Answer):
    job_id: str
    job_name: str
    begin_time: str
    end_time: Text
    status: str
    failed_code: Text
    failed_detail: Text
    progress: str


class JobStarted(Answer):
    job_id: str


class CheckedTableNames(Answer):
    database: Text
    restore_table_list: list[str] | None
    target_table_list: list[str] | None


class TableRestoreChecked(Answer):
    check_table_name_result: CheckedTableNames


class TaskStep(Answer):
    status: str
    detail: str
    sub_item_name: str
    begin_time: Text
    end_time: Text
    estimated_time: Int32


class TaskItem(Answer):
    item_name: str
    sub_items: list[TaskStep]


class LiveTask(Answer):
    id: str
    action_name: str
    status: str
    cluster_name: str
    submit_time: str
    items: list[TaskItem]


class Event(Answer):
    event_id: str
    name: str
    display_name: str
    category: str
    description: str
    severity: str
    source_type: str
    source_id: str
    source_name: str
    subject: str
    context: str
    name_space: str
    project_id: str
    occur_time: Int64
    status: Int32


class Events(Answer):
    events: list[Event]
    count: Int32


class Validated(Answer):
    total: Int32
    success: Int32
    failure: Int32
    type: str
    data: list[str]


class SchemaInfo(Answer):
    schema_name: str
    database_name: str
    total_value: Int64
    perm_space: Int64
    skew_percent: float
    min_value: Int64
    max_value: Int64
    min_dn: str
    max_dn: str
    dn_num: Int32


class Schemas(Answer):
    schemas: list[SchemaInfo]
    count: Int32


class DatabaseObject(Answer):
    obj_name: str


class DatabaseObjects(Answer):
    type: str
    object_list: list[DatabaseObject]
    count: str


class NodeInfo(Answer):
    id: str
    name: str
    status: str
    sub_status: str
    spec: str
    inst_create_type: str
    alias_name: str
    az_code: str


class Nodes(Answer):
    node_list: list[NodeInfo]
    count: Int32
    failed_count: Int32


class Configuration(Answer):
    id: str
    name: str
    type: str
    status: str
    fail_reason: str


class Configurations(Answer):
    configurations: list[Configuration]


class ParameterValue(Answer):
    type: str
    value: str
    default_value: str


class Parameter(Answer):
    name: str
    values: list[ParameterValue]
    unit: str
    type: str
    readonly: bool
    value_range: str
    restart_required: bool
    description: str


class Parameters(Answer):
    configurations: list[Parameter]
