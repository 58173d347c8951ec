"""A restored table is what it was at the cut, also where a dump cannot say so; else it is refused, and named."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import pytest
from psycopg.errors import QueryCanceled, UniqueViolation

from stillhouse.domain.ids import new_uuid
from stillhouse.errors import RestoreFailed
from stillhouse.postgres.sessions import session
from stillhouse.warehouse.cluster import embedded
from stillhouse.warehouse.cluster.embedded import Site
from stillhouse.warehouse.tables.marks import operation_prefix
from stillhouse.warehouse.tables.sources import gather_cluster
from support.databases.odd_tables import check_odd_tables_come_back, make_odd_tables
from support.databases.writers import until
from support.servers.warehouses import build
from support.snapshots.table_restores import DATABASE, Bench, bench, pairs

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("table restores")]

PREFIX = operation_prefix(new_uuid())
# States that a dump cannot express, or would express wrongly.
UNSAYABLE = """
CREATE SCHEMA u;
CREATE TABLE u.whole (id int, note text) PARTITION BY LIST (id);
CREATE TABLE u.kept PARTITION OF u.whole FOR VALUES IN (1);
CREATE TABLE u.going PARTITION OF u.whole FOR VALUES IN (2) PARTITION BY LIST (note);
CREATE TABLE u.going_a PARTITION OF u.going DEFAULT;
INSERT INTO u.whole VALUES (1, 'kept'), (2, 'going');
CREATE TABLE u.doubled (id int, note text);
INSERT INTO u.doubled VALUES (1, 'a'), (1, 'b');
CREATE TABLE u.big (id int, huge bytea);
CREATE FUNCTION u.factor(int) RETURNS int IMMUTABLE LANGUAGE sql RETURN $1 * 2;
CREATE TABLE u.generated (id int, more int GENERATED ALWAYS AS (u.factor(id)) STORED);
INSERT INTO u.generated (id) VALUES (1);
CREATE ROLE sly;
CREATE TABLE u.bystander AS SELECT 1 AS id;
CREATE FUNCTION u.reach() RETURNS bool LANGUAGE plpgsql AS 'BEGIN RETURN true; END';
CREATE TABLE u.sly (id int CHECK (u.reach()));
INSERT INTO u.sly VALUES (1);
GRANT USAGE, CREATE ON SCHEMA u TO sly;
ALTER TABLE u.bystander OWNER TO sly; ALTER TABLE u.sly OWNER TO sly; ALTER FUNCTION u.reach OWNER TO sly;
"""
# The copying role's rights, used on what it has made before.
REACHING = """
CREATE OR REPLACE FUNCTION u.reach() RETURNS bool LANGUAGE plpgsql AS $$
DECLARE place text;
BEGIN
    FOR place IN SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                  WHERE c.relname = 'bystander' AND n.nspname LIKE 'stillhouse%' LOOP
        EXECUTE format('{}', place);
    END LOOP;
    RETURN true;
