"""`stillhouse cluster`: stop, start and restart its servers, collect its objects, prove its snapshots at intervals."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from cyclopts import Parameter

from stillhouse.cli.service import client
from stillhouse.cli.service.client import Access, Answer, Client
from stillhouse.cli.service.cluster import await_change, say_new
from stillhouse.cli.service.known_names import ClusterName
from stillhouse.cli.terminal import command
from stillhouse.cli.terminal.command import Json
from stillhouse.domain.reports.sizes import said_size
from stillhouse.errors import InvalidInput, ServiceRefused

_ANYONE = Access()
_CHANGES = {"restart": "/v1.0", "start": "/v1", "stop": "/v1"}  # with the API's version that has each
_DOING = {"restart": "restarting", "start": "starting", "stop": "stopping"}
_ENDS = {"restart": "AVAILABLE", "start": "AVAILABLE", "stop": "STOPPED"}
_DONE = {"start": "it is started", "stop": "it is stopped"}
_NUMBERS = ("kept", "marked", "deleted")

All = Annotated[bool, Parameter(name="--all", negative="")]


def stop(
    name: ClusterName = "",
    /,
    *,
    all_: All = False,
    wait: bool = False,
    access: Access = _ANYONE,
    json_: Json = False,
) -> None:
    """Stop a cluster's servers, or those of all clusters; data and snapshots stay.

    Parameters
    ----------
    name
        The cluster, by name or id.
    all_
        All clusters of the project whose servers run on the service's host.
    wait
        Until they are down.
    json_
        Print one JSON object.
    """
    _change(access, name, "stop", of_all=all_, wait=wait, as_json=json_)


def start(
    name: ClusterName = "",
    /,
    *,
    all_: All = False,
    wait: bool = False,
    access: Access = _ANYONE,
    json_: Json = False,
) -> None:
    """Start the servers of a cluster that was stopped, or of all such clusters.

    Parameters
    ----------
    name
        The cluster, by name or id.
    all_
        All clusters of the project that were stopped.
    wait
        Until they are up.
    json_
        Print one JSON object.
    """
    _change(access, name, "start", of_all=all_, wait=wait, as_json=json_)


def restart(
    name: ClusterName, /, *, wait: bool = False, access: Access = _ANYONE, json_: Json = False
) -> None:
    """Restart a cluster's servers.

    Parameters
    ----------
    name
        The cluster, by name or id.
    wait
        Until they are back.
    json_
        Print one JSON object.
    """
    _change(access, name, "restart", wait=wait, as_json=json_)


def collect(
    name: ClusterName, /, *, dry_run: bool = False, access: Access = _ANYONE, json_: Json = False
) -> None:
    """Purge deleted snapshots whose days in the trash are over, and remove objects that nothing needs any more.

    The service does this by itself once a day.

    Parameters
    ----------
    name
        The cluster, by name or id.
    dry_run
        Change nothing; tell how many objects would stay and go. `stillhouse repo collect --dry-run --list` lists them.
    json_
        Print one JSON object.
    """

    def work(service: Client) -> None:
        path = f"/stillhouse/v1/{{p}}/clusters/{service.find('cluster', name)}/collect"
        answer = service.call("POST", path, {"dry_run": dry_run})
        client.say(answer, json_, _plan(answer["plan"]) if dry_run else {"collection": "begun"})

    client.run(access, work)


def proofs(
    name: ClusterName,
    /,
    *,
    every_days: int | None = None,
    newest_only: bool | None = None,
    access: Access = _ANYONE,
    json_: Json = False,
) -> None:
    """Show how often the cluster's snapshots are proved by themselves; with --every-days set it.

    Parameters
    ----------
    name
        The cluster, by name or id.
    every_days
        A proof every so many days; 0 for never.
    newest_only
        Prove the newest snapshot only, or also those that were never proved.
    json_
        Print one JSON object.
    """

    def work(service: Client) -> None:
        path = f"/stillhouse/v1/{{p}}/clusters/{service.find('cluster', name)}/proofs"
        answer = service.call("GET", path)
        wanted = {"every_days": every_days, "newest_only": newest_only}
        given = {word: value for word, value in wanted.items() if value is not None}
        if given:
            answer = service.call("PUT", path, answer | given)
        client.say(answer, json_, {"proved": _interval(answer)})

    client.run(access, work)


def _change(
    access: Access, name: str, action: str, *, of_all: bool = False, wait: bool, as_json: bool
) -> None:
    def work(service: Client) -> None:
        if bool(name) == of_all:
            raise InvalidInput("name one cluster, or give --all")
        if of_all:
            _change_all(service, action, wait=wait, as_json=as_json)
            return
        cluster_id = service.find("cluster", name)
        _begin(service, cluster_id, action)
        doing, wanted = f"{_DOING[action]} {name}", _ENDS[action]
        say_new(service, cluster_id, doing, wait=wait, as_json=as_json, wanted=wanted)

    client.run(access, work)


def _change_all(service: Client, action: str, *, wait: bool, as_json: bool) -> None:
    """Ask for each cluster's change, then wait for each. One that is refused does not keep the others back."""
    found = service.call("GET", "/stillhouse/v1/{p}/clusters")["clusters"]
    chosen = [one for one in found if one["provider"] == "embedded" and _is_to(action, one)]
    rows = [
        _tried(one, f"{_DOING[action]} it", partial(_begin, service, one["id"], action)) for one in chosen
    ]
    if wait:
        rows = [
            _tried(row, _DONE[action], partial(_await, service, row, action, as_json=as_json))
            if row["done"]
            else row
            for row in rows
        ]
    if as_json:
        command.say_json({"clusters": rows, "count": len(rows)})
    elif rows:
        command.say_table(("name", "id", "result"), rows)
    else:
        command.say(f"there is no cluster to {action}")
    if refused := sum(not row["done"] for row in rows):
        raise ServiceRefused(
            f"{refused} of {len(rows)} clusters stay as they are", hint="see each one's result"
        )


def _is_to(action: str, one: Answer) -> bool:
    """Tell whether a cluster has servers to stop, or was stopped and can be started. The service refuses to stop one
    that is being made, which is told.
    """
    if action == "start":
        return bool(one["state"] == "STOPPED")
    return one["state"] not in ("STOPPED", "CREATE_FAILED", "DELETING")


def _begin(service: Client, cluster_id: str, action: str) -> None:
    service.call("POST", f"{_CHANGES[action]}/{{p}}/clusters/{cluster_id}/{action}")


def _await(service: Client, row: Answer, action: str, *, as_json: bool) -> None:
    doing, wanted = f"{_DOING[action]} {row['name']}", _ENDS[action]
    await_change(service, row["id"], doing, as_json=as_json, wanted=wanted)


def _tried(one: Answer, result: str, act: Callable[[], None]) -> Answer:
    """Act on a cluster, and return its row: the result, or why it was refused or failed."""
    row = {"id": one["id"], "name": one["name"]}
    try:
        act()
    except ServiceRefused as refusal:
        return row | {"done": False, "result": refusal.message}
    return row | {"done": True, "result": result}


def _plan(plan: Answer) -> dict[str, Any]:
    told: dict[str, Any] = {
        f"would be {what}": f"{plan[what]['objects']} objects, {said_size(plan[what]['bytes'])}"
        for what in _NUMBERS
    }
    return told | {"snapshots that would be purged": plan["purged_snapshots"] or "none"}


def _interval(answer: Answer) -> str:
    if not answer["every_days"]:
        return "never by themselves"
    which = "the newest snapshot" if answer["newest_only"] else "all snapshots"
    return f"{which}, every {answer['every_days']} days"
