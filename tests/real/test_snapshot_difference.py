"""The difference of two snapshots is what the servers' tables and files show."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stillhouse.domain.cluster import Node
from stillhouse.postgres.sessions import session
from support.processes.service import COMMAND, Service, serving

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("difference")]

PAGE = 8192
_TABLES = """
    CREATE TABLE kept (id int PRIMARY KEY, pad text);
    INSERT INTO kept SELECT g, repeat('k', 500) FROM generate_series(1, 2000) g;
    CREATE TABLE edited (id int PRIMARY KEY, pad text) WITH (fillfactor = 50);
    INSERT INTO edited SELECT g, repeat('e', 500) FROM generate_series(1, 4000) g;
    CREATE TABLE rewritten (id int, pad text);
    INSERT INTO rewritten SELECT g, repeat('r', 500) FROM generate_series(1, 1000) g;
    CREATE TABLE toasted (id int, pad text);
    ALTER TABLE toasted ALTER pad SET STORAGE EXTERNAL;
    INSERT INTO toasted SELECT g, repeat('t', 20000) FROM generate_series(1, 50) g;
    CREATE TABLE dropped (id int);
    INSERT INTO dropped SELECT generate_series(1, 10)
"""
_CHANGES = """
    UPDATE edited SET pad = repeat('E', 500) WHERE id % 500 = 0;
    INSERT INTO edited SELECT g, repeat('n', 500) FROM generate_series(5001, 5200) g;
    INSERT INTO toasted SELECT g, repeat('u', 20000) FROM generate_series(51, 60) g;
    DROP TABLE dropped;
    CREATE TABLE added (id int);
    INSERT INTO added SELECT generate_series(1, 7);
    CREATE TABLE nothing_in_it (id int)