END $$
"""


@pytest.fixture(scope="module")
def odd(site: Site) -> Iterator[Bench]:
    cluster = build(site, 1)
    first = Bench(site, cluster, ())
    make_odd_tables(first)
    first.sql(UNSAYABLE)
    with suppress(UniqueViolation):  # and an index that is not valid stays
        first.sql("CREATE UNIQUE INDEX CONCURRENTLY doubled_key ON u.doubled (id)")
    interrupt_detach(first)
    with bench(site, cluster) as made:
        yield made
    embedded.destroy(site, cluster.id)


def interrupt_detach(tables: Bench) -> None:
    """A detach waits for a reader between its two transactions; it is interrupted there."""
    node = tables.live.coordinator
    detach = b"ALTER TABLE u.whole DETACH PARTITION u.going CONCURRENTLY"
    with (
        closing(session.connect(node, DATABASE)) as reader,
        closing(session.connect(node, DATABASE)) as detaching,
        ThreadPoolExecutor(1) as pool,
    ):
        reader.execute("BEGIN")
        reader.execute("LOCK TABLE ONLY u.whole IN ACCESS SHARE MODE")
        given_up = pool.submit(detaching.execute, detach)
        try:
            until(lambda: tables.sql("SELECT 1 FROM pg_inherits WHERE inhdetachpending"), 20)
        finally:
            detaching.cancel_safe()
        with pytest.raises(QueryCanceled):
            given_up.result()


def test_tables_of_many_odd_kinds_come_back_as_they_were(odd: Bench) -> None:
    """On PostgreSQL 15: test_table_restore.py."""
    check_odd_tables_come_back(odd)


def test_a_partition_whose_detach_was_interrupted_is_no_part_of_what_comes_back(odd: Bench) -> None:
    """No query of the table saw its rows at the cut. It is a table of its own, and can be asked for as one."""
    assert odd.sql("SELECT note FROM u.whole") == [("kept",)]
    with pytest.raises(
        RestoreFailed, match=r"the detach of u\.going from u\.whole was interrupted"
    ) as refused:
        odd.restore("u.whole")  # the live one's would be dropped with it
    assert "FINALIZE" in refused.value.hint
    notes = odd.restore("u.whole=u.whole then", "u.going=u.going then")
    assert notes == ["u.going was being detached from u.whole, and is no part of it"]
    assert odd.sql('SELECT note FROM u."whole then"') == [("kept",)]
    assert odd.sql('SELECT note FROM u."going then"') == [("going",)]
    odd.sql("ALTER TABLE u.whole DETACH PARTITION u.going FINALIZE; DROP TABLE u.going")
    assert odd.restore("u.whole") == ["u.going was being detached from u.whole, and is no part of it"]
    assert odd.sql("SELECT note FROM u.whole") == [("kept",)]


def test_values_too_big_for_a_dump_are_refused_before_anything_is_copied(odd: Bench) -> None:
    """Above 512 MB: a bytea is written with two digits for each byte."""
    odd.refresh()
    value = "string_agg(decode(repeat('00', 1 << 20), 'hex'), '') FROM generate_series(1, 540)"
    odd.sql(f"INSERT INTO u.big SELECT 1, {value}", odd.clone[0])
    reason = r"a row of u\.big, at \(0,1\), is too big to be copied: huge alone has 566231040 bytes"
    with pytest.raises(RestoreFailed, match=reason) as refused:
        gather_cluster(odd.clone, odd.live.nodes, pairs("u.big"), PREFIX)
    assert "restore the cluster" in refused.value.hint


def test_what_was_only_prepared_at_the_cut_is_told_and_holds_up_nobody(odd: Bench) -> None:
    odd.refresh()
    with closing(session.connect(odd.clone[0], DATABASE)) as connection:
        for statement in ("BEGIN", "DELETE FROM u.doubled", "PREPARE TRANSACTION 'theirs'"):
            connection.execute(statement.encode())
    gathered = gather_cluster(odd.clone, odd.live.nodes, pairs("u.doubled"), PREFIX)
    assert gathered["cn"].notes == (
        "transaction theirs was prepared at the cut, and its changes are not in the tables",
        "u.doubled comes without its index doubled_key, which was not valid:"
        " CREATE UNIQUE INDEX doubled_key ON u.doubled USING btree (id)",
    )


def test_values_that_are_made_otherwise_now_are_not_passed_off_as_the_snapshots(odd: Bench) -> None:
    odd.sql("CREATE OR REPLACE FUNCTION u.factor(int) RETURNS int IMMUTABLE LANGUAGE sql RETURN $1 * 3")
    with pytest.raises(
        RestoreFailed, match=r"the copy of generated has other rows than the snapshot.*: more"
    ):
        odd.restore("u.generated")
    assert odd.sql("SELECT more FROM u.generated") == [(2,)]


@pytest.mark.parametrize(
    ("reach", "reason"),
    [
        ("ALTER TABLE %s ADD COLUMN his int", r"column his of .*\.bystander is"),
        ("GRANT ALL ON %s TO sly", r"rights were given on .*\.bystander"),
        ("DELETE FROM %s", "the copy of bystander has other rows"),
    ],
)
def test_a_copy_that_a_users_function_reached_is_refused(odd: Bench, reach: str, reason: str) -> None:
    odd.sql(REACHING.replace("{}", reach))
    with pytest.raises(RestoreFailed, match=reason):
        odd.restore("u.bystander", "u.sly")
    assert odd.sql("SELECT * FROM u.bystander") == [(1,)]
