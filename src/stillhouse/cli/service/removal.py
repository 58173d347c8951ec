"""Commands of `stillhouse snapshot`: delete snapshots and bring them back, one or many, tried dry first if wanted."""

from collections.abc import Callable, Sequence

from stillhouse.cli.service import client, retention
from stillhouse.cli.service.client import Access, Answer, Client
from stillhouse.cli.service.known_names import ClusterName, SnapshotName, TrashedName
from stillhouse.cli.service.snapshot import state_of
from stillhouse.cli.terminal import command, confirm
from stillhouse.cli.terminal.command import Json
from stillhouse.errors import InvalidInput, ServiceRefused

_TRASH = "/stillhouse/v1/{p}/trash"
_SNAPSHOTS = "/stillhouse/v1/{p}/snapshots"
_TRASH_COLUMNS = ("id", "name", "state", "cluster_name", "live", "own", "deleted", "until", "how")
_COLUMNS = ("name", "id", "result")
_ANYONE = Access()
_FAILED = ("FAILED", "CANCELLED")

# Carries out one snapshot's part, and tells the result in a few words.
Act = Callable[[Answer], str]


def delete(
    *names: SnapshotName,
    cluster: ClusterName = "",
    yes: bool = False,
    dry_run: bool = False,
    access: Access = _ANYONE,
    json_: Json = False,
) -> None:
    """Move manual snapshots to the trash, from where `snapshot undelete` brings them back.

    Parameters
    ----------
    names
        The snapshots, by name or id.
    cluster
        In place of names: all manual snapshots of this cluster, by name or id. It asks first.
    yes
        Do not ask.
    dry_run
        Only tell the results that it would have.
    json_
        Print one JSON object.
    """

    def work(service: Client) -> None:
        if bool(names) == bool(cluster):
            raise InvalidInput("name the snapshots, or a --cluster for all of its manual snapshots")
        if names:
            found = [state_of(service, service.find("snapshot", name)) for name in names]
            chosen = list({one["id"]: one for one in found}.values())
        else:
            chosen = [one for one in _of_cluster(service, cluster) if one["type"] == "MANUAL"]
            if chosen and not dry_run:
                told = f"{len(chosen)} manual snapshots of {cluster} will go to the trash."
                confirm.demand(told, cluster, yes=yes, as_json=json_)
        _delete(service, chosen, dry_run=dry_run, as_json=json_)

    client.run(access, work)


def keep_last(
    number: int,
    /,
    *,
    cluster: ClusterName,
    yes: bool = False,
    dry_run: bool = False,
    access: Access = _ANYONE,
    json_: Json = False,
) -> None:
    """Keep a cluster's newest manual snapshots, and move its older manual ones to the trash.

    Only snapshots that can be restored count. Failed ones that are newer than the oldest one kept stay too.

    Parameters
    ----------
    number
        So many are kept; at least 1.
    cluster
        The cluster, by name or id.
    yes
        Do not ask.
    dry_run
        Only tell the results that it would have.
    json_
        Print one JSON object.
    """

    def work(service: Client) -> None:
        if number < 1:
            raise InvalidInput(
                "at least 1 snapshot is kept", hint="`snapshot delete --cluster` deletes all of them"
            )
        chosen = retention.beyond_last(_of_cluster(service, cluster), number)
        if chosen and not dry_run:
            told = f"{len(chosen)} manual snapshots of {cluster} will go to the trash:"
            lines = [f"  {one['started']}  {one['name']}" for one in chosen]
            confirm.demand("\n".join([told, *lines]), cluster, yes=yes, as_json=json_)
        _delete(service, chosen, dry_run=dry_run, as_json=json_)

    client.run(access, work)


