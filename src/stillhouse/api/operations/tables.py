"""The operations of the DWS API that put tables of a snapshot back into its cluster."""

from stillhouse.api.operations.routing import ControlOf, Router
from stillhouse.api.shapes.jobs import job_id
from stillhouse.api.shapes.tables import (
    JobStarted,
    NamedTable,
    TableRestoreChecked,
    TableRestoreRequest,
    checked_names,
)
from stillhouse.api.shapes.values import Json, SnapshotId
from stillhouse.control.restores import table_requests
from stillhouse.domain.table_restore import TableName, TablesWanted

routes = Router()


@routes.operation(
    "CheckTableRestore",
    TableRestoreChecked,
    "The objections to a restore of these tables; null if there is no objection",
)
def check_table_restore(
    control: ControlOf, project_id: str, snapshot_id: SnapshotId, body: TableRestoreRequest
) -> Json:
    verdict = table_requests.check_table_restore(control, project_id, snapshot_id, _wanted(body))
    return {"check_table_name_result": checked_names(verdict)}


@routes.operation(
    "RestoreTable", JobStarted, "Accepted; the tables are being put into the snapshot's cluster"
)
def restore_table(
    control: ControlOf, project_id: str, snapshot_id: SnapshotId, body: TableRestoreRequest
) -> Json:
    operation_id = table_requests.start_table_restore(control, project_id, snapshot_id, _wanted(body))
    return {"job_id": job_id(operation_id)}


def _wanted(body: TableRestoreRequest) -> TablesWanted:
    return TablesWanted(
        database=body.database,
        sources=_names(body.restore_table_list),
        targets=_names(body.target_table_list),
        case_sensitive=body.case_sensitive,
    )


def _names(tables: list[NamedTable]) -> tuple[TableName, ...]:
    return tuple(TableName(one.schema_name, one.table_name) for one in tables)
