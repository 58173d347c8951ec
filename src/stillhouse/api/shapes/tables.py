"""Restores of tables: the bodies of their requests and answers, and how a check is shown."""

from typing import Annotated

from pydantic import Field

from stillhouse.api.shapes.values import Answer, Json, NullableText, Request
from stillhouse.control.restores.table_requests import Verdict
from stillhouse.domain.table_restore import MOST_TABLES


class NamedTable(Request):
    schema_name: str
    table_name: str


NamedTables = Annotated[list[NamedTable], Field(min_length=1, max_length=MOST_TABLES)]


class TableRestoreRequest(Request):
    """The body of RestoreTable, and of CheckTableRestore before it."""

    case_sensitive: bool
    database: str
    restore_table_list: NamedTables
    target_table_list: NamedTables


class JobStarted(Answer):
    job_id: str


class CheckedTableNames(Answer):
    database: NullableText
    restore_table_list: list[str] | None
    target_table_list: list[str] | None


class TableRestoreChecked(Answer):
    check_table_name_result: CheckedTableNames


def checked_names(verdict: Verdict) -> Json:
    """The objections, or null if there is no objection, as in DWS."""
    return {
        "database": verdict.database,
        "restore_table_list": [str(name) for name in verdict.missing] or None,
        "target_table_list": [str(name) for name in verdict.existing] or None,
    }