"""


@pytest.fixture(scope="module")
def service(data_root: Path) -> Iterator[Service]:
    with serving(data_root / "difference") as running:
        yield running


def quieten(node: Node, *statements: str) -> None:
    """Let no hint bit and no page be written any more: then the files on disk are those that a capture copies."""
    with closing(session.connect(node, "gaussdb")) as connection:
        for one in (*statements, "VACUUM (FREEZE)", "CHECKPOINT"):
            connection.execute(one.encode())


def files_of(node: Node, *tables: str) -> dict[str, list[bytes]]:
    """The pages of each table and of its TOAST table, as they are on disk."""
    found = {}
    with closing(session.connect(node, "gaussdb")) as connection:
        ((root,),) = connection.execute("SHOW data_directory").fetchall()
        for table in tables:
            query = f"""
                SELECT pg_relation_filepath(c.oid) FROM pg_class c, pg_class t
                 WHERE t.oid = 'public.{table}'::regclass AND c.oid IN (t.oid, t.reltoastrelid)
            """
            paths = sorted(path for (path,) in connection.execute(query.encode()).fetchall())
            found[table] = [(Path(root) / path).read_bytes() for path in paths]
    return found


def differing(before: list[bytes], after: list[bytes]) -> int:
    """The number of pages that differ, or that only one of them has."""
    total = 0
    for then, now in zip(before, after, strict=True):
        pages = [np.frombuffer(one, np.uint8).reshape(-1, PAGE) for one in (then, now)]
        both = min(map(len, pages))
        total += int((pages[0][:both] != pages[1][:both]).any(axis=1).sum()) + max(map(len, pages)) - both
    return total


def compared(service: Service, before: str, after: str) -> dict[str, Any]:
    path = f"/stillhouse/v1/{{p}}/snapshots/{after}/difference"
    answer = service.client().request("GET", path, query={"before": before})
    assert answer.status == 200, answer.raw
    return dict(answer.json)


def taken(service: Service, cluster: str, name: str) -> str:
    snapshot = service.request_snapshot(cluster, name)
    assert service.ended(snapshot) == "AVAILABLE"
    return snapshot


def test_rows_and_pages_are_those_of_the_tables(service: Service) -> None:
    cluster = service.create_cluster("compared", 1)
    (node,) = service.nodes(cluster)
    with closing(session.connect(node, "postgres")) as connection:
        connection.execute("ALTER SYSTEM SET autovacuum = off")
        connection.execute("SELECT pg_reload_conf()")
    with service.log_in(cluster) as connection:
        connection.execute(_TABLES)
    quieten(node)
    files = files_of(node, "kept", "edited", "toasted")
    before = taken(service, cluster, "first")
    with service.log_in(cluster) as connection:
        connection.execute(_CHANGES)
    quieten(node, "VACUUM FULL public.rewritten")
    changed = files_of(node, "kept", "edited", "toasted", "rewritten")
    after = taken(service, cluster, "second")

    found = compared(service, before, after)

    (shown,) = found["nodes"]
    tables = {one["table_name"]: one for one in shown["tables"]}
    told = {
        name: (one["change"], one["rows_before"], one["rows_after"], one["why"])
        for name, one in tables.items()
    }
    assert told == {
        "edited": ("CHANGED", 4000, 4200, None),
        "toasted": ("CHANGED", 50, 60, None),
        "dropped": ("REMOVED", 10, None, None),
        "added": ("ADDED", None, 7, None),
        "nothing_in_it": ("ADDED", None, 0, None),
    }
    assert {one["database"] for one in shown["tables"]} == {"gaussdb"}
    assert shown["same_tables"] >= 2  # `kept` and `rewritten`
    edited, toasted = (differing(files[name], changed[name]) for name in ("edited", "toasted"))
    assert differing(files["kept"], changed["kept"]) == 0
    assert (tables["edited"]["pages"], tables["toasted"]["pages"]) == (edited, toasted)
    assert 0 < edited < len(changed["edited"][0]) // PAGE
    rewritten = len(changed["rewritten"][0]) // PAGE
    assert shown["pages"] >= edited + toasted + rewritten

    backwards = compared(service, after, before)["nodes"][0]
    assert {one["table_name"]: one["change"] for one in backwards["tables"]} == {
        "edited": "CHANGED",
        "toasted": "CHANGED",
        "dropped": "ADDED",
        "added": "REMOVED",
        "nothing_in_it": "REMOVED",
    }
    assert backwards["pages"] == shown["pages"]

    nothing = compared(service, after, after)["nodes"][0]
    assert (nothing["pages"], nothing["tables"]) == (0, [])
    printed = said(service, "first", "second")
    assert "gaussdb: public.edited" in printed
    assert [line.split()[2] for line in printed.splitlines() if "public.dropped" in line] == [
        "public.dropped"
    ]
    assert json.loads(said(service, "first", "second", "--json")) == found


def test_a_cluster_of_several_nodes_is_told_node_by_node(service: Service) -> None:
    cluster = service.create_cluster("spread", 2)
    with service.log_in(cluster) as connection:
        connection.execute("CREATE TABLE spread (id int, pad text)")
        connection.execute("INSERT INTO spread SELECT g, repeat('x', 100) FROM generate_series(1, 100) g")
    nodes = service.nodes(cluster)
    before = taken(service, cluster, "spread-first")
    with closing(session.connect(nodes[1], "gaussdb")) as connection:
        connection.execute("CREATE TABLE public.of_one_node AS SELECT 1 AS id")
    after = taken(service, cluster, "spread-second")

    found = {one["node"]: one for one in compared(service, before, after)["nodes"]}

    changes = {name: [table["table_name"] for table in one["tables"]] for name, one in found.items()}
    assert changes == {node.name: ["of_one_node"] if node is nodes[1] else [] for node in nodes}


def test_a_snapshot_without_fingerprints_is_not_guessed_about(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STILLHOUSE_FINGERPRINT_SECONDS", "0")
    service.stop()
    service.start()
    (cluster,) = (one for (one,) in service.rows("SELECT id FROM sh_clusters WHERE name = 'compared'"))
    (before,) = (one for (one,) in service.rows("SELECT id FROM sh_snapshots WHERE name = 'second'"))
    after = taken(service, cluster, "third")

    (found,) = compared(service, before, after)["nodes"]

    assert {one["change"] for one in found["tables"]} == {"UNKNOWN"}
    assert {one["why"] for one in found["tables"]} == {"fingerprints are switched off"}
    assert found["pages"] is not None


def said(service: Service, *arguments: str) -> str:
    environment = os.environ | service.client().environment
    done = subprocess.run(
        [*COMMAND, "snapshot", "diff", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout
