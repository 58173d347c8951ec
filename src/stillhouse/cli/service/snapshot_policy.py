"""`stillhouse policy`: the schedules of a cluster's automated snapshots, and how long these are kept."""

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from cyclopts import App

from stillhouse.cli.service import client
from stillhouse.cli.service.client import Access, Answer, Client
from stillhouse.cli.service.known_names import ClusterName
from stillhouse.cli.terminal import command
from stillhouse.cli.terminal.command import Json
from stillhouse.domain.ids import is_uuid
from stillhouse.errors import InvalidInput

policy = App(name="policy", help="Policies of automated snapshots. They are named by their name or their id.")

_COLUMNS = ("policy_id", "policy_name", "backup_strategy", "backup_type", "next_run")
_RUNS = ("due", "policy_name", "backup_type", "begins", "expires", "reason")
_EXPIRING = ("name", "state", "started", "expires", "because")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ANYONE = Access()


@policy.command(name="list")
def list_(*, cluster: ClusterName, access: Access = _ANYONE, json_: Json = False) -> None:
    """List a cluster's policies, and when each runs next.

    Parameters
    ----------
    cluster
        The cluster, by name or id.
    json_
        Print one JSON object, with the days that snapshots are kept.
    """

    def work(service: Client) -> None:
        answer = _policies(service, service.find("cluster", cluster))
        rows = [{**one, "next_run": _next_run(one)} for one in answer["backup_strategies"]]
        client.say_all(answer, rows, _COLUMNS, json_)

    client.run(access, work)


@policy.command(name="set")
def set_(
    name: str | None = None,
    /,
    *,
    cluster: ClusterName,
    schedule: str | None = None,
    type_: Literal["full", "increment"] | None = None,
    keep_days: int | None = None,
    enabled: bool | None = None,
    access: Access = _ANYONE,
    json_: Json = False,
) -> None:
    """Make a policy or change it; without a name, change the settings of all the cluster's policies.

    Parameters
    ----------
    name
        The policy; one that is not there is made, and needs a schedule and a type.
    cluster
        The cluster, by name or id.
    schedule
        When it runs, in UTC: a cron text like '0 0 2 ? * *', or one time like 2026-11-30T02:00:00.
    type_
        Read everything anew, or only changes.
    keep_days
        For how many days the cluster's automated snapshots are kept.
    enabled
        Whether the cluster's policies are carried out.
    json_
        Print one JSON object.
    """

    def work(service: Client) -> None:
        cluster_id = service.find("cluster", cluster)
        wanted: dict[str, Any] = {"keep_day": keep_days, "auto_backup": enabled}
        if name is not None:
            known = _find(_policies(service, cluster_id), name)
            naming = {"policy_name": name} if known is None else {"policy_id": known["policy_id"]}
            chosen = {"backup_strategy": schedule, "backup_type": type_}
            wanted["backup_strategies"] = [naming | _given(chosen) | {"backup_level": "cluster"}]
        elif schedule is not None or type_ is not None:
            raise InvalidInput("a schedule and a type are of one policy", hint="name it")
        service.call("PUT", _path(cluster_id), _given(wanted))
        answer = _policies(service, cluster_id)
        told = {"keep_days": answer["keep_day"], "enabled": answer["auto_backup"]}
        if name is not None and (one := _find(answer, name)) is not None:
            told |= one | {"next_fire_time": _next_run(one)}
        client.say(answer, json_, told)

    client.run(access, work)


@policy.command
def preview(*, cluster: ClusterName, runs: int = 10, access: Access = _ANYONE, json_: Json = False) -> None:
    """Tell the next runs of a cluster's policies, and which snapshots will go, and why.

    Parameters
    ----------
    cluster
        The cluster, by name or id.
    runs
        How many runs.
    json_
        Print one JSON object.
    """

    def work(service: Client) -> None:
        cluster_id = service.find("cluster", cluster)
        path = f"/stillhouse/v1/{{p}}/clusters/{cluster_id}/policy-preview?runs={runs}"
        answer = service.call("GET", path)
        if json_:
            command.say_json(answer)
            return
        if not answer["auto_backup"]:
            command.say("Its policies are switched off: nothing is taken.")
        elif answer["runs"]:
            command.say_table(_RUNS, answer["runs"])
        else:
            command.say("No run is to come.")
        if answer["snapshots"]:
            command.say("")
            command.say_table(_EXPIRING, [one | client.fate(one) for one in answer["snapshots"]])

    client.run(access, work)


@policy.command
def delete(name: str, /, *, cluster: ClusterName, access: Access = _ANYONE, json_: Json = False) -> None:
    """Delete a policy; the snapshots it has taken stay as long as they would.

    Parameters
    ----------
    name
        The policy, by name or id.
    cluster
        The cluster, by name or id.
    json_
        Print one JSON object.
    """

    def work(service: Client) -> None:
        cluster_id = service.find("cluster", cluster)
        known = _find(_policies(service, cluster_id), name)
        if known is None:
            raise InvalidInput(
                f"the cluster has no policy named {name[:64]}", hint="see `stillhouse policy list`"
            )
        path = f"/v1.0/{{p}}/clusters/{cluster_id}/snapshot-policies/{known['policy_id']}"
        client.say(service.call("DELETE", path), json_, {"policy_id": known["policy_id"]})

    client.run(access, work)


def _path(cluster_id: str) -> str:
    return f"/v2/{{p}}/clusters/{cluster_id}/snapshot-policies"


def _policies(service: Client, cluster_id: str) -> Answer:
    return service.call("GET", _path(cluster_id))


def _find(answer: Answer, named: str) -> Answer | None:
    word = "policy_id" if is_uuid(named) else "policy_name"
    found: list[Answer] = answer["backup_strategies"]
    return next((one for one in found if one[word].lower() == named.lower()), None)


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _next_run(one: Answer) -> str | None:
    """Return milliseconds since 1970 as a time."""
    fires = one["next_fire_time"]
    return None if fires is None else command.moment(_EPOCH + timedelta(milliseconds=int(fires)))
