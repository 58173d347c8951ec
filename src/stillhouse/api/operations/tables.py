"""The operations of the DWS API that put tables of a snapshot back into its cluster."""

from stillhouse.api.operations.routing import ControlOf, answers, router
from stillhouse.api.shapes import render, render_work
from stillhouse.api.shapes.jobs import JobStarted, TableRestoreChecked
from stillhouse.api.shapes.render import Json
from stillhouse.api.shapes.request import SnapshotId
from stillhouse.api.shapes.request_more import NamedTable, TableRestoreRequest
from stillhouse.control.restores import table_requests as table_restores
from stillhouse.domain.table_restore import TableName, TablesWanted

routes = router()


@routes.post(
    "/v1/{project_id}/snapshots/{snapshot_id}/table-restore-check",
    operation_id="CheckTableRestore",
    **answers(
        TableRestoreChecked, "The objections to a restore of these tables; null if there is no objection"
    ),
)
def check_table_restore(
    control: ControlOf, project_id: str, snapshot_id: SnapshotId, body: TableRestoreRequest
) -> Json:
    verdict = table_restores.check_table_restore(control, project_id, snapshot_id, _wanted(body))
    return {"check_table_name_result": render_work.checked_names(verdict)}


@routes.post(
    "/v1/{project_id}/snapshots/{snapshot_id}/table-restore",
    operation_id="RestoreTable",
    **answers(JobStarted, "Accepted; the tables are being put into the snapshot's cluster"),
)
def restore_table(
    control: ControlOf, project_id: str, snapshot_id: SnapshotId, body: TableRestoreRequest
) -> Json:
    operation_id = table_restores.start_table_restore(control, project_id, snapshot_id, _wanted(body))
    return {"job_id": render.job_id(operation_id)}


def _wanted(body: TableRestoreRequest) -> TablesWanted:
    return TablesWanted(
        database=body.database,
        sources=_names(body.restore_table_list),
        targets=_names(body.target_table_list),
        case_sensitive=body.case_sensitive,
    )


def _names(tables: list[NamedTable]) -> tuple[TableName, ...]:
    return tuple(TableName(one.schema_name, one.table_name) for one in tables)
