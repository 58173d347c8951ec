"""`repo restore --files-only`: a person types the printed commands, and has the cluster as it was at the cut."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from stillhouse.postgres.sessions import session
from support.processes.reader import destroy_clusters
from support.processes.service import COMMAND, PASSWORD, Service, serving
from support.servers.fifteen import PG_BIN, needs_fifteen

pytestmark = pytest.mark.long

ROWS = "SELECT count(*), sum(id), md5(string_agg(v, ',' ORDER BY id)) FROM kept"


@pytest.fixture(
    scope="module", params=[pytest.param(None, id="18"), pytest.param(PG_BIN, id="15", marks=needs_fifteen)]
)
def service(request: pytest.FixtureRequest, data_root: Path) -> Iterator[Service]:
    with pytest.MonkeyPatch.context() as changed:
        if request.param:
            changed.setenv("STILLHOUSE_PG_BIN", str(request.param))
        with serving(data_root / "typed") as running:
            yield running


@pytest.mark.parametrize("nodes", [1, 2], ids=["single", "fdw"])
def test_the_printed_commands_bring_back_the_rows_of_the_cut(
    service: Service, nodes: int, data_root: Path
) -> None:
    cluster = service.create_cluster(f"typed-{nodes}", nodes)
    make_table(service, cluster, nodes)
    snapshot = service.request_snapshot(cluster, f"then-{nodes}")
    with service.log_in(cluster) as connection:
        (then,) = connection.execute(ROWS).fetchall()
    assert service.ended(snapshot) == "AVAILABLE"
    with service.log_in(cluster) as connection:
        connection.execute("UPDATE kept SET v = 'later'")
    into = data_root / "by hand"
    try:
        *commands, log_in = printed(service, snapshot, into)
        assert len(commands) == 3 * (1 if nodes == 1 else nodes + 1)
        for command in commands:
            typed(command)
        assert typed(f"{log_in} -At", ROWS) == "|".join(map(str, then))
        quiet = "SHOW archive_mode; SELECT subname, subenabled, subslotname FROM pg_subscription"
        assert typed(f"{log_in} -At", quiet) == "off\nfar|f|"
        # The data nodes are the restored ones.
        assert typed(f"{log_in} -At", f"DELETE FROM kept; {ROWS}").startswith("0|")
        assert typed(f"{log_in} -At", "CREATE TABLE more AS SELECT 1 AS id; TABLE more") == "1"
    finally:
        destroy_clusters(into)
        shutil.rmtree(into)
    with service.log_in(cluster) as connection:
        assert connection.execute("SELECT count(*), min(v) FROM kept").fetchall() == [(1000, "later")]
    service.delete_cluster(cluster)


def make_table(service: Service, cluster: str, nodes: int) -> None:
    """Its settings would push WAL into an archive, and a subscription would draw on its source."""
    with closing(session.connect(service.nodes(cluster)[0], "gaussdb")) as connection:
        connection.execute("ALTER SYSTEM SET archive_mode = on")
        connection.execute("ALTER SYSTEM SET archive_command = 'touch /nowhere/at/all'")
        connection.execute(
            "CREATE SUBSCRIPTION far CONNECTION 'host=/nowhere' PUBLICATION p WITH (connect = false)"
        )
    with service.log_in(cluster) as connection:
        if nodes > 1:
            connection.execute(
                "SELECT stillhouse.create_distributed_table('public.kept', 'id bigint NOT NULL, v text', 'id')"
            )
        else:
            connection.execute("CREATE TABLE kept (id bigint NOT NULL, v text)")
        connection.execute("INSERT INTO kept SELECT i, md5(i::text) FROM generate_series(1, 1000) i")


def printed(service: Service, snapshot: str, into: Path) -> list[str]:
    """The lines that a person is told to type."""
    done = subprocess.run(
        [*COMMAND, "repo", "restore", "--repository", str(service.data / "repository"), "--kek-file",
         str(service.data / "kek"), "--snapshot", snapshot, "--into", str(into), "--files-only"],
        capture_output=True, text=True, check=False, env=os.environ,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    _, told = done.stdout.split("\n# ", 1)
    return [line for line in told.splitlines()[1:] if line and not line.startswith("#")]


def typed(command: str, asked: str = "") -> str:
    done = subprocess.run(
        ["bash", "-c", command], input=asked, capture_output=True, text=True, check=False, timeout=120,
        env=os.environ | {"PGPASSWORD": PASSWORD},
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout.strip().removeprefix("DELETE 1000\n").removeprefix("SELECT 1\n")
