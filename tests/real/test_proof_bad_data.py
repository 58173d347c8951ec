"""A proof tells bad data from things that only could not be looked at, and goes on with all else."""

import shutil
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from stillhouse.domain.cluster import Node
from stillhouse.errors import NodeUnreachable
from stillhouse.postgres.host import server
from stillhouse.postgres.host.binaries import Binaries
from stillhouse.postgres.sessions import session
from stillhouse.warehouse.proof import structure
from stillhouse.warehouse.proof.compare_with_cut import compare_at_cut
from stillhouse.warehouse.proof.structure import check_structure
from support.servers.warehouses import MakeWarehouse, rows

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def odd(make_warehouse: MakeWarehouse) -> Node:
    """A node whose index `t_f` calls a function of its owner's that does what the table `mood` says."""
    node = make_warehouse(1, "odd")[0].coordinator
    with closing(session.connect(node, "postgres")) as connection:
        for statement in (
            "CREATE ROLE owner",
            "CREATE TABLE public.mood (m text)",
            "CREATE TABLE public.t (id int)",
            "CREATE TABLE public.sound (id int PRIMARY KEY)",
            "INSERT INTO public.t SELECT generate_series(1, 10)",
            "INSERT INTO public.sound SELECT generate_series(1, 100)",
            """CREATE FUNCTION public.f(id int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
               BEGIN
                 IF EXISTS (SELECT FROM public.mood WHERE m = 'sleepy') THEN PERFORM pg_sleep(60); END IF;
                 IF EXISTS (SELECT FROM public.mood WHERE m = 'lying') THEN
                   RAISE EXCEPTION USING ERRCODE = 'index_corrupted', MESSAGE = 'believe me';
                 END IF;
                 RETURN id;
               END $$""",
            "CREATE INDEX t_f ON public.t (public.f(id))",
            "ALTER TABLE public.t OWNER TO owner",
            "ALTER FUNCTION public.f OWNER TO owner",
            "GRANT SELECT ON public.mood TO owner",
        ):
            connection.execute(statement.encode())
    return node


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("INSERT INTO public.mood VALUES ('sleepy')", "TRUNCATE public.mood", "statement timeout"),
        (
            "REVOKE SELECT ON public.mood FROM owner",
            "GRANT SELECT ON public.mood TO owner",
            "permission denied for table mood",
        ),
        ("INSERT INTO public.mood VALUES ('lying')", "TRUNCATE public.mood", "believe me"),
    ],
)
def test_what_could_not_be_looked_at_is_no_finding(
    odd: Node, monkeypatch: pytest.MonkeyPatch, before: str, after: str, said: str
) -> None:
    """A time-out, a missing right, and the errors that a user's function can raise."""
    with closing(session.connect(odd, "postgres")) as connection:
        connection.execute(before.encode())
        if "timeout" in said:
            monkeypatch.setattr(structure, "_LONGEST_SECONDS", 3.0)
        try:
            seen = check_structure(odd)
        finally:
            connection.execute(after.encode())
    assert seen.findings == []
    (first, *later) = seen.unchecked
    assert "public.t_f" in first and said in first
    assert all("there was no time" in one for one in later)
    assert 0 < seen.pages < seen.pages_total


def test_a_server_that_ends_meanwhile_is_no_finding(odd: Node, binaries: Binaries) -> None:
    """As when the kernel has no memory left for it."""
    turns = count()

    def go_on() -> None:
        if next(turns) == 20:
            server.stop(binaries, odd, "immediate")

    try:
        with pytest.raises(NodeUnreachable):
            check_structure(odd, go_on)
        with pytest.raises(NodeUnreachable):
            compare_at_cut(odd, ["postgres"], [], lambda: None)
    finally:
        server.start(binaries, odd)
    assert check_structure(odd).unchecked == []


