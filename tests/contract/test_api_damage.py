"""KnownDamage losses are told: in DWS's status, by our own operations, on the terminal and in the metrics."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from stillhouse.catalog.checks import findings
from stillhouse.cli.main import app
from stillhouse.control.reports.monitoring import Monitor
from stillhouse.domain.reports.damage import FileTouched, KnownDamage, NodeTouched, SnapshotTouched
from stillhouse.repository.objects import losses
from support.api.application import PROJECT, Service, serving_service

FILES = (FileTouched("base/5/16384", ((0, 7), (9, 9))), FileTouched("pg_xact/0000", bytes=((0, 99),)))
OBJECT: dict[str, Any] = {
    "key": f"c/x/packs/{'0' * 32}",
    "kind": "altered",
    "detail": "1 of 64 frames do not open",
    "costs": True,
    "found": "2026-11-20T08:14:51+00:00",
}


@pytest.fixture
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving_service(tmp_path_factory.mktemp("api")) as running:
        yield running


def snapshots_of(service: Service, *names: str) -> tuple[str, list[str]]:
    cluster = service.add_cluster()
    return cluster, [service.take_snapshot(cluster, name, 1000) for name in names]


def become_known(service: Service, cluster: str, *lost: SnapshotTouched) -> None:
    control = service.control
    said = KnownDamage(["0" * 32], True, [OBJECT]) if lost else KnownDamage([], True, [])
    costs = {one.snapshot: list(losses.lines(one)) for one in lost}
    with control.database.transaction() as transaction:
        findings.put(transaction, cluster, control.clock.now(), said, costs)


def statuses(service: Service, cluster: str, snapshot: str) -> set[str]:
    """The snapshot's status in each of DWS's three answers."""
    ask = service.client.request
    rows = [
        *ask("GET", "/v1.0/{p}/snapshots").json["snapshots"],
        *ask("GET", f"/v1.0/{{p}}/clusters/{cluster}/snapshots").json["snapshots"],
        ask("GET", f"/v1.0/{{p}}/snapshots/{snapshot}").json["snapshot"],
    ]
    return {row["status"] for row in rows if row["id"] == snapshot}


def test_a_snapshot_that_lost_something_is_not_called_available(service: Service) -> None:
    cluster, (bad, good) = snapshots_of(service, "hurt", "sound")
    become_known(service, cluster, SnapshotTouched(bad, "hurt", (NodeTouched("cn", FILES),)))
    assert statuses(service, cluster, bad) == {"UNAVAILABLE"}
    assert statuses(service, cluster, good) == {"AVAILABLE"}
    become_known(service, cluster)
    assert statuses(service, cluster, bad) == {"AVAILABLE"}


def test_what_exactly_is_lost_is_told(service: Service) -> None:
    cluster, (bad, good) = snapshots_of(service, "hurt", "sound")
    become_known(
        service, cluster, SnapshotTouched(bad, "hurt", (NodeTouched("cn", FILES), NodeTouched("dn1", None)))
    )
    path = "/stillhouse/v1/{p}/snapshots/"
    told = service.client.request("GET", f"{path}{bad}/damage").json["damage"]
    assert (told["snapshot_id"], told["name"], told["cluster_id"]) == (bad, "hurt", cluster)
    cn, dn1 = told["nodes"]
    assert [(file["path"], file["relation"], file["blocks"], file["bytes"]) for file in cn["files"]] == [
        ("base/5/16384", 16384, [[0, 7], [9, 9]], []),
        ("pg_xact/0000", None, [], [[0, 99]]),
    ]
    assert (cn["whole"], dn1["whole"], dn1["files"]) == (False, True, [])
    assert service.client.request("GET", f"{path}{good}/damage").json == {"damage": None}
    listed = service.client.request("GET", "/stillhouse/v1/{p}/damage").json
    assert listed["snapshots"] == [told] and listed["count"] == 1 and listed["is_worked_out"] is True
    assert listed["objects"] == [{"cluster_id": cluster, **OBJECT}]


def test_of_another_project_nothing_is_told(service: Service) -> None:
    cluster, (bad,) = snapshots_of(service, "hurt")
    become_known(service, cluster, SnapshotTouched(bad, "hurt", None))
    stranger = service.client_of_other_project()
    answer = stranger.request("GET", f"/stillhouse/v1/{{p}}/snapshots/{bad}/damage")
    assert (answer.status, answer.error_code) == (400, "DWS.5149")
    listed = stranger.request("GET", "/stillhouse/v1/{p}/damage").json
    assert (listed["snapshots"], listed["objects"]) == ([], [])


def test_a_restore_of_it_is_tried_all_the_same(service: Service) -> None:
    """A restore proves each frame that it reads, and the damage may have been mended since."""
    cluster, (bad,) = snapshots_of(service, "hurt")
    become_known(service, cluster, SnapshotTouched(bad, "hurt", (NodeTouched("cn", FILES),)))
    path = f"/v1.0/{{p}}/snapshots/{bad}/actions"
    assert service.client.request("POST", path, {"restore": {"name": "try-it"}}).status == 200


def test_the_terminal_shows_it(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The test runner sets it, and a narrow list leaves columns out.
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setenv("STILLHOUSE_ENDPOINT", service.endpoint)
    monkeypatch.setenv("STILLHOUSE_PROJECT", PROJECT)
    monkeypatch.setenv("CLOUD_SDK_AK", service.client.access_key)
    monkeypatch.setenv("CLOUD_SDK_SK", service.client.secret_key)

    def run(*words: str) -> str:
        app(["snapshot", *words], result_action="return_value")
        return capsys.readouterr().out

    cluster, (bad, good) = snapshots_of(service, "hurt", "sound")
    assert "damage" not in run("list")
    become_known(
        service, cluster, SnapshotTouched(bad, "hurt", (NodeTouched("cn", FILES), NodeTouched("dn1", None)))
    )
    rows = {line.split()[1]: line for line in run("list").splitlines()[1:]}
    assert rows["hurt"].endswith("2 files of cn, all of dn1") and "file" not in rows["sound"]
    said = run("show", "hurt")
    assert "2 files of cn, all of dn1 cannot be read back" in said
    assert "cn base/5/16384" in said and "blocks 0-7, 9 (database 5, relation 16384)" in said
    assert "bytes 0-99" in said
    assert "damage" not in run("show", "sound")
    shown = json.loads(run("show", "hurt", "--json"))
    assert shown["damage"]["snapshot_id"] == bad
    listed = json.loads(run("list", "--json"))["snapshots"]
    assert {one["id"]: bool(one["damage"]) for one in listed} == {bad: True, good: False}


def test_the_metrics_count_it(service: Service) -> None:
    cluster, (bad, worse) = snapshots_of(service, "hurt", "hurt-more")

    def told() -> list[str]:
        text = Monitor(service.control).scrape().decode()
        return [line for line in text.splitlines() if cluster in line and "damaged" in line]

    of = f'{{cluster="{cluster}",name="dw-{cluster}"}}'
    nothing = [f"stillhouse_snapshots_damaged{of} 0.0", f"stillhouse_damaged_objects{of} 0.0"]
    assert told() == nothing
    become_known(
        service,
        cluster,
        SnapshotTouched(bad, "hurt", (NodeTouched("cn", FILES), NodeTouched("dn1", None))),
        SnapshotTouched(worse, "hurt-more", None),
    )
    assert told() == [f"stillhouse_snapshots_damaged{of} 2.0", f"stillhouse_damaged_objects{of} 1.0"]
    become_known(service, cluster)
    assert told() == nothing
