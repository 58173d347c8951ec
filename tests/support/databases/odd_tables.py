"""Tables of many odd kinds, and all that the catalogs tell of them: a restore of tables brings back the same."""

from contextlib import closing
from pathlib import Path

from stillhouse.domain.table_restore import TableName, TableRestore
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.session import sql
from support.snapshots.table_restores import DATABASE, Bench

_HERE = Path(__file__).parent
_SHAPE = (_HERE / "table_shape.sql").read_bytes()
# All catalogued things that are not part of another one that is asked for.
_ROOTS = """
    SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname IN ('k', 'k2', 'k "3.') AND c.relkind IN ('r', 'p')
       AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = c.oid)
     ORDER BY 1, 2
"""
_TREE = """
    SELECT array_agg(c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname IN ('k', 'k2', 'k "3.') AND c.relkind IN ('r', 'p', 'f')
"""


Shape = dict[tuple[str, str], list[str]]


def make_odd_tables(tables: Bench) -> None:
    """On the live coordinator, before it is cloned."""
    tables.sql((_HERE / "odd_tables.sql").read_text())
    if tables.sql("SELECT current_setting('server_version_num')::int >= 180000") == [(True,)]:
        tables.sql((_HERE / "odd_tables_18.sql").read_text())


def check_odd_tables_come_back(tables: Bench) -> None:
    """All of them restored at once, in their own places."""
    before = _shape(tables)
    roots = [TableName(*row) for row in tables.sql(_ROOTS)]
    notes = tables.restore_wanted(TableRestore(DATABASE, tuple((one, one) for one in roots)))
    after = _shape(tables)
    different = {
        key: (before.get(key), after.get(key))
        for key in {*before, *after}
        if before.get(key) != after.get(key)
    }
    assert different == {("label", "anon k.idx"): (["MASKED"], None)}
    assert notes == [
        "k.phu is unlogged: it has no rows",
        "sequence k.seqs_c_seq is unlogged: it begins anew",
        "k.idx comes without its security label of anon: MASKED",
        "k.vals.lo names large objects, which are not copied",
    ]


def _shape(tables: Bench) -> Shape:
    """All that the catalogs tell of the odd tables, and their rows."""
    found: Shape = {}
    with closing(session.connect(tables.live.coordinator, DATABASE)) as connection:
        ((tree,),) = connection.execute(_TREE).fetchall()
        for thing, part, state in connection.execute(_SHAPE, {"tree": tree}).fetchall():
            found.setdefault((thing, part), []).append(state)
        for oid in tree:
            ((name,),) = connection.execute("SELECT %s::oid::regclass::text", [oid]).fetchall()
            rows = sql.SQL("SELECT ROW(t.*)::text FROM ONLY {} t ORDER BY ctid").format(sql.SQL(name))
            found[name, "rows"] = [row for (row,) in connection.execute(rows).fetchall()]
    return found
