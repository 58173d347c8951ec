"""A running service takes an automated snapshot by itself, across a kill -9; a copy outlives what it was made of."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from support.processes.service import Service, serving

pytestmark = pytest.mark.long

CONTENTS = "SELECT count(*), sum(balance), md5(string_agg(id || pad, ',' ORDER BY id)) FROM accounts"


@pytest.fixture
def service(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setitem(os.environ, "STILLHOUSE_TIMER_SECONDS", "0.2")
    with serving(data_root / "automated") as running:
        yield running


def put_one_off(service: Service, cluster: str, name: str, kind: str) -> None:
    """A run that falls due within the second."""
    moment = (datetime.now(UTC) + timedelta(seconds=1.5)).replace(microsecond=0)
    strategy = {"policy_name": name, "backup_strategy": f"{moment:%Y-%m-%dT%H:%M:%S}", "backup_type": kind}
    path = f"/v2/{{p}}/clusters/{cluster}/snapshot-policies"
    answer = service.call("PUT", path, {"backup_strategies": [strategy]})
    assert (answer.status, answer.json) == (200, {}), answer.raw


def automated(service: Service) -> list[dict[str, Any]]:
    """The oldest first."""
    listed = service.call("GET", "/v1.0/{p}/snapshots").json["snapshots"]
    return [one for one in listed if one["type"] == "AUTO"][::-1]


def available(service: Service, count: int) -> list[dict[str, Any]]:
    def look() -> list[dict[str, Any]]:
        found = automated(service)
        assert not any(one["status"] == "UNAVAILABLE" for one in found), found
        return found if [one["status"] for one in found] == ["AVAILABLE"] * count else []

    taken: list[dict[str, Any]] = service.until(f"{count} automated snapshots", look)
    return taken


def contents(service: Service, cluster: str) -> Any:
    with service.log_in(cluster) as connection:
        return connection.execute(CONTENTS).fetchone()


def test_policies_take_snapshots_and_retention_takes_them_away(service: Service) -> None:
    cluster = service.create_cluster("sales", 1)
    with service.log_in(cluster) as connection:
        connection.execute(
            "CREATE TABLE accounts AS SELECT g AS id, 100 AS balance, md5(g::text) AS pad"
            " FROM generate_series(1, 5000) g"
        )
    before = contents(service, cluster)
    put_one_off(service, cluster, "first", "increment")
    service.kill()  # whether before or after it fell due: it is taken once
    service.start()
    (first,) = available(service, 1)
    assert first["name"].startswith("sales-auto-")
    copied = service.call("POST", f"/v1.0/{{p}}/snapshots/{first['id']}/linked-copy", {"backup_name": "kept"})
    copy = copied.json["snapshot_id"]
    assert service.ended(copy) == "AVAILABLE"

    put_one_off(service, cluster, "second", "full")
    second = available(service, 2)[1]
    whole = service.rows("SELECT is_full FROM sh_policy_runs WHERE snapshot_id = ?", second["id"])
    assert whole == [(1,)]
    assert "a full snapshot was asked for" in service.log.read_text()

    age(service.data, first["id"], days=8)
    service.until("retention", lambda: [one["id"] for one in automated(service)] == [second["id"]])
    ((why,),) = service.rows("SELECT detail FROM sh_audit WHERE action = 'ExpireSnapshot'")
    assert why == "its 7 days are over: it is 8 days old"
    trash = service.data / "repository" / "c" / cluster / "trash" / first["id"]
    service.until("its mark in the repository", trash.exists)
    (service.data / "repository" / "c" / cluster / "roots" / first["id"]).unlink()

    with service.log_in(cluster) as connection:
        connection.execute("UPDATE accounts SET balance = 0")
    clone = service.restore(copy, "of-the-copy")
    assert service.settled(clone)["status"] == "AVAILABLE"
    assert contents(service, clone) == before
    assert service.stop() == 0, "the timer ends with the service"


def age(data: Path, snapshot_id: str, days: int) -> None:
    """Let it have begun that many days earlier."""
    with closing(sqlite3.connect(data / "catalog.sqlite", timeout=30)) as catalog, catalog:
        catalog.execute(
            "UPDATE sh_snapshots SET started = datetime(started, ?) || '.000000' WHERE id = ?",
            (f"-{days} days", snapshot_id),
        )
