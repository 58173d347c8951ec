"""What a server holds, to the last row of its catalogs, and what a clone of it holds otherwise."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass

from stillhouse.domain.cluster import Node
from stillhouse.postgres.host.binaries import Binaries
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.session import READER, SUPERUSER, Connection
from support.proof.against_source import Position
from support.snapshots.cuts import ask, tell

_DATABASES = "SELECT datname FROM pg_database WHERE datallowconn ORDER BY 1"
# Catalogs too: their pages are captured like any others. Shared ones once. The mark differs by definition.
_RELATIONS = """
    SELECT format('%I.%I', n.nspname, c.relname), c.relkind = 'S', c.relpersistence = 'u'
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE (c.relkind = 'r' OR c.relkind = 'm' AND c.relispopulated OR c.relkind = 'S')
       AND c.relpersistence IN ('p', 'u') AND NOT (c.relkind = 'S' AND c.relpersistence = 'u')
       AND (NOT c.relisshared OR current_database() = 'postgres')
       AND (n.nspname, c.relname) <> ('stillhouse', 'lineage')
     ORDER BY 1
"""
_ROWS = (
    "SELECT '{0}', count(*), sum(hashtextextended(r, 0))::text, sum(hashtextextended(r, 7919))::text"
    " FROM (SELECT {1} AS r FROM ONLY {0} AS t WHERE {2} OFFSET 0) AS rows"
)
_WHOLE = ("ROW(t.*)::text", "true")
_READER_ID = f"(SELECT oid FROM pg_roles WHERE rolname = '{READER}')"
# Our roles get passwords, and the reader its rights, anew in a clone.
_BUT_OURS = {
    "pg_catalog.pg_authid": ("ROW(t.*)::text", f"rolname NOT IN ('{SUPERUSER}', '{READER}')"),
    "pg_catalog.pg_auth_members": ("ROW(t.*)::text", f"member <> {_READER_ID}"),
    "pg_catalog.pg_shdepend": ("ROW(t.*)::text", f"refobjid <> {_READER_ID}"),
    "pg_catalog.pg_database": ("(to_jsonb(t) - 'datacl')::text", "true"),
}
_POSITION = """
    SELECT s.last_value, s.is_called, s.log_cnt, p.seqincrement FROM {} s, pg_sequence p WHERE p.seqrelid = s.tableoid
"""
# Asked by an index and without one; the last by an index alone, which believes the visibility map.
_QUESTIONS = (
    "tag = 'tag7'", "words @> ARRAY['w3']", "spot <@ box '(10,10),(40,40)'", "id BETWEEN 1000 AND 500000",
    "k >= 0",
)  # fmt: skip


@dataclass(frozen=True)
class Fingerprint:
    """`unlogged` relations come back empty. `prepared` transactions come back open."""

    rows: Mapping[str, tuple[object, ...]]
    unlogged: frozenset[str]
    sequences: Mapping[str, Position]
    prepared: frozenset[str]


def take(node: Node) -> Fingerprint:
    rows: dict[str, tuple[object, ...]] = {}
    sequences: dict[str, Position] = {}
    unlogged: set[str] = set()
    with closing(session.connect(node, "postgres", application_name="fingerprint")) as connection:
        databases = [name for (name,) in ask(connection, _DATABASES)]
        prepared = {gid for (gid,) in ask(connection, "SELECT gid FROM pg_prepared_xacts")}
    for database in databases:
        with closing(session.connect(node, database, application_name="fingerprint")) as connection:
            tables = []
            for name, is_sequence, is_unlogged in ask(connection, _RELATIONS):
                if is_sequence:
                    sequences[f"{database}: {name}"] = Position(*ask(connection, _POSITION.format(name))[0])
                else:
                    tables.append(name)
                if is_unlogged:
                    unlogged.add(f"{database}: {name}")
            found = ask(
                connection,
                " UNION ALL ".join(_ROWS.format(name, *_BUT_OURS.get(name, _WHOLE)) for name in tables),
            )
            rows |= {f"{database}: {name}": tuple(rest) for name, *rest in found}
    return Fingerprint(rows, frozenset(unlogged), sequences, frozenset(prepared))


def differences(source: Fingerprint, clone: Fingerprint) -> list[str]:
    found = [f"{name}: missing" for name in source.rows.keys() - clone.rows.keys()]
    found += [f"{name}: was not there" for name in clone.rows.keys() - source.rows.keys()]
    for name, then in source.rows.items():
        expected = (0, None, None) if name in source.unlogged else then
        if (now := clone.rows.get(name, expected)) != expected:
            found.append(f"{name} holds {now}, not {expected}")
    for name, stood in source.sequences.items():
        stands = clone.sequences.get(name)
        if stands is None or not stood.may_be_recovered_as(stands):
            found.append(f"{name} stands at {stands}, not {stood}")
    if source.prepared != clone.prepared:
        found.append(f"prepared are {sorted(clone.prepared)}, not {sorted(source.prepared)}")
    return sorted(found)


def settle_prepared(node: Node, prepared: frozenset[str]) -> list[str]:
    """Commit what came back prepared; what is lost of it is told. Their locks would hold pg_amcheck up."""
    with closing(session.connect(node, "postgres", application_name="fingerprint")) as connection:
        for gid in sorted(prepared):
            tell(connection, f"COMMIT PREPARED '{gid}'")
        promised = {gid for (gid,) in ask(connection, "SELECT gid FROM public.promised")}
    return [f"prepared {gid} is committed and gone" for gid in sorted(prepared - promised)]


def unsound(node: Node, binaries: Binaries) -> list[str]:
    """What pg_amcheck finds, and where an index answers otherwise than its table."""
    where = (f"--host={node.socket}", f"--port={node.port}", f"--username={session.SUPERUSER}")
    options = ("--all", "--heapallindexed", "--install-missing", "--jobs=2", "--no-password")
    done = binaries.run_at(node, "pg_amcheck", *where, *options, timeout=300)
    found = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    if done.returncode and not found:
        found = [f"pg_amcheck ended with code {done.returncode}"]
    with closing(session.connect(node, "postgres", application_name="fingerprint")) as connection:
        databases = [name for (name,) in ask(connection, _DATABASES)]
    for database in databases:
        with closing(session.connect(node, database, application_name="fingerprint")) as connection:
            found += [f"{database}: {what}" for what in _wrong_answers(connection)]
    return found


def _wrong_answers(connection: Connection) -> list[str]:
    tables = ask(
        connection,
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
        " AND relname ~ '^t[0-9]' ORDER BY 1",
    )
    questions = [
        f"SELECT '{table}', $q${question}$q$, count(*) FROM public.{table} WHERE {question}"
        for (table,) in tables
        for question in _QUESTIONS
    ]
    if not questions:
        return []
    asked = " UNION ALL ".join(questions)
    answers = []
    for off in (("seqscan",), ("indexscan", "indexonlyscan", "bitmapscan")):
        tell(connection, "BEGIN")
        for kind in off:
            tell(connection, f"SET LOCAL enable_{kind} = off")
        answers.append(sorted(ask(connection, asked)))
        tell(connection, "COMMIT")
    return [
        f"{by_index[0]}: {by_index[2]} rows by an index, {by_table[2]} without: {by_index[1]}"
        for by_index, by_table in zip(*answers, strict=True)
        if by_index != by_table
    ]
