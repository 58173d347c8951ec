"""`stillhouse audit`: the record of requests, with their callers and outcomes."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cyclopts import App

from stillhouse.cli.terminal import command
from stillhouse.cli.terminal.command import Data, Json, OneProject

if TYPE_CHECKING:
    from stillhouse.control.context import Control

audit = App(name="audit", help="The record of every change and of every refusal.")


@audit.command(name="list")
def list_(
    *,
    data: Data,
    since: datetime | None = None,
    project: OneProject = "",
    limit: int = 1000,
    json_: Json = False,
) -> None:
    """List records, the newest last.

    Parameters
    ----------
    since
        Only from this time on: 2026-11-20 or 2026-11-20T08:00:00, in UTC.
    limit
        The newest so many at most.
    """
    from stillhouse.control.audit import list_records

    def tell(control: "Control") -> None:
        moment = since.replace(tzinfo=UTC) if since and since.tzinfo is None else since
        found = list_records(control, project, since=moment, limit=limit)
        rows = [asdict(each) | {"time": command.moment(each.time)} for each in reversed(found)]
        command.say_rows("records", rows, json_)

    command.run_on(data, tell)
