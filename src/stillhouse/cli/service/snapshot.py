"""`stillhouse snapshot`: take, show, cancel, restore and prove snapshots, through the API."""

from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from stillhouse.cli.service import client, cluster, damage, listing
from stillhouse.cli.service.client import Access, Answer, Client
from stillhouse.cli.service.known_names import ClusterName, SnapshotName
from stillhouse.cli.service.listing import SortKey
from stillhouse.cli.service.project import Since
from stillhouse.cli.service.table_names import wanted_tables
from stillhouse.cli.terminal import confirm
from stillhouse.cli.terminal.command import Json, ServerSettings
from stillhouse.domain import chosen_settings
from stillhouse.domain.snapshot import MOST_IDS
from stillhouse.errors import InvalidInput

snapshot = App(name="snapshot", help="Snapshots of clusters. They are named by their name or their id.")

_COLUMNS = ("id", "name", "state", "progress", "type", "cluster_name", "started", "finished")
# The most wanted first: a narrow terminal leaves out the last.
_LISTED = (
    *("id", "name", "state", "cluster_name", "started", "own", "expires"),
    *("live", "stored", "progress", "type", "finished"),
)
_TRASH = "/stillhouse/v1/{p}/trash"
_DAMAGE = "/stillhouse/v1/{p}/damage"
_STATES = "/stillhouse/v1/{p}/snapshots"
# The fields of our own, beside those of DWS.
_OURS = (
    *("state", "failure", "live_bytes", "own_bytes", "stored_bytes", "added_bytes"),
    *("expires", "kept_because", "deleted", "until"),
)
_ANYONE = Access()


@snapshot.command
def create(
    name: str,
    /,
    *,
    cluster: ClusterName,
    description: str = "",
    wait: bool = False,
    access: Access = _ANYONE,
    json_: Json = False,
) -> None:
    """Take a snapshot of a cluster.

    Parameters
    ----------
    name
        Name of the snapshot.
    cluster
        The cluster, by name or id.
    description
        A line about it.
    wait
        Until it is available, or has failed.
    json_
        Print one JSON object.
    """

    def work(service: Client) -> None:
        wanted = {"name": name, "cluster_id": service.find("cluster", cluster), "description": description}
        answer = service.call("POST", "/v1.0/{p}/snapshots", {"snapshot": wanted})
        if wait:
            answer = {"snapshot": _available(service, answer["snapshot"]["id"], as_json=json_)}
        client.say(answer, json_, _shown(answer["snapshot"]))

    client.run(access, work)


@snapshot.command(name="list")
def list_(
    *,
    cluster: ClusterName = "",
    status: Literal["CREATING", "AVAILABLE", "FAILED", "UNAVAILABLE"] | None = None,
    since: Since = "",
    sort: SortKey = "started",
    reverse: Annotated[bool, Parameter(negative="")] = False,
    limit: int = 0,
    page: int = 1,
    access: Access = _ANYONE,
    json_: Json = False,
) -> None:
    """List snapshots, the newest first.

    Parameters
    ----------
    cluster
        Only this cluster's, by name or id.
    status
        Only those in this state; FAILED has those that were cancelled too, and is UNAVAILABLE in the API.
    sort
        The column to sort by: times and sizes from the latest and largest on, the others from A to Z.
    reverse
        Sort the other way round.
    limit
        At most so many, a page; 0 for all.
    page
        The number of the page.
    json_
        Print one JSON object.
    """

    def work(service: Client) -> None:
        cluster_id = service.find("cluster", cluster) if cluster else ""
        wanted = "UNAVAILABLE" if status == "FAILED" else status
        query = listing.query(cluster_id, wanted, since, sort, limit, page, reverse=reverse)
        answer = service.call("GET", f"/v1.0/{{p}}/snapshots?{query}")
        states = _of_ids(service, _STATES, "id", [one["id"] for one in answer["snapshots"]])
        for one in answer["snapshots"]:
            one |= {name: states.get(one["id"], {}).get(name) for name in _OURS}
        damaged = [one["id"] for one in answer["snapshots"] if one["state"] == "DAMAGED"]
        lost = _of_ids(service, _DAMAGE, "snapshot_id", damaged)
        for one in answer["snapshots"]:
            one["damage"] = lost.get(one["id"])
        rows = [
            one | client.sizes(one) | client.fate(one) | {"damage": damage.words(one["damage"])}
            for one in answer["snapshots"]
        ]
        client.say_all(answer, rows, (*_LISTED, "damage") if lost else _LISTED, json_)
        if limit and not json_ and answer["count"] > limit:
            listing.tell_page(page, limit, answer["count"])

    client.run(access, work)


