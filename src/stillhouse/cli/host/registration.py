"""`stillhouse cluster add, check, grants, propose, connect, remove`: servers of somebody's, by the service's operator.

They work on the data directory: a registration names hosts that the service connects to, and files with passwords that
it reads. The API does the same for callers with the permission `stillhouse:cluster:register`, but for the files.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from stillhouse.cli.service.known_names import ClusterName
from stillhouse.cli.terminal import chosen_snapshots, command, confirm, passwords, settings
from stillhouse.cli.terminal.command import Data, Json, Project
from stillhouse.cli.terminal.near import did_you_mean
from stillhouse.domain.ids import is_uuid
from stillhouse.domain.registered.registration import DEFAULT_ROLE, DEFAULT_TLS
from stillhouse.errors import InvalidInput

if TYPE_CHECKING:
    from stillhouse.control.catalog_context import CatalogContext
    from stillhouse.control.context import Control
    from stillhouse.domain.registered.check_up import Finding
    from stillhouse.domain.registered.registration import Registration

_PASSWORD = "STILLHOUSE_NODE_PWD"  # noqa: S105 (the name of a variable)


@Parameter(name="*")
@dataclass(frozen=True)
class Way:
    """The way to the servers: a YAML file, or flags.

    Parameters
    ----------
    file
        A YAML file with the registration, in place of the other flags; see docs/existing.md.
    host
        HOST or HOST:PORT of the server, or of the coordinator; several times for a primary and its standbys, in any
        order.
    engine
        single, or fdw for a coordinator with data nodes.
    data_node
        HOST:PORT of a data node, with those of its standbys after commas; once for each data node.
    role
        The role that the service logs in as.
    password_file
        A file whose first line is the password, read at each login; else it is taken from STILLHOUSE_NODE_PWD, or asked
        for, and kept sealed in the catalog.
    pgpass_file
        A file in the form of ~/.pgpass, which libpq reads at each login, in place of `--password-file`.
    tls
        disable, require, verify-ca or verify-full, as libpq's sslmode.
    ca_file
        A PEM file with the authorities that are trusted.
    """

    file: Path | None = None
    host: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    engine: str = "single"
    data_node: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    role: str = DEFAULT_ROLE
    password_file: Path | None = None
    pgpass_file: Path | None = None
    tls: str = DEFAULT_TLS
    ca_file: Path | None = None


_ANY_WAY = Way()


def add(name: str = "", /, *, data: Data, project: Project, way: Way = _ANY_WAY, json_: Json = False) -> None:
    """Register PostgreSQL servers that exist. They are checked first; the service may be running.

    Parameters
    ----------
    name
        Name of the new cluster; a YAML file may hold it.
    """
    from stillhouse.control.clusters.registration import register_cluster

    def register(context: "CatalogContext") -> None:
        wanted = _registration(name, way)
        cluster_id = register_cluster(context, project, wanted)
        command.say_fields({"id": cluster_id, "name": wanted.name}, json_)

    command.run_on(data, register)


def connect(
    name: ClusterName, /, *, data: Data, project: Project, way: Way = _ANY_WAY, json_: Json = False
) -> None:
    """Give a registered cluster other addresses, another password or other certificates; the servers stay the same.

    Parameters
    ----------
    name
        The cluster, by name or id.
    """
    from stillhouse.control.clusters.registration import change_connections

    def change(context: "CatalogContext") -> None:
        cluster_id = _find(context, project, name)
        change_connections(context, project, cluster_id, _registration(name, way))
        command.say_fields({"id": cluster_id}, json_)

    command.run_on(data, change)


def remove(
    name: ClusterName,
    /,
    *,
    data: Data,
    project: Project,
    keep_snapshots: int | None = None,
    delete_snapshots: Annotated[bool, Parameter(negative="")] = False,
    dead_nodes: Annotated[bool, Parameter(negative="")] = False,
    yes: bool = False,
    json_: Json = False,
) -> None:
    """Forget a registered cluster. It asks for the cluster's name first.

    Its servers go on, with nothing of ours on them. Manual snapshots stay; automated ones go to the trash.

    Parameters
    ----------
    name
        The cluster, by name or id.
    keep_snapshots
        Only so many of its newest manual snapshots stay; the others go to the trash.
    delete_snapshots
        All of its snapshots go to the trash.
    dead_nodes
        Forget it even if a server does not answer, which then keeps our schema.
    yes
        Do not ask.
    """
    from stillhouse.control.clusters.removal import remove_cluster

    def forget(control: "Control") -> None:
        cluster_id = _find(control, project, name)
        kept = chosen_snapshots.number_kept(keep_snapshots, delete_all=delete_snapshots)
        told = f"Cluster {name} will be forgotten. Its servers go on, with nothing of ours on them."
        confirm.demand(f"{told}\n{chosen_snapshots.fate(kept)}", name, yes=yes, as_json=json_)
        control.flows.prepare()  # the service carries it out, now or at its next start
        remove_cluster(control, project, cluster_id, kept, dead_nodes=dead_nodes)
        command.say_fields({"id": cluster_id}, json_)

    _run_with_flows(data, forget)


def check(
    name: ClusterName = "",
    /,
    *,
    data: Path | None = None,
    project: str = "",
    way: Way = _ANY_WAY,
    json_: Json = False,
) -> None:
    """Check PostgreSQL servers, registered or not; nothing is changed. Exit code 1 if they cannot be captured.

    Parameters
    ----------
    name
        A registered cluster, by name or id, with --data and --project; else the flags say where the servers are.
    data
        The service's data directory.
    project
        Project id of the registered cluster.
    """
    from stillhouse.control.clusters.check_ups import check_up_cluster
    from stillhouse.control.clusters.registration import examine_servers

    def look(context: "CatalogContext") -> None:
        _report(check_up_cluster(context, project, _find(context, project, name)).findings, json_)

    if name and data is not None:
        command.run_on(data, look)
        return
    command.run(lambda: _report(examine_servers(_registration(name or "unnamed", way)), json_))


def propose(name: str, /, *, way: Way = _ANY_WAY) -> None:
    """Print the YAML file that registers a coordinator with the data nodes that its foreign servers lead to.

    Parameters
    ----------
    name
        Name of the new cluster.
    """
    from stillhouse.control.clusters.registration import propose as propose_nodes

    def show() -> None:
        import yaml

        found = propose_nodes(_registration(name, way).coordinator, name)
        command.say(yaml.safe_dump(found, sort_keys=False).rstrip())

    command.run(show)


def grants(
    *,
    role: str = DEFAULT_ROLE,
    engine: str = "single",
    revoke: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Print the SQL that gives a role the rights that it needs. Run it in the database postgres, as a superuser.

    Parameters
    ----------
    role
        The role that the service logs in as.
    engine
        fdw adds the rights on a coordinator with data nodes.
    revoke
        Print the SQL that takes the rights away again.
    """
    from stillhouse.postgres.sessions.grants import script

    command.say(script(role, gate=engine == "fdw", revoke=revoke).rstrip())