def test_an_index_in_another_order_of_collation_is_passed_over(odd: Node) -> None:
    """It is the host that differs; the snapshot may be in order."""
    with closing(session.connect(odd, "postgres")) as connection:
        connection.execute("CREATE COLLATION public.ours (provider = builtin, locale = 'C.UTF-8')")
        connection.execute("CREATE TABLE public.words (w text COLLATE public.ours PRIMARY KEY)")
        connection.execute("UPDATE pg_collation SET collversion = '1.older' WHERE collname = 'ours'")
        seen = check_structure(odd)
        connection.execute("DROP TABLE public.words")
        connection.execute("DROP COLLATION public.ours")
    (note,) = seen.notes
    assert "public.words_pkey" in note and (seen.findings, seen.unchecked) == ([], [])


def test_7_a_closed_database_is_looked_into_and_a_half_dropped_one_is_named(odd: Node) -> None:
    with closing(session.connect(odd, "template1")) as connection:
        before = check_structure(odd)
        connection.execute("CREATE DATABASE shut ALLOW_CONNECTIONS false")
        with_shut = check_structure(odd)
        connection.execute("CREATE DATABASE half")
        connection.execute("UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'half'")
        seen = check_structure(odd)
        connection.execute("UPDATE pg_database SET datconnlimit = -1 WHERE datname = 'half'")
        connection.execute("DROP DATABASE half")
        connection.execute("DROP DATABASE shut")
    assert with_shut.pages == with_shut.pages_total > before.pages and with_shut.notes == []
    assert seen.notes == [
        f"{odd.name}: half is half dropped and cannot be entered: its pages are not checked"
    ]
    assert seen.pages < seen.pages_total and seen.unchecked == []


@pytest.mark.parametrize("damage", ["a flipped byte", "no file"])
def test_bad_data_is_a_finding_wherever_it_is_met(
    odd: Node, binaries: Binaries, damage: str, tmp_path: Path
) -> None:
    """The word is not that something could not be checked; all else is looked at all the same."""
    ((path,),) = rows(odd, "SELECT pg_relation_filepath('public.sound')")
    file = Path(odd.directory, "pgdata", path)
    line = {
        "database": "postgres",
        "schema": "public",
        "name": "sound",
        "kind": "r",
        "rows": 100,
        "digest": "1 2",
    }
    server.stop(binaries, odd)
    right = file.read_bytes()
    if damage == "no file":
        file.unlink()
    else:
        file.write_bytes(right[:8000] + bytes([right[8000] ^ 1]) + right[8001:])
    server.start(binaries, odd)
    try:
        seen = check_structure(odd)
        compared = compare_at_cut(odd, ["postgres"], [line], lambda: None)
    finally:
        server.stop(binaries, odd)
        file.write_bytes(right)
        shutil.chown(file, *_owner(odd))
        server.start(binaries, odd)
    assert any("public.sound" in one for one in seen.findings), seen
    assert [one for one in compared.findings if "public.sound" in one and "cannot be read" in one]
    assert compared.unchecked == [] and compared.is_of_nothing


def test_rows_are_counted_where_there_is_no_fingerprint(odd: Node) -> None:
    table: dict[str, Any] = {"database": "postgres", "schema": "public", "kind": "r"}
    lines = [
        table | {"name": "mood", "rows": 0, "digest": "0 0"},
        table | {"name": "sound", "left_out": "there was no time"},
        table | {"name": "t", "left_out": "there was no time"},
    ]
    compared = compare_at_cut(odd, ["postgres"], lines, lambda: None)
    assert [one for one in compared.findings if "pg_largeobject" not in one] == []
    assert (compared.tables, compared.rows, compared.rows_total) == (1, 0, 110)
    assert len(compared.left_out) == 2 and compared.is_of_nothing


def _owner(node: Node) -> tuple[int, int]:
    found = Path(node.directory, "pgdata", "PG_VERSION").stat()
    return found.st_uid, found.st_gid
