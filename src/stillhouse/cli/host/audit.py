"""`stillhouse audit`: the record of requests, with their callers and outcomes."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from stillhouse.cli.service.project import Since, list_audit
from stillhouse.cli.terminal import command, times
from stillhouse.cli.terminal.command import Json
from stillhouse.cli.terminal.credentials import Access

if TYPE_CHECKING:
    from stillhouse.control.catalog_context import CatalogContext

_ANYONE = Access()

audit = App(name="audit", help="The record of every change and of every refusal.")


@audit.command(name="list")
def list_(
    *,
    data: Annotated[
        Path | None, Parameter(help="The service's data directory, whose catalog is read.")
    ] = None,
    since: Since = "",
    limit: int = 1000,
    access: Access = _ANYONE,
    json_: Json = False,
) -> None:
    """List records, the newest last: with --data those of the catalog, else the project's, as the service tells them.

    Parameters
    ----------
    limit
        The newest so many at most.
    """
    if data is None:
        list_audit(access, since, limit, as_json=json_)
        return
    from stillhouse.control.audit import list_records

    def tell(context: "CatalogContext") -> None:
        begin = times.since(since, context.clock.now()) if since else None
        found = list_records(context, access.project, since=begin, limit=limit)
        rows = [asdict(each) | {"time": command.moment(each.time)} for each in reversed(found)]
        command.say_rows("records", rows, json_)

    command.run_on(data, tell)