def _run_with_flows(data: Path, work: "Callable[[Control], None]") -> None:
    """Run a command that leaves a flow to the service, beside the service if that is running."""
    from stillhouse.bootstrap.service import open_control

    def open_and_work() -> None:
        with open_control(settings.read({"data": data})) as control:
            work(control)

    command.run(open_and_work)


def _report(findings: "Sequence[Finding]", as_json: bool) -> None:
    from stillhouse.domain.registered.check_up import musts

    command.say_rows("findings", [shown(one) for one in findings], as_json)
    if musts(findings):
        raise InvalidInput("the servers cannot be captured", hint="mend each finding that is a must")


def shown(finding: "Finding") -> dict[str, str]:
    return {
        "weight": finding.weight.value,
        "node": finding.node,
        "about": finding.about,
        "message": finding.message,
        "mend": finding.mend,
    }


def _registration(name: str, way: Way) -> "Registration":
    from stillhouse.domain.registered.registration import read

    document = _document(way.file) if way.file else _flags(way)
    if name:
        document["name"] = name
    if not any(one.get("password_file") or one.get("pgpass_file") for one in _logins(document)):
        document.setdefault("password", passwords.ask(_PASSWORD, str(document.get("role", DEFAULT_ROLE))))
    return read(document)


def _logins(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the parts of a document that may say where a password is."""
    parts = [document, document.get("coordinator"), *(document.get("data_nodes") or [])]
    return [part for part in parts if isinstance(part, dict)]


def _document(file: Path) -> dict[str, Any]:
    import yaml

    try:
        found = yaml.safe_load(command.read_text(file))
    except (yaml.YAMLError, RecursionError) as error:
        place = getattr(error, "problem_mark", None)
        where = f" in line {place.line + 1}" if place else ""
        raise InvalidInput(f"{file} is not YAML{where}") from None  # its text may hold a password
    if not isinstance(found, dict):
        raise InvalidInput(f"{file} holds no registration")
    return found


def _flags(way: Way) -> dict[str, Any]:
    if not way.host:
        raise InvalidInput("no server is named", hint="--host HOST:PORT names it, or --file a YAML file")
    files = {"password_file": way.password_file, "pgpass_file": way.pgpass_file, "ca_file": way.ca_file}
    return {
        "engine": way.engine,
        "role": way.role,
        "tls": way.tls,
        **{name: str(path) for name, path in files.items() if path is not None},
        "coordinator": {"hosts": [*way.host]},
        "data_nodes": [{"hosts": hosts.split(",")} for hosts in way.data_node],
    }


def _find(context: "CatalogContext", project: str, name: str) -> str:
    """Find a cluster's id by its name or its id."""
    from stillhouse.control.clusters.registration import cluster_ids

    if is_uuid(name):
        return name.lower()
    ids = cluster_ids(context, project)
    found = {known.lower(): one for known, one in ids.items()}.get(name.lower())
    if found is None:
        near = did_you_mean(name, {one: one for one in ids}, "give its name or its id")
        raise InvalidInput(f"there is no cluster named {name[:64]}", hint=near)
    return found
