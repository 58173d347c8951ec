"""Commands about a whole project: its events, its figures and its audit log; and what copies or compares its
snapshots.
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from cyclopts import Parameter

from stillhouse.cli.service import client
from stillhouse.cli.service.client import Access, Answer, Client
from stillhouse.cli.service.known_names import ClusterName, SnapshotName
from stillhouse.cli.terminal import command, times
from stillhouse.cli.terminal.command import Json

_ANYONE = Access()
_EVENT_COLUMNS = ("time", "severity", "description", "reason")
_AUDIT_COLUMNS = ("time", "action", "outcome", "resource", "access_key", "detail", "request_id")
_DIFFERENCE_COLUMNS = ("node", "table", "change", "rows", "now", "pages", "reason")
_EVERYTHING = "(all relations)"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Since = Annotated[str, Parameter(help="Only from this time on: 7d, 12h or 90m ago, or a time in ISO 8601.")]


def events(*, limit: int = 20, access: Access = _ANYONE, json_: Json = False) -> None:
    """List the project's events, the newest first: begins, ends, and failures with their reason.

    Parameters
    ----------
    limit
        The newest so many at most.
    json_
        Print one JSON object.
    """

    def work(service: Client) -> None:
        answer = service.call("GET", f"/v2/{{p}}/events?limit={limit}")
        rows = [
            one
            | {
                "time": command.moment(_EPOCH + timedelta(milliseconds=one["occur_time"])),
                "reason": one["context"] or None,
            }
            for one in answer["events"]
        ]
        client.say_all(answer, rows, _EVENT_COLUMNS, json_)

    client.run(access, work)


def statistics(*, cluster: ClusterName = "", access: Access = _ANYONE, json_: Json = False) -> None:
    """Show the project's figures: clusters, nodes and storage.

    Parameters
    ----------
    cluster
        In place of them, the storage of this cluster's snapshots; by name or id.
    json_
        Print one JSON object.
    """

    def work(service: Client) -> None:
        path = "/v1.0/{p}/statistics"
        if cluster:
            path = f"/v1.0/{{p}}/clusters/{service.find('cluster', cluster)}/snapshots/statistics"
        answer = service.call("GET", path)
        told = {one["name"]: f"{one['value']:g} {one['unit']}".strip() for one in answer["statistics"]}
        client.say(answer, json_, told)

    client.run(access, work)


def list_audit(access: Access, since: str, limit: int, *, as_json: bool) -> None:
    """Print the project's records, the newest last."""

    def work(service: Client) -> None:
        path = f"/stillhouse/v1/{{p}}/audit?limit={limit}"
        if since:
            path += f"&since={times.since(since, datetime.now(UTC)).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        answer = service.call("GET", path)
        answer["records"].reverse()
        client.say_all(answer, answer["records"], _AUDIT_COLUMNS, as_json)

    client.run(access, work)


def copy(
    name: SnapshotName,
    /,
    *,
    to: str,
    description: str = "",
    access: Access = _ANYONE,
    json_: Json = False,
) -> None:
    """Copy an automated snapshot into a manual one, which stays until it is deleted.

    Parameters
    ----------
    name
        The snapshot, by name or id.
    to
        Name of the copy.
    description
        A line about it.
    json_
        Print one JSON object.
    """

    def work(service: Client) -> None:
        path = f"/v1.0/{{p}}/snapshots/{service.find('snapshot', name)}/linked-copy"
        answer = service.call("POST", path, {"backup_name": to, "description": description})
        client.say(answer, json_, {"id": answer["snapshot_id"], "name": to})

    client.run(access, work)


def diff(
    before: SnapshotName, after: SnapshotName, /, *, access: Access = _ANYONE, json_: Json = False
) -> None:
    """Show which tables changed from one snapshot to another, by rows and pages. Nothing is restored for it.

    Parameters
    ----------
    before
        A snapshot, by name or id.
    after
        Another one of the same cluster.
    json_
        Print one JSON object.
    """

    def work(service: Client) -> None:
        then, now = (service.find("snapshot", name) for name in (before, after))
        answer = service.call("GET", f"/stillhouse/v1/{{p}}/snapshots/{now}/difference?before={then}")
        rows = [row for node in answer["nodes"] for row in _differences(node)]
        client.say_all(answer, rows, _DIFFERENCE_COLUMNS, json_)

    client.run(access, work)


def _differences(node: Answer) -> list[Answer]:
    tables = [
        {
            "node": node["node"],
            "table": f"{one['database']}: {one['schema_name']}.{one['table_name']}",
            "change": one["change"],
            "rows": one["rows_before"],
            "now": one["rows_after"],
            "pages": one["pages"],
            "reason": one["why"],
        }
        for one in node["tables"]
    ]
    more = f"{node['more_tables']} more tables differ" if node["more_tables"] else None
    unchanged = f"{node['same_tables']} tables have the same rows"
    reason = "; ".join(filter(None, (unchanged, more, node["why"])))
    return [*tables, {"node": node["node"], "table": _EVERYTHING, "pages": node["pages"], "reason": reason}]
