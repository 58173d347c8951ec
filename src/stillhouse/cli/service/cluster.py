"""`stillhouse cluster`: make, show, restart and delete clusters, through the API."""

import getpass
import os
import sys

from cyclopts import App

from stillhouse.cli.service import client
from stillhouse.cli.service.client import Access, Answer, Client
from stillhouse.cli.terminal.command import Json

cluster = App(name="cluster", help="Warehouse clusters. They are named by their name or their id.")

_COLUMNS = ("id", "name", "status", "task_status", "number_of_node", "port", "created")
_SHOWN = (*_COLUMNS, "user_name", "endpoint", "nodes", "failed_reasons")
_ANYONE = Access()
# The cloud has these. They have no meaning on one's own host, and are only given back.
_ECHOED = {"node_type": "any", "vpc_id": "any", "subnet_id": "any", "security_group_id": "any"}


@cluster.command
def create(
    name: str,
    /,
    *,
    nodes: int,
    user: str = "dbadmin",
    port: int | None = None,
    wait: bool = False,
    access: Access = _ANYONE,
    json_: Json = False,
) -> None:
    """Make a warehouse on the service's host. The user's password is taken from STILLHOUSE_USER_PWD, or asked for.

    Parameters
    ----------
    name
        Name of the cluster.
    nodes
        Its data nodes; 1 makes a single server.
    user
        Its administrator.
    port
        Port that its servers listen on.
    wait
        Until it is available, or has failed.
    json_
        Print one JSON object.
    """

    def work(service: Client) -> None:
        wanted = {
            "name": name,
            "number_of_node": nodes,
            "user_name": user,
            "user_pwd": _password(),
            **_ECHOED,
        }
        if port is not None:
            wanted["port"] = port
        cluster_id = service.call("POST", "/v1.0/{p}/clusters", {"cluster": wanted})["cluster"]["id"]
        say_new(service, cluster_id, f"making {name}", wait=wait, as_json=json_)

    client.run(access, work)


@cluster.command(name="list")
def list_(*, access: Access = _ANYONE, json_: Json = False) -> None:
    """List clusters, the newest first."""

    def work(service: Client) -> None:
        answer = service.call("GET", "/v1.0/{p}/clusters")
        client.say_all(answer, answer["clusters"], _COLUMNS, json_)

    client.run(access, work)


@cluster.command
def show(name: str, /, *, access: Access = _ANYONE, json_: Json = False) -> None:
    """Show one cluster, and the latest check-up of servers that are somebody's."""

    def work(service: Client) -> None:
        cluster_id = service.find("cluster", name)
        answer = service.call("GET", f"/v1.0/{{p}}/clusters/{cluster_id}")
        latest = service.call("GET", f"/stillhouse/v1/{{p}}/clusters/{cluster_id}/check-up")
        if latest["time"] is not None:
            answer["check_up"] = latest
        client.say(answer, json_, {**_shown(answer["cluster"]), **_check_up(latest)})

    client.run(access, work)


@cluster.command
def delete(name: str, /, *, keep_snapshots: int = 0, access: Access = _ANYONE, json_: Json = False) -> None:
    """Delete a cluster with its data, or forget a registered one; its snapshots go to the trash.

    Parameters
    ----------
    name
        The cluster, by name or id.
    keep_snapshots
        The number of its newest manual snapshots that stay.
    json_
        Print one JSON object.
    """

    def work(service: Client) -> None:
        cluster_id = service.find("cluster", name)
        kept = {"keep_last_manual_snapshot": keep_snapshots}
        client.say(
            service.call("DELETE", f"/v1.0/{{p}}/clusters/{cluster_id}", kept), json_, {"id": cluster_id}
        )

    client.run(access, work)


@cluster.command
def restart(name: str, /, *, wait: bool = False, access: Access = _ANYONE, json_: Json = False) -> None:
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

    def work(service: Client) -> None:
        cluster_id = service.find("cluster", name)
        service.call("POST", f"/v1.0/{{p}}/clusters/{cluster_id}/restart")
        say_new(service, cluster_id, f"restarting {name}", wait=wait, as_json=json_)

    client.run(access, work)


def say_new(service: Client, cluster_id: str, what: str, *, wait: bool, as_json: bool) -> None:
    """Print the id of a cluster that is being changed; with `wait` the cluster, once no operation holds it."""

    def look() -> tuple[Answer, int | None]:
        found: Answer = service.call("GET", f"/v1.0/{{p}}/clusters/{cluster_id}")["cluster"]
        busy = found["status"] == "CREATING" or found["action_progress"]
        percents = [client.percent(one) for one in found["action_progress"].values()]
        return found, max(percents, default=0) if busy else None

    answer: Answer = {"cluster": {"id": cluster_id}}
    if wait:
        pace = client.pace_of(service, "cluster", cluster_id)
        answer = {"cluster": client.wait(what, look, as_json=as_json, wanted=("AVAILABLE",), pace=pace)}
    client.say(answer, as_json, _shown(answer["cluster"]))


def _shown(found: Answer) -> Answer:
    endpoints = [one["connect_info"] for one in found.get("endpoints") or ()]
    nodes = [one["name"] for one in found.get("nodes") or ()] or None
    failed = (found.get("failed_reasons") or {}).get("error_msg")
    facts = {**found, "endpoint": endpoints or None, "nodes": nodes, "failed_reasons": failed}
    return {name: facts.get(name) for name in _SHOWN}


def _check_up(latest: Answer) -> Answer:
    """Return the latest check-up in words: the findings that are to be mended, or that there are none."""
    if latest["time"] is None:
        return {}
    bad = [one for one in latest["findings"] if one["weight"] != "good"]
    told = [f"{one['weight']}: {one['node']}: {one['message']} ({one['mend'] or 'see there'})" for one in bad]
    return {"checked": latest["time"], "check_up": told or "good"}


def _password() -> str:
    """Ask for the password. It is never taken from the command line, which everyone on the host can read."""
    given = os.environ.get("STILLHOUSE_USER_PWD")
    if given is not None:
        return given
    return (
        getpass.getpass("Password of the cluster's user: ")
        if sys.stdin.isatty()
        else sys.stdin.readline().strip()
    )
