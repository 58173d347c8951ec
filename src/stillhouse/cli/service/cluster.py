"""`stillhouse cluster`: make, show and delete clusters, through the API."""

from typing import Annotated

from cyclopts import App, Parameter

from stillhouse.cli.service import client
from stillhouse.cli.service.client import Access, Answer, Client
from stillhouse.cli.service.known_names import ClusterName
from stillhouse.cli.terminal import chosen_snapshots, confirm, passwords
from stillhouse.cli.terminal.command import Json

cluster = App(name="cluster", help="Warehouse clusters. They are named by their name or their id.")

_COLUMNS = ("id", "name", "state", "task_status", "number_of_node", "port", "created")
_SHOWN = (*_COLUMNS, "user_name", "endpoint", "nodes", "failure")
_OPERATIONS = ("started", "kind", "state", "progress", "cluster_name", "subject_id", "failure")
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
            "user_pwd": passwords.ask("STILLHOUSE_USER_PWD", "the cluster's user"),
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
        found = service.call("GET", "/stillhouse/v1/{p}/clusters")["clusters"]
        states = {one["id"]: one for one in found}
        for one in answer["clusters"]:
            one.update(states.get(one["id"], {"state": one["status"]}))
        client.say_all(answer, answer["clusters"], _COLUMNS, json_)

    client.run(access, work)


@cluster.command
def show(name: ClusterName, /, *, access: Access = _ANYONE, json_: Json = False) -> None:
    """Show one cluster, and the latest check-up of servers that are somebody's."""

    def work(service: Client) -> None:
        cluster_id = service.find("cluster", name)
        found = _cluster(service, cluster_id)
        latest = service.call("GET", f"/stillhouse/v1/{{p}}/clusters/{cluster_id}/check-up")
        answer: Answer = {"cluster": found}
        if latest["time"] is not None:
            answer["check_up"] = latest
        client.say(answer, json_, {**_shown(found), **_check_up(latest)})

    client.run(access, work)


@cluster.command
def delete(
    name: ClusterName,
    /,
    *,
    keep_snapshots: int | None = None,
    delete_snapshots: Annotated[bool, Parameter(negative="")] = False,
    yes: bool = False,
    access: Access = _ANYONE,
    json_: Json = False,
) -> None:
    """Delete a cluster with its data, or forget a registered one. It asks for the cluster's name first.

    Manual snapshots that can be restored stay; automated ones go to the trash.

    Parameters
    ----------
    name
        The cluster, by name or id.
    keep_snapshots
        Only so many of its newest manual snapshots stay; the others go to the trash.
    delete_snapshots
        All of its snapshots go to the trash.
    yes
        Do not ask.
    json_
        Print one JSON object.
    """

    def work(service: Client) -> None:
        kept = chosen_snapshots.number_kept(keep_snapshots, delete_all=delete_snapshots)
        found = _cluster(service, service.find("cluster", name))
        confirm.demand(_farewell(service, found, kept), found["name"], yes=yes, as_json=json_)
        path, body = f"/v1.0/{{p}}/clusters/{found['id']}", {"keep_last_manual_snapshot": kept}
        client.say(service.call("DELETE", path, body), json_, {"id": found["id"]})

    client.run(access, work)


@cluster.command
def operations(
    cluster: ClusterName = "",
    *,
    failed: bool = False,
    limit: int = 20,
    access: Access = _ANYONE,
    json_: Json = False,
) -> None:
    """List the operations on clusters, the newest first, with the reasons of failures.

    Parameters
    ----------
    cluster
        Only this cluster's, by name or id.
    failed
        Only those that failed or were cancelled.
    limit
        So many at most.
    json_
        Print one JSON object.
    """

    def work(service: Client) -> None:
        path = f"/stillhouse/v1/{{p}}/operations?limit={limit}&failed={str(failed).lower()}"
        if cluster:
            path += f"&cluster_id={service.find('cluster', cluster)}"
        answer = service.call("GET", path)
        rows = [one | {"failure": client.why(one["failure"])} for one in answer["operations"]]
        client.say_all(answer, rows, _OPERATIONS, json_)

    client.run(access, work)


