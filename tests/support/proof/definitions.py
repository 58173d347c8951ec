"""A database's definitions as pg_dump writes them, split into entries, without the parts that rewiring changes."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from stillhouse.domain.cluster import Node, Role
from stillhouse.errors import ProofFailed
from stillhouse.postgres.host.binaries import Binaries
from stillhouse.postgres.sessions import session

# Maps the name of an entry, for example "INDEX public.accounts_owner", to its SQL.
Definitions = Mapping[str, str]

_LONGEST_SECONDS = 3600.0
_LINES_SHOWN = 3

# The header of an entry in pg_dump's output (bin/pg_dump/pg_backup_archiver.c, _printTocEntry).
_HEADER = re.compile(r"^--\n-- Name: (.+?); Type: (.+?); Schema: (.+?); Owner: .*\n--\n", re.MULTILINE)
# These lines are random at each run, appear once at the end, or appear where a value changes between neighbours (the
# header names an entry's tablespace as well).
_NOT_A_DEFINITION = re.compile(
    r"^(?:\\(?:un)?restrict .*|-- PostgreSQL database dump complete"
    r"|SET default_(?:tablespace|table_access_method) = .*;)\n",
    re.MULTILINE,
)
_TABLESPACE_PLACE = re.compile(r"(?<=^CREATE TABLESPACE )(.* LOCATION) '.*';$", re.MULTILINE)
_SLOT_NAME = re.compile(r"\bslot_name = (?:NONE|'(?:[^']|'')*')")
# One line each, in the order of their names (bin/pg_dump/pg_dump.c, getForeignServers and dumpUserMappings).
_OPTION = re.compile(r"^    (\"?\w+\"?) '((?:[^']|'')*)',?$", re.MULTILINE)

_HOLD_SECRETS = ("USER MAPPING ", "SUBSCRIPTION ")


def of_database(
    node: Node, database: str, snapshot: str, binaries: Binaries, cluster: Sequence[Node]
) -> Definitions:
    """A database's definitions as `snapshot` shows them, which an open transaction has exported.

    The address of a server is replaced by the name of the node of `cluster` that it means, if it means one.
    """
    options = ["--schema-only", "--create", f"--snapshot={snapshot}", "--lock-wait-timeout=30s"]
    entries = split(_NOT_A_DEFINITION.sub("", _dump(node, database, binaries, "pg_dump", *options)))
    return as_after_rewiring(entries, cluster)


def of_roles_and_tablespaces(node: Node, binaries: Binaries) -> Definitions:
    """Roles without passwords, as data nodes' are renewed; tablespaces without places, as each node has its own."""
    text = _dump(node, "postgres", binaries, "pg_dumpall", "--globals-only", "--no-role-passwords")
    return {"roles and tablespaces": without_places(_NOT_A_DEFINITION.sub("", text))}


def without_places(dump: str) -> str:
    """Tablespaces by name and owner alone."""
    return _TABLESPACE_PLACE.sub(r"\1;", dump)


def split(dump: str) -> dict[str, str]:
    """The entries of a dump, header included. The text before the first is the preamble."""
    headers = list(_HEADER.finditer(dump))
    starts = [header.start() for header in headers]
    entries = {"preamble": dump[: starts[0]] if starts else dump}
    for header, (start, end) in zip(headers, pairwise([*starts, len(dump)]), strict=True):
        name, kind, schema = header.groups()
        if schema != "-":
            name = f"{schema}.{name}"
        title = name if name.startswith(f"{kind} ") else f"{kind} {name}"
        entries[title] = entries.get(title, "") + dump[start:end].strip() + "\n"
    return entries


def as_after_rewiring(entries: Mapping[str, str], cluster: Sequence[Node]) -> dict[str, str]:
    """The entries without the parts that rewiring may change. Everything else has to stay.

    These parts are addresses of the cluster's own nodes, the passwords by which it reaches its data nodes, and slots
    of subscriptions.
    """
    nodes = {(node.host, str(node.port)): node for node in cluster}
    pointed_at = {
        title.removeprefix("SERVER "): node
        for title, text in entries.items()
        if title.startswith("SERVER ") and (node := nodes.get(_address(text))) is not None
    }
    to_data_nodes = tuple(f" SERVER {server}" for server, node in pointed_at.items() if node.role is Role.DN)

    def rewired(title: str, text: str) -> str:
        kind, _, name = title.partition(" ")
        if kind == "SERVER" and name in pointed_at:
            return _without(text, "host", "hostaddr", "port") + f"-- at node {pointed_at[name].name}\n"
        if title.startswith("USER MAPPING ") and title.endswith(to_data_nodes):
            return _without(text, "password")
        if kind == "SUBSCRIPTION":
            return _SLOT_NAME.sub("slot_name = (by design)", text)
        return text

    return {title: rewired(title, text) for title, text in entries.items()}


def differences(source: Definitions, restored: Definitions) -> Iterator[str]:
    """Each entry that differs, with the first lines that only one side has, unless they may be secrets."""
    for title, then in source.items():
        now = restored.get(title)
        if now is None:
            yield f"{title}: missing"
        elif now != then:
            yield f"{title}: defined otherwise" + _changed_lines(title, then, now)
    yield from (f"{title}: was not there" for title in restored if title not in source)


def _changed_lines(title: str, then: str, now: str) -> str:
    if title.startswith(_HOLD_SECRETS):
        return ""
    gone = [f"- {line.strip()}" for line in then.splitlines() if line not in now.splitlines()]
    new = [f"+ {line.strip()}" for line in now.splitlines() if line not in then.splitlines()]
    return "".join(f"\n  {line}" for line in (*gone[:_LINES_SHOWN], *new[:_LINES_SHOWN]))


def _address(server: str) -> tuple[str, str]:
    """Where libpq connects: hostaddr prevails, and 5432 is the default port."""
    options: dict[str, str] = dict(_OPTION.findall(server))
    return options.get("hostaddr", options.get("host", "")), options.get("port", "5432")


def _without(text: str, *names: str) -> str:
    """The text without these options. Commas go too: a line missing on one side alone must not move them."""
    return _OPTION.sub(
        lambda option: "" if option[1] in names else f"    {option[1]} '{option[2]}'", text
    ).replace("\n\n", "\n")


def _dump(node: Node, database: str, binaries: Binaries, program: str, *options: str) -> str:
    where = session.as_conninfo(
        {
            "host": node.socket,
            "port": str(node.port),
            "user": session.SUPERUSER,
            "dbname": database,
            "options": session.program_options(node, database),
        }
    )
    done = binaries.run_at(
        node, program, f"--dbname={where}", "--no-password", *options, timeout=_LONGEST_SECONDS
    )
    if done.returncode:
        raise ProofFailed(f"{program} of node {node.name} failed: {done.stderr.strip()[-500:]}")
    return done.stdout
