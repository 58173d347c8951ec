"""Tables that lie on many nodes come back on all of them in one moment, wherever the one who does it dies."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from stillhouse.domain.cluster import Node
from stillhouse.errors import StillhouseError
from stillhouse.postgres.sessions import session
from stillhouse.warehouse.cluster.embedded import Site
from stillhouse.warehouse.tables.exchange import exchange, settle
from stillhouse.warehouse.tables.load import end_sessions
from support.databases.writers import until
from support.servers.warehouses import MakeWarehouse, log_in
from support.snapshots.table_restores import DATABASE, Bench, bench, commits_wait, pairs

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("table restores")]

ROWS = 300
SECONDS = 20
STATE = "SELECT count(*), sum(balance) FROM {}"
WAITING = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
PREPARED = "SELECT 1 FROM pg_prepared_xacts"


@pytest.fixture(scope="module")
def tables(site: Site, make_warehouse: MakeWarehouse) -> Iterator[Bench]:
    cluster, _ = make_warehouse(2)
    with log_in(cluster.coordinator, database=DATABASE) as user:
        for name in ("public.accounts", "public.others"):
            user.execute(
                "SELECT stillhouse.create_distributed_table(%s,"
                " 'id bigint NOT NULL, balance bigint', 'id', 'PRIMARY KEY (id), CHECK (balance >= 0)')",
                [name],
            )
            user.execute(f"INSERT INTO {name} SELECT g, 10 FROM generate_series(1, {ROWS}) g".encode())
        user.execute("CREATE TABLE public.alone AS SELECT g AS balance FROM generate_series(1, 10) g")
        user.execute("COMMENT ON TABLE public.accounts IS 'distributed'")
        user.execute("CREATE TABLE public.bare (id int, balance int) PARTITION BY LIST (id)")
        user.execute(
            "CREATE FOREIGN TABLE public.bare_1 PARTITION OF public.bare FOR VALUES IN (1) SERVER dn1"
        )
        for name, option in (("sly", "secret"), ("led", "led_1")):
            user.execute(f"CREATE TABLE public.{name} (id int, balance int) PARTITION BY LIST (id)".encode())
            user.execute(
                f"CREATE FOREIGN TABLE public.{name}_1 PARTITION OF public.{name} DEFAULT SERVER dn1"
                f" OPTIONS (table_name '{option}')".encode()
            )
    remote = Bench(site, cluster, ())
    remote.sql(
        "CREATE TABLE public.secret AS SELECT 1 AS id, 2 AS balance;"
        "CREATE TABLE public.led_1 (id int, balance int); ALTER TABLE public.led_1 OWNER TO dbadmin;"
        "CREATE TABLE public.bare_1 (id int, balance int); INSERT INTO public.bare_1 VALUES (1, 2);"
        "ALTER TABLE public.bare_1 OWNER TO dbadmin",
        cluster.data_nodes[0],
    )
    with bench(site, cluster) as made:
        yield made


@pytest.fixture(autouse=True)
def changed(tables: Bench) -> None:
    """Live is never as it was."""
    with log_in(tables.live.coordinator, database=DATABASE) as user:
        user.execute("UPDATE public.accounts SET balance = 1")


def state(tables: Bench, name: str = "public.accounts") -> tuple[int, int]:
    """Rows and money, as a user of the warehouse sees them."""
    with log_in(tables.live.coordinator, database=DATABASE) as user:
        return user.execute(STATE.format(name).encode()).fetchone() or (0, 0)


OLD, NEW = (ROWS, ROWS), (ROWS, 10 * ROWS)


def test_a_distributed_table_comes_back_on_all_nodes_while_it_is_written(tables: Bench) -> None:
    """Who writes it sees the old one or the new one, and no error."""
    ended = threading.Event()
    seen: list[object] = []

    def write() -> None:
        with log_in(tables.live.coordinator, database=DATABASE) as user:
            while not ended.is_set():
                user.execute("UPDATE public.accounts SET balance = balance WHERE id < 20")
                seen.append(user.execute(STATE.format("public.accounts").encode()).fetchone())

    before = [tables.dump(node, "public.accounts*") for node in tables.live.data_nodes]
    root = tables.dump(tables.live.coordinator, "public.accounts*")
    writer = threading.Thread(target=write)
    writer.start()
    try:
        until(lambda: len(seen) > 2, SECONDS)
        assert tables.restore("public.accounts") == []
        count = len(seen)
        until(lambda: len(seen) > count + 1, SECONDS)
    finally:
        ended.set()
        writer.join()
    assert {*seen} <= {OLD, NEW}
    assert (seen[0], seen[-1]) == (OLD, NEW)
    assert state(tables) == NEW
    assert tables.dump(tables.live.coordinator, "public.accounts*") == root
    after = [tables.dump(node, "public.accounts*") for node in tables.live.data_nodes]
    assert [_shape(lines) for lines in after] == [_shape(lines) for lines in before]


def _shape(lines: list[str]) -> list[str]:
    return [line for line in lines if "\t" not in line]


def test_under_another_name_its_parts_have_that_name_on_the_data_nodes(tables: Bench) -> None:
    assert tables.restore("public.accounts=kept.accounts then", "public.alone=kept.alone") == []
    assert state(tables, 'kept."accounts then"') == NEW
    assert state(tables) == OLD
    assert state(tables, "kept.alone") == (10, 55)
    for node in tables.live.data_nodes:
        assert tables.sql("SELECT to_regclass('kept.\"accounts then\"') IS NOT NULL", node) == [(True,)]
    with log_in(tables.live.coordinator, database=DATABASE) as user:
        user.execute('INSERT INTO kept."accounts then" VALUES (0, 0)')
        user.execute("SELECT stillhouse.drop_distributed_table('kept.\"accounts then\"')")


def test_a_part_that_goes_by_its_foreign_tables_own_name_is_found(tables: Bench) -> None:
    """That name changes on the way, and the part is still the one it was."""
    tables.sql("UPDATE public.bare_1 SET balance = 0", tables.live.data_nodes[0])
    assert tables.restore("public.bare=kept.bare") == []
    assert (state(tables, "kept.bare"), state(tables, "public.bare")) == ((1, 2), (1, 0))
    assert tables.restore("public.bare") == []
    assert state(tables, "public.bare") == (1, 2)


def test_parts_whose_names_are_taken_get_others(tables: Bench) -> None:
    """On a data node a name is only what the coordinator calls a table by."""
    dn1 = tables.live.data_nodes[0]
    tables.sql("CREATE TABLE public.again AS SELECT 1", dn1)
    assert tables.restore("public.others=public.again") == []
    assert state(tables, "public.again") == NEW
    assert tables.sql("SELECT count(*) FROM public.again", dn1) == [(1,)]
    assert tables.sql("SELECT count(*) > 1 FROM public.again1", dn1) == [(True,)]


def test_a_part_that_cannot_be_replaced_leaves_all_nodes_as_they_were(tables: Bench) -> None:
    dn2 = tables.live.data_nodes[1]
    tables.sql("CREATE VIEW public.looking AS SELECT id FROM public.accounts", dn2)
    try:
        with pytest.raises(StillhouseError, match=r"view public\.looking depends on table public\.accounts"):
            tables.restore("public.accounts")
    finally:
        tables.sql("DROP VIEW public.looking", dn2)
    assert state(tables) == OLD


def test_a_foreign_table_gets_nobody_at_tables_that_are_not_his(tables: Bench) -> None:
    """The owner of a foreign table chooses its options; the superuser reads and replaces the table that they name."""
    dn1 = tables.live.data_nodes[0]
    beyond = r"stands for public\.secret, which is stillhouse's"
    with pytest.raises(StillhouseError, match=beyond):
        tables.restore("public.sly=public.copied")
    with log_in(tables.live.coordinator, database=DATABASE) as user:
        user.execute("ALTER FOREIGN TABLE public.led_1 OPTIONS (SET table_name 'secret')")
    with pytest.raises(StillhouseError, match=beyond):
        tables.restore("public.led")
    assert tables.sql("SELECT balance FROM public.secret", dn1) == [(2,)]


@pytest.mark.parametrize(
    ("where", "outcome"),
    [
        (lambda tables: tables.live.data_nodes[1], OLD),  # both are prepared, the coordinator has not decided
        (lambda tables: tables.live.coordinator, NEW),  # it has, and no data node was told
    ],
    ids=["prepared", "decided"],
)
def test_a_swap_that_dies_is_decided_by_the_coordinator(
    tables: Bench, where: Callable[[Bench], Node], outcome: tuple[int, int]
) -> None:
    node, nodes = where(tables), tables.live.nodes
    prefix, shares, _ = tables.copy(pairs("public.accounts"))
    failed: list[BaseException] = []

    def swap() -> None:
        try:
            exchange(nodes, DATABASE, prefix, shares)
        except StillhouseError as error:
            failed.append(error)

    swapping = threading.Thread(target=swap)
    with commits_wait(node):
        swapping.start()
        until(lambda: tables.sql(WAITING, node), SECONDS)
        assert tables.sql(PREPARED, tables.live.data_nodes[0])
        for one in nodes:  # so dies the one who swaps
            with closing(session.connect(one, "postgres")) as connection:
                end_sessions(one, connection)
        swapping.join()
    assert len(failed) == 1
    with log_in(tables.live.coordinator, database=DATABASE) as user:  # nobody's schema decides but ours
        user.execute(f"CREATE SCHEMA {prefix}_99".encode())
        settle(nodes)
        user.execute(f"DROP SCHEMA {prefix}_99".encode())
    assert state(tables) == outcome
    tables.clear()
    assert state(tables) == outcome
    assert tables.restore("public.accounts") == []
    assert state(tables) == NEW
