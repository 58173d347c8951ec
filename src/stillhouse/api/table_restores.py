"""The operations of the DWS API that put tables of a snapshot back into its cluster."""

from stillhouse.api import render, render_work
from stillhouse.api.answers_work import JobStarted, TableRestoreChecked
from stillhouse.api.models import SnapshotId
from stillhouse.api.models_more import NamedTable, TableRestoreRequest
from stillhouse.api.render import Json
from stillhouse.api.routing import ControlOf, answers, router
from stillhouse.control import table_restores
from stillhouse.domain.table_restore import TableName, TablesWanted

routes = router()


@routes.post(
    "/v1/{project_id}/snapshots/{snapshot_id}/table-restore-check",
    operation_id="CheckTableRestore",
    **answers(TableRestoreChecked, "What speaks against a restore of these tables; null where nothing does"),
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