def undelete(
    *names: TrashedName,
    cluster: ClusterName = "",
    dry_run: bool = False,
    access: Access = _ANYONE,
    json_: Json = False,
) -> None:
    """Bring snapshots back from the trash.

    Parameters
    ----------
    names
        The snapshots, by name or id.
    cluster
        In place of names: all snapshots in the trash of this cluster, by its name or id; it may be deleted.
    dry_run
        Only tell the results that it would have.
    json_
        Print one JSON object.
    """

    def work(service: Client) -> None:
        if bool(names) == bool(cluster):
            raise InvalidInput("name the snapshots, or a --cluster for all of its snapshots in the trash")
        found = service.call("GET", _TRASH)["snapshots"]
        if names:
            ids = [service.find("snapshot", name, among=_TRASH, where="in the trash") for name in names]
            known = {one["id"]: one for one in found}
            chosen = [known.get(one, {"id": one, "name": one, "can_be_undeleted": True}) for one in ids]
        else:
            wanted = cluster.lower()
            chosen = [one for one in found if wanted in (one["cluster_id"], one["cluster_name"].lower())]

        def bring_back(one: Answer) -> str:
            service.call("POST", f"/stillhouse/v1/{{p}}/snapshots/{one['id']}/undelete")
            return "it is back"

        may = "would come back" if dry_run else ""
        _act(chosen, bring_back, retention.obstacle_to_return, may, as_json=json_)

    client.run(access, work)


def trash(*, access: Access = _ANYONE, json_: Json = False) -> None:
    """List the snapshots in the trash, until when they can be brought back, and how."""

    def work(service: Client) -> None:
        answer = service.call("GET", _TRASH)
        rows = [one | client.sizes(one) | {"how": _how(one)} for one in answer["snapshots"]]
        client.say_all(answer, rows, _TRASH_COLUMNS, json_)

    client.run(access, work)


def _how(one: Answer) -> str:
    if not one["can_be_undeleted"]:
        return "it failed: there is nothing to bring back"
    return f"stillhouse snapshot undelete {one['name']}"


def _of_cluster(service: Client, cluster: str) -> list[Answer]:
    cluster_id = service.find("cluster", cluster)
    found: list[Answer] = service.call("GET", f"{_SNAPSHOTS}?cluster_id={cluster_id}")["snapshots"]
    return found


def _delete(service: Client, chosen: Sequence[Answer], *, dry_run: bool, as_json: bool) -> None:
    def move(one: Answer) -> str:
        service.call("DELETE", f"/v1.0/{{p}}/snapshots/{one['id']}")
        if one["state"] in _FAILED:
            return "it is deleted: it had failed, and there is nothing to bring back"
        return f"it is in the trash; `stillhouse snapshot undelete {one['name']}` brings it back"

    may = "would go to the trash" if dry_run else ""
    _act(chosen, move, retention.obstacle_to_deletion, may, as_json=as_json)


def _act(
    chosen: Sequence[Answer], act: Act, obstacle: Callable[[Answer], str], may: str, *, as_json: bool
) -> None:
    """Act on each snapshot, or only say `may` if it is given. One that is refused does not keep the others back."""
    if len(chosen) == 1 and not may:
        rows = [_row(chosen[0], done=True, result=act(chosen[0]))]
    else:
        rows = [_result(one, act, obstacle, may) for one in chosen]
    refused = sum(not row["done"] for row in rows)
    if as_json:
        command.say_json({"snapshots": rows, "count": len(rows), "dry_run": bool(may)})
    elif rows:
        command.say_table(_COLUMNS, rows)
    else:
        command.say("there is no snapshot to act on")
    if refused:
        raise ServiceRefused(f"{refused} of {len(rows)} snapshots stay as they are")


def _result(one: Answer, act: Act, obstacle: Callable[[Answer], str], may: str) -> Answer:
    if may:
        why = obstacle(one)
        return _row(one, done=not why, result=why or may)
    try:
        return _row(one, done=True, result=act(one))
    except ServiceRefused as refusal:
        return _row(one, done=False, result=refusal.message)


def _row(one: Answer, *, done: bool, result: str) -> Answer:
    return {"id": one["id"], "name": one["name"], "done": done, "result": result}