@snapshot.command
def show(name: SnapshotName, /, *, access: Access = _ANYONE, json_: Json = False) -> None:
    """Show one snapshot, with its losses if it has any; also one in the trash."""

    def work(service: Client) -> None:
        snapshot_id = _known(service, name)
        ours = state_of(service, snapshot_id)
        if ours["deleted"]:
            client.say({"snapshot": ours}, json_, _shown(ours))
            return
        answer: Answer = {"snapshot": _with_dws(service, ours)}
        answer |= service.call("GET", f"/stillhouse/v1/{{p}}/snapshots/{snapshot_id}/damage")
        client.say(answer, json_, _shown(answer["snapshot"]) | damage.fields(answer["damage"]))

    client.run(access, work)


@snapshot.command
def cancel(name: SnapshotName, /, *, access: Access = _ANYONE, json_: Json = False) -> None:
    """Stop a snapshot that is being taken."""

    def work(service: Client) -> None:
        snapshot_id = service.find("snapshot", name)
        path = f"/stillhouse/v1/{{p}}/snapshots/{snapshot_id}/cancel"
        client.say(service.call("POST", path), json_, {"id": snapshot_id})

    client.run(access, work)


@snapshot.command
def restore(
    name: SnapshotName,
    /,
    *,
    to: str,
    port: int | None = None,
    set_: ServerSettings = (),
    wait: bool = False,
    access: Access = _ANYONE,
    json_: Json = False,
) -> None:
    """Restore a snapshot into a new cluster.

    Parameters
    ----------
    name
        The snapshot, by name or id.
    to
        Name of the new cluster.
    port
        Port of the new cluster.
    set_
        A setting of PostgreSQL, as name=value, where this host cannot honour the snapshot's; may be given several
        times.
    wait
        Until it is available, or has failed.
    json_
        Print one JSON object.
    """

    def work(service: Client) -> None:
        wanted: dict[str, Any] = {"name": to} | ({} if port is None else {"port": port})
        if set_:
            wanted["server_settings"] = chosen_settings.parse(set_)
        path = f"/v1.0/{{p}}/snapshots/{service.find('snapshot', name)}/actions"
        cluster_id = service.call("POST", path, {"restore": wanted})["cluster"]["id"]
        cluster.say_new(service, cluster_id, f"restoring to {to}", wait=wait, as_json=json_)

    client.run(access, work)


@snapshot.command
def restore_tables(
    name: SnapshotName,
    /,
    *tables: str,
    database: str = "gaussdb",
    case_sensitive: bool = False,
    check: bool = False,
    yes: bool = False,
    wait: bool = False,
    access: Access = _ANYONE,
    json_: Json = False,
) -> None:
    """Put tables of a snapshot back into its cluster. It asks before it replaces tables that are there.

    Parameters
    ----------
    name
        The snapshot, by name or id.
    tables
        schema.table, or schema.table=schema.table for another name in the cluster than schema_dws_backup.table_time.
    database
        The database that they are in.
    case_sensitive
        Take names as they are written; else they are folded to lower case.
    check
        Only tell the objections to it; the exit code is 1 when something is missing.
    yes
        Do not ask.
    wait
        Until it is done, or has failed.
    json_
        Print one JSON object.
    """

    def work(service: Client) -> None:
        body = {"case_sensitive": case_sensitive, "database": database, **wanted_tables(tables)}
        path = f"/v1/{{p}}/snapshots/{service.find('snapshot', name)}/table-restore"
        if check:
            _say_checked(service.call("POST", f"{path}-check", body), as_json=json_)
            return
        if not yes:
            _ask_to_replace(service.call("POST", f"{path}-check", body), database)
        answer = service.call("POST", path, body)
        if wait:
            answer = _restored(service, answer["job_id"], as_json=json_)
        client.say(answer, json_)

    client.run(access, work)


@snapshot.command
def prove(
    name: SnapshotName, /, *, wait: bool = False, access: Access = _ANYONE, json_: Json = False
) -> None:
    """Restore a snapshot into scratch space, check every page and row there, and record the result.

    Parameters
    ----------
    name
        The snapshot, by name or id.
    wait
        Until the proof has ended; the exit code is 1 unless the snapshot is proved.
    json_
        Print one JSON object.
    """

    def work(service: Client) -> None:
        snapshot_id = service.find("snapshot", name)
        answer = service.call("POST", f"/stillhouse/v1/{{p}}/snapshots/{snapshot_id}/prove")
        if wait:
            _await_proof(service, snapshot_id, name, as_json=json_)
            answer = _proof(service, snapshot_id)
        client.say(answer, json_, answer["proof"])

    client.run(access, work)


@snapshot.command
def proof(name: SnapshotName, /, *, access: Access = _ANYONE, json_: Json = False) -> None:
    """Show a snapshot's latest proof."""

    def work(service: Client) -> None:
        answer = _proof(service, service.find("snapshot", name))
        client.say(answer, json_, answer["proof"] or {"state": "never proved"})

    client.run(access, work)


