"""`stillhouse cluster`: stop, start and restart its servers, collect its objects, prove its snapshots at intervals."""

from typing import Any

from stillhouse.cli.service import client
from stillhouse.cli.service.client import Access, Answer, Client
from stillhouse.cli.service.cluster import say_new
from stillhouse.cli.service.known_names import ClusterName
from stillhouse.cli.terminal.command import Json
from stillhouse.cli.terminal.sizes import said_size

_ANYONE = Access()
_CHANGES = {"restart": "/v1.0", "start": "/v1", "stop": "/v1"}  # with the API's version that has each
_NUMBERS = ("kept", "marked", "deleted")


def stop(name: ClusterName, /, *, wait: bool = False, access: Access = _ANYONE, json_: Json = False) -> None:
    """Stop a cluster's servers; its data and snapshots stay.

    Parameters
    ----------
    name
        The cluster, by name or id.
    wait
        Until they are down.
    json_
        Print one JSON object.
    """
    _change(access, name, "stop", f"stopping {name}", wait=wait, as_json=json_)


def start(name: ClusterName, /, *, wait: bool = False, access: Access = _ANYONE, json_: Json = False) -> None:
    """Start the servers of a cluster that was stopped.

    Parameters
    ----------
    name
        The cluster, by name or id.
    wait
        Until they are up.
    json_
        Print one JSON object.
    """
    _change(access, name, "start", f"starting {name}", wait=wait, as_json=json_)


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
    _change(access, name, "restart", f"restarting {name}", wait=wait, as_json=json_)


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


def _change(access: Access, name: str, action: str, doing: str, *, wait: bool, as_json: bool) -> None:
    def work(service: Client) -> None:
        cluster_id = service.find("cluster", name)
        service.call("POST", f"{_CHANGES[action]}/{{p}}/clusters/{cluster_id}/{action}")
        say_new(service, cluster_id, doing, wait=wait, as_json=as_json)

    client.run(access, work)


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
