"""A server that exists already, from its registration by the operator to its deletion, through the real service."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stillhouse.domain.cluster import Cluster, Node
from stillhouse.domain.registered.check_up import Weight
from stillhouse.errors import CaptureFailed
from stillhouse.postgres.host import server
from stillhouse.postgres.host.binaries import Binaries
from stillhouse.postgres.host.check_up import check_up
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.grants import RIGHTS
from support.databases.writers import until
from support.processes.reader import ROOT
from support.processes.service import COMMAND, PROJECT, Service, serving
from support.servers.registered import PASSWORD, ROLE, as_somebodys
from support.servers.warehouses import MakeWarehouse, rows
from support.snapshots.captures import capture_cluster, open_vault
from support.snapshots.cuts import superuser, tell
from support.terminal.typed import typed

SCHEMA = "SELECT 1 FROM pg_namespace WHERE nspname = 'stillhouse'"


@pytest.fixture(scope="module")
def house(make_warehouse: MakeWarehouse) -> Cluster:
    cluster, _ = make_warehouse(1)
    with superuser(cluster.coordinator) as connection:
        tell(
            connection,
            "CREATE TABLE public.kept AS SELECT i, repeat('x', 100) AS v FROM generate_series(1, 50000) i",
        )
    return cluster


@pytest.fixture(scope="module")
def node(house: Cluster) -> Node:
    return house.coordinator


@pytest.fixture(scope="module")
def there(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Node:
    return as_somebodys(node, tmp_path_factory.mktemp("passwords"))


@pytest.fixture(scope="module")
def access(there: Node) -> list[str]:
    assert there.connection is not None
    return [
        *("--host", f"{there.host}:{there.port}", "--role", ROLE, "--tls", "disable"),
        *("--password-file", there.connection.password_file, "--json"),
    ]


@pytest.fixture(scope="module")
def service(data_root: Path) -> Iterator[Service]:
    with serving(data_root / "registered") as running:
        yield running


def run(*words: str, succeeds: bool = True) -> dict[str, Any]:
    answer = subprocess.run([*COMMAND, *words], capture_output=True, text=True, check=False)
    assert (answer.returncode == 0) is succeeds, answer.stdout + answer.stderr
    found: dict[str, Any] = json.loads(answer.stdout or answer.stderr)
    return found


def test_a_fit_server_has_nothing_to_mend(there: Node) -> None:
    findings = check_up(there)
    assert [one for one in findings if one.weight is Weight.MUST] == []
    assert {"server", "replication", "incremental"} <= {one.about for one in findings}


@pytest.mark.parametrize("right", RIGHTS, ids=lambda right: right.name)
def test_a_missing_right_is_found_with_the_statement_that_gives_it(
    there: Node, node: Node, right: Any
) -> None:
    with superuser(node) as connection:
        tell(connection, right.revoke.format(role=ROLE))
        (found,) = [one for one in check_up(there) if right.name in one.message]
        assert (found.weight is Weight.MUST) is right.must
        tell(connection, found.mend)
    assert [one for one in check_up(there) if right.name in one.message] == []


def test_a_server_that_lets_nobody_stream_is_found_with_the_line_that_does(there: Node, node: Node) -> None:
    rules = Path(node.directory, "pgdata", "pg_hba.conf")
    before = rules.read_text()
    try:
        rules.write_text(before.replace(f"all,replication {ROLE}", f"all {ROLE}"))
        with superuser(node) as connection:
            tell(connection, "SELECT pg_reload_conf()")
        (found,) = [one for one in check_up(there) if one.weight is Weight.MUST]
        assert found.about == "replication" and f": host all,replication {ROLE} " in found.mend
    finally:
        rules.write_text(before)
        with superuser(node) as connection:
            tell(connection, "SELECT pg_reload_conf()")


def test_a_server_whose_commits_would_wait_for_our_stream_is_refused(
    there: Node, node: Node, house: Cluster, tmp_path: Path
) -> None:
    vault = open_vault(tmp_path, house)
    with superuser(node) as connection:
        tell(connection, "ALTER SYSTEM SET synchronous_standby_names = 'FIRST 1 (*)'")
        tell(connection, "SELECT pg_reload_conf()")
        try:
            until(lambda: any("commits would wait" in one.message for one in check_up(there)), 10)
            with pytest.raises(CaptureFailed, match="synchronous_standby_names holds"):
                capture_cluster(replace(house, nodes=(there,)), vault)
        finally:
            tell(connection, "ALTER SYSTEM RESET synchronous_standby_names")
            tell(connection, "SELECT pg_reload_conf()")


@pytest.mark.parametrize(
    ("changed", "told"), [("password", "password authentication failed"), ("port", "refused")]
)
def test_a_server_that_does_not_answer_us_is_told_with_the_reason(
    access: list[str], tmp_path: Path, changed: str, told: str
) -> None:
    words = [*access]
    if changed == "password":
        (tmp_path / "wrong").write_text("wrong\n")
        words[words.index("--password-file") + 1] = str(tmp_path / "wrong")
    else:
        words[1] = words[1].rpartition(":")[0] + ":1"
    answer = run("cluster", "check", *words, succeeds=False)
    assert told in answer["findings"][0]["message"]


@pytest.mark.long
def test_a_registered_cluster_is_snapshot_restored_and_forgotten(
    service: Service, node: Node, access: list[str]
) -> None:
    words = ["--data", str(service.data), "--project", PROJECT, *access]
    with superuser(node) as connection:
        tell(connection, f"ALTER ROLE {ROLE} NOREPLICATION")
    refused = run("cluster", "add", "orders", *words, succeeds=False)
    assert "lacks REPLICATION" in refused["error"]["message"]
    assert f'ALTER ROLE "{ROLE}" REPLICATION' in refused["error"]["hint"]
    assert service.call("GET", "/v1.0/{p}/clusters").json["clusters"] == []
    with superuser(node) as connection:
        tell(connection, f"ALTER ROLE {ROLE} REPLICATION")
    cluster = run("cluster", "add", "orders", *words)["id"]
    assert service.cluster(cluster)["status"] == "AVAILABLE"

    first = service.request_snapshot(cluster, "first")
    assert service.ended(first) == "AVAILABLE", service.reason(first)
    with superuser(node) as connection:
        tell(connection, "UPDATE public.kept SET v = 'changed' WHERE i <= 100")
    second = service.request_snapshot(cluster, "second")
    assert service.ended(second) == "AVAILABLE", service.reason(second)
    log = [json.loads(line) for line in service.log.read_text().splitlines() if "node captured" in line]
    assert [bool(line["base"]) for line in log] == [False, True], log[-1]["whole_because"]

    before = server.process_id(node)
    requests: list[tuple[str, dict[str, Any]]] = [
        ("/v1.0/{p}/clusters/%s/restart", {"restart": {}}),
        ("/v1/{p}/clusters/%s/stop", {}),
    ]
    for path, body in requests:
        answer = service.call("POST", path % cluster, body)
        assert answer.status == 403 and "is registered: Stillhouse cannot" in answer.json["error_msg"]
    assert server.process_id(node) == before

    service.delete_cluster(cluster)
    assert rows(node, SCHEMA) == []
    assert server.process_id(node) == before


@pytest.mark.long
def test_the_commands_say_why_a_snapshot_failed_as_the_page_of_the_first_day_has_it(
    service: Service, binaries: Binaries, there: Node, node: Node, access: list[str]
) -> None:
    """A stopped server, then a right that was revoked; both reasons are kept."""
    page = (ROOT / "docs" / "first-day.md").read_text()
    cluster = run("cluster", "add", "orders", "--data", str(service.data), "--project", PROJECT, *access)[
        "id"
    ]
    (take, *said), *_ = re.findall(
        r"^\$ (stillhouse snapshot create second .*)\n(.*)\n(.*)\n", page, re.MULTILINE
    )
    place = f'"{there.host}", port {there.port}'
    stopped = [line.replace('"127.0.0.1", port 55432', place) for line in said]
    server.stop(binaries, node)
    try:
        code, told = typed(service, *shlex.split(take)[1:])
    finally:
        server.start(binaries, node)
    assert code == 1 and told.splitlines() == stopped
    why = stopped[0].partition("it ended as FAILED: ")[2]
    for words in (("snapshot", "show", "second"), ("cluster", "show", "orders"), ("events",)):
        assert why in typed(service, *words)[1], words

    begins = next(right for right in RIGHTS if right.name.endswith("pg_backup_start"))
    with superuser(node) as connection:
        tell(connection, begins.revoke.format(role=ROLE))
        code, told = typed(service, "snapshot", "create", "third", "--cluster", "orders", "--wait")
        tell(connection, begins.grant.format(role=ROLE))
    lacks = f"the role lacks {begins.name} ({begins.why})"
    assert code == 1 and lacks in told and "stillhouse cluster grants" in told
    assert f"`{lacks}`, and `stillhouse cluster grants`" in page

    kept = typed(service, "cluster", "operations", "orders", "--failed")[1]
    assert why in kept and lacks in kept
    service.delete_cluster(cluster)


def test_a_password_changes_without_a_new_registration(there: Node, node: Node) -> None:
    """The password changes on the server and in its file; the registration stays as it is."""
    assert there.connection is not None
    file = Path(there.connection.password_file)
    try:
        with superuser(node) as connection:
            tell(connection, f"ALTER ROLE {ROLE} PASSWORD 'Another-1'")
        file.write_text("Another-1\n")
        with closing(session.connect(there, "postgres")) as ours:
            assert ours.info.user == ROLE
    finally:
        with superuser(node) as connection:
            tell(connection, f"ALTER ROLE {ROLE} PASSWORD '{PASSWORD}'")
        file.write_text(f"{PASSWORD}\n")