def state_of(service: Client, snapshot_id: str) -> Answer:
    """Return the snapshot in our own words."""
    found: Answer = service.call("GET", f"{_STATES}/{snapshot_id}")["snapshot"]
    return found


def _with_dws(service: Client, ours: Answer) -> Answer:
    """Return the snapshot as DWS shows it, with its state and failure in our own words."""
    found: Answer = service.call("GET", f"/v1.0/{{p}}/snapshots/{ours['id']}")["snapshot"]
    return found | {name: ours[name] for name in _OURS}


def _of_ids(service: Client, path: str, key: str, ids: list[str]) -> dict[str, Answer]:
    """Return the answers for these snapshots by their ids, asked for in batches."""
    return {
        one[key]: one
        for begin in range(0, len(ids), MOST_IDS)
        for one in service.call("GET", f"{path}?ids={','.join(ids[begin : begin + MOST_IDS])}")["snapshots"]
    }


def _shown(found: Answer) -> Answer:
    shown = {name: found.get(name) for name in ("description", *_COLUMNS)}
    shown |= {"failure": client.why(found.get("failure")), **client.sizes(found)}
    if not found.get("deleted"):
        return shown | client.fate(found)
    back = f"stillhouse snapshot undelete {found['name']}"
    return shown | {"in the trash since": found["deleted"], "until": found["until"], "to bring it back": back}


def _known(service: Client, name: str) -> str:
    """Find a snapshot's id by its id or name, in the trash too if it is not elsewhere."""
    try:
        return service.find("snapshot", name)
    except InvalidInput:
        if not any(one["name"].lower() == name.lower() for one in service.call("GET", _TRASH)["snapshots"]):
            raise
    return service.find("snapshot", name, among=_TRASH)


def _available(service: Client, snapshot_id: str, *, as_json: bool) -> Answer:
    def look() -> tuple[Answer, int | None]:
        found = state_of(service, snapshot_id)
        return found, client.percent(found["progress"]) if found["state"] == "CREATING" else None

    pace = client.pace_of(service, "snapshot", snapshot_id)
    meanwhile = (
        f"`stillhouse snapshot show {snapshot_id}` tells how far it is, "
        f"`stillhouse snapshot cancel {snapshot_id}` stops it"
    )
    ours = client.wait(
        "taking the snapshot",
        look,
        as_json=as_json,
        wanted=("AVAILABLE",),
        meanwhile=meanwhile,
        pace=pace,
    )
    return _with_dws(service, ours)


def _ask_to_replace(checked: Answer, database: str) -> None:
    """Ask if tables of the cluster would be replaced: a table that is named, or the copy of an earlier restore."""
    replaced = checked["check_table_name_result"]["target_table_list"]
    if replaced:
        told = f"These tables of the cluster will be replaced: {', '.join(replaced)}."
        confirm.demand(told, database, yes=False)


def _say_checked(answer: Answer, *, as_json: bool) -> None:
    found = answer["check_table_name_result"]
    missing = found["restore_table_list"] or []
    lines = {
        "missing database": found["database"],
        "not in the snapshot": ", ".join(missing),
        "would be replaced": ", ".join(found["target_table_list"] or []),
    }
    client.say(answer, as_json, lines if any(lines.values()) else {"found": "nothing speaks against it"})
    if found["database"] or missing:
        raise InvalidInput("these tables cannot be restored as they are named")


def _restored(service: Client, job_id: str, *, as_json: bool) -> Answer:
    def look() -> tuple[Answer, int | None]:
        seen = service.call("GET", f"/stillhouse/v1/{{p}}/operations/{job_id}")["operation"]
        return seen, client.percent(seen["progress"]) if seen["state"] == "RUNNING" else None

    meanwhile = "`stillhouse cluster operations` tells how far it is; it cannot be called off"
    client.wait("restoring tables", look, as_json=as_json, wanted=("DONE",), meanwhile=meanwhile)
    return service.call("GET", f"/v1.0/{{p}}/job/{job_id}")


def _proof(service: Client, snapshot_id: str) -> Answer:
    return service.call("GET", f"/stillhouse/v1/{{p}}/snapshots/{snapshot_id}/proof")


def _await_proof(service: Client, snapshot_id: str, name: str, *, as_json: bool) -> None:
    def look() -> tuple[Answer, int | None]:
        found = _proof(service, snapshot_id)["proof"]
        reason = found["reason"] or "; ".join(found["findings"])  # an older proof has only these
        found["failure"] = {"reason": reason, "hint": found["hint"]}
        return found, client.percent(found["progress"]) if found["state"] == "RUNNING" else None

    meanwhile = f"`stillhouse snapshot proof {name}` tells how far it is; it cannot be called off"
    client.wait(f"proving {name}", look, as_json=as_json, wanted=("PROVED",), meanwhile=meanwhile)