def say_new(
    service: Client, cluster_id: str, what: str, *, wait: bool, as_json: bool, wanted: str = "AVAILABLE"
) -> None:
    """Print the id of a cluster that is being changed; with `wait` the cluster, once no operation holds it."""
    answer: Answer = {"cluster": {"id": cluster_id}}
    if wait:
        answer = {"cluster": await_change(service, cluster_id, what, as_json=as_json, wanted=wanted)}
    client.say(answer, as_json, _shown(answer["cluster"]))


def await_change(
    service: Client, cluster_id: str, what: str, *, as_json: bool, wanted: str = "AVAILABLE"
) -> Answer:
    """Wait until no operation holds the cluster, and return it in the state `wanted`. Raises as `client.wait`."""

    def look() -> tuple[Answer, int | None]:
        found = _cluster(service, cluster_id)
        # DWS's progress leaves stops and starts out.
        busy = found["status"] == "CREATING" or found["action_progress"] or found["task_status"]
        percents = [client.percent(one) for one in found["action_progress"].values()]
        return found, max(percents, default=0) if busy else None

    pace = client.pace_of(service, "cluster", cluster_id)
    meanwhile = f"`stillhouse cluster show {cluster_id}` tells how far it is; it cannot be called off"
    return client.wait(what, look, as_json=as_json, wanted=(wanted,), meanwhile=meanwhile, pace=pace)


def _cluster(service: Client, cluster_id: str) -> Answer:
    """Return the cluster as DWS shows it, with its state, nodes and failure in our own words."""
    found: Answer = service.call("GET", f"/v1.0/{{p}}/clusters/{cluster_id}")["cluster"]
    ours: Answer = service.call("GET", f"/stillhouse/v1/{{p}}/clusters/{cluster_id}")["cluster"]
    return found | {name: ours[name] for name in ("state", "failure", "node_states")}


def _farewell(service: Client, found: Answer, kept: int) -> str:
    """Tell a user how many snapshots go with the cluster."""
    path = f"/stillhouse/v1/{{p}}/snapshots?cluster_id={found['id']}"
    every = service.call("GET", path)["snapshots"]
    usable = [one for one in every if one["type"] == "MANUAL" and one["state"] in ("AVAILABLE", "DAMAGED")]
    stay = min(kept, len(usable))
    fate = f"{stay} of its {len(every)} snapshots will stay, the others go to the trash."
    return (
        f"Cluster {found['name']} ({found['id']}) will be deleted with all its data.\n"
        f"{fate if every else 'It has no snapshots.'}"
    )


def _shown(found: Answer) -> Answer:
    endpoints = [one["connect_info"] for one in found.get("endpoints") or ()]
    nodes = [_node(one) for one in found.get("node_states") or ()]
    ours = {
        "endpoint": endpoints or None,
        "nodes": nodes or None,
        "failure": client.why(found.get("failure")),
    }
    facts = found | ours
    return {name: facts.get(name) for name in _SHOWN}


def _node(found: Answer) -> str:
    """Return a node's name and state, and why it is in it; the reason names the node too."""
    told = f"{found['name']} {found['state']}"
    why = found["reason"].removeprefix(f"node {found['name']} does not answer: ")
    return f"{told}: {why}" if why else told


def _check_up(latest: Answer) -> Answer:
    """Return the latest check-up in words: the findings that are to be mended, or that there are none."""
    if latest["time"] is None:
        return {}
    bad = [one for one in latest["findings"] if one["weight"] != "good"]
    told = [f"{one['weight']}: {one['node']}: {one['message']} ({one['mend'] or 'see there'})" for one in bad]
    return {"checked": latest["time"], "check_up": told or "good"}
