"""The comforts of a terminal: pages, narrow tables, names that are nearly right, errors for programs."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import update

from stillhouse.catalog import snapshots
from stillhouse.catalog.schema.tables import clusters as clusters_table
from stillhouse.cli.terminal import times
from stillhouse.control.snapshots import queue
from stillhouse.domain.reports.failure import Failure
from stillhouse.errors import NodeUnreachable
from support.api.application import PROJECT, Service, serving_service
from support.terminal.command_line import Run, operator

_CAUSE = NodeUnreachable("node cn does not answer", hint="start the server")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving_service(tmp_path_factory.mktemp("terminal")) as running:
        yield running


@pytest.fixture
def run(service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return operator(service, monkeypatch, capsys)


@pytest.fixture
def run_json(run: Run) -> Callable[..., Any]:
    def call(*words: str) -> Any:
        code, out, err = run(*words, "--json")
        assert (code, err) == (0, ""), err
        return json.loads(out)

    return call


@pytest.fixture(scope="module")
def clusters(service: Service) -> list[dict[str, Any]]:
    """Two clusters: one with three snapshots, one with one that failed."""
    made = [service.add_cluster(), service.add_cluster()]
    for name in ("nightly-b", "nightly-c", "nightly-a"):
        service.finish_snapshot(_taken(service, made[0], name))
    fail(service, _taken(service, made[1], "failed"))
    return [one for cluster in made for one in service.list_clusters() if one["id"] == cluster]


def _taken(service: Service, cluster: str, name: str) -> str:
    wanted = {"snapshot": {"name": name, "cluster_id": cluster}}
    return str(service.client.request("POST", "/v1.0/{p}/snapshots", wanted).json["snapshot"]["id"])


def fail(service: Service, snapshot: str) -> None:
    """As its flow does when it gives up."""
    with service.control.database.transaction() as transaction:
        found = snapshots.read_snapshot(transaction, snapshot)
        queue.fail(service.control, transaction, found, Failure.of(_CAUSE))


def names(answer: Any) -> list[str]:
    return [one["name"] for one in answer["snapshots"]]


def test_a_list_is_chosen_sorted_and_paged_by_the_service(
    clusters: list[dict[str, Any]], run: Run, run_json: Callable[..., Any]
) -> None:
    of_first = ("snapshot", "list", "--cluster", clusters[0]["name"])
    assert names(run_json(*of_first, "--sort", "name")) == ["nightly-a", "nightly-b", "nightly-c"]
    page = run_json(*of_first, "--sort", "name", "--reverse", "--limit", "2", "--page", "2")
    assert (names(page), page["count"]) == (["nightly-a"], 3)
    assert names(run_json("snapshot", "list", "--status", "UNAVAILABLE")) == ["failed"]
    assert names(run_json(*of_first, "--limit", "1")) == ["nightly-a"], "the newest first"
    assert run_json("snapshot", "list", "--since", "1h")["count"] == 4
    assert run_json("snapshot", "list", "--since", "2100-01-01")["count"] == 0
    assert run_json("snapshot", "list")["count"] == 4
    code, out, err = run("snapshot", "list", "--limit", "3")
    assert (code, len(out.splitlines())) == (0, 4) and "page 1 of 2, 4 snapshots in all" in err
    assert run("snapshot", "list", "--page", "0")[0] == 1
    assert "is no time" in run("snapshot", "list", "--since", "yesterday")[2]


@pytest.mark.parametrize(
    "query", [{"status": "DONE"}, {"since": "x"}, {"limit": "0"}, {"sort_key": "x"}, {"cluster_id": "x"}]
)
def test_a_wrong_choice_is_refused(service: Service, query: dict[str, str]) -> None:
    assert service.client.request("GET", "/v1.0/{p}/snapshots", query=query).status == 400


def test_an_empty_choice_counts_as_not_given(service: Service, clusters: list[dict[str, Any]]) -> None:
    query = {"status": "", "since": "", "limit": "", "cluster_id": "", "sort_key": ""}
    assert service.client.request("GET", "/v1.0/{p}/snapshots", query=query).json["count"] == 4


@pytest.mark.parametrize("columns", [80, 60])
def test_tables_fit_the_terminal(
    clusters: list[dict[str, Any]], run: Run, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for words in (("snapshot", "list"), ("cluster", "list"), ("events",), ("audit", "list")):
        code, out, err = run(*words)
        assert code == 0 and max(map(len, out.splitlines())) <= columns, out
        assert ("left out" in err) == (words != ("events",)), "an event is nothing without its description"
    assert {"nightly-a", "failed"} <= set(run("snapshot", "list")[1].split())


def test_times_are_local_with_their_offset_or_in_utc(
    clusters: list[dict[str, Any]], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert " +00:00" in run("snapshot", "show", "nightly-a")[1]
    monkeypatch.setattr(times, "_zone", [ZoneInfo("Asia/Kolkata")])
    assert " +05:30" in run("snapshot", "show", "nightly-a")[1]


def test_an_event_of_a_failure_tells_the_reason_as_the_snapshot_does(
    clusters: list[dict[str, Any]], run: Run
) -> None:
    why = f"{_CAUSE.message} ({_CAUSE.hint})"
    (failure,) = (line for line in run("snapshot", "show", "failed")[1].splitlines() if why in line)
    assert failure.startswith("failure")
    head, *events = run("events")[1].splitlines()
    assert head.split() == ["time", "severity", "description", "reason"]
    (told,) = (line for line in events if why in line)
    assert "CreateSnapshot of snapshot failed" in told and told.endswith(why)
    assert all(line.endswith("-") for line in events if line != told)


def test_a_name_that_is_nearly_right_is_named(clusters: list[dict[str, Any]], run: Run) -> None:
    code, _, err = run("snapshot", "show", "nigthly-a")
    assert code == 1 and "did you mean nightly-a?" in err
    name = clusters[0]["name"]
    code, _, err = run("cluster", "show", name[:-1] + "#")
    assert code == 1 and "did you mean " in err
    code, _, err = run("snapshot", "show", "xyzzy-plugh")
    assert code == 1 and "`stillhouse snapshot list` lists them" in err


def test_with_json_a_failure_is_json_too(clusters: list[dict[str, Any]], run: Run) -> None:
    code, out, err = run("snapshot", "show", "unknown", "--json")
    assert (code, out) == (1, "")
    told = json.loads(err)["error"]
    assert told["code"] == "input.invalid" and "unknown" in told["message"] and told["hint"]
    unknown = "11111111-2222-4333-8444-555555555555"
    code, _, err = run("cluster", "show", unknown, "--json")
    told = json.loads(err)["error"]
    assert (code, told["code"], told["service_code"], told["status"]) == (
        1,
        "service.refused",
        "DWS.0047",
        404,
    )
    assert len(told["request_id"]) == 32


def test_what_the_api_can_do_the_terminal_can_too(
    service: Service, clusters: list[dict[str, Any]], run: Run, run_json: Callable[..., Any]
) -> None:
    name = clusters[0]["name"]
    assert "never" in run("cluster", "proofs", name)[1]
    assert "newest snapshot, every 7 days" in run("cluster", "proofs", name, "--every-days", "7")[1]
    assert run_json("cluster", "proofs", name) == {"every_days": 7, "newest_only": True}
    assert "all snapshots, every 7 days" in run("cluster", "proofs", name, "--no-newest-only")[1]
    assert run_json("statistics")["statistics"]
    assert "storage.used" in run("statistics", "--cluster", name)[1]
    code, out, _ = run("events", "--limit", "1")
    assert code == 0 and len(out.splitlines()) == 2
    ours = run_json("cluster", "operations", name)
    assert ours == run_json("cluster", "operations", "--cluster", name) and ours["operations"]
    records = run_json("audit", "list", "--limit", "2")["records"]
    assert records[-1]["action"] == "SetProofSchedule" and len(records) == 2
    assert run_json("audit", "list", "--since", "2100-01-01")["count"] == 0
    assert run("snapshot", "copy", "nightly-a", "--to", "kept")[0] == 1, "a manual one stays by itself"
    code, _, err = run("cluster", "start", name)
    assert code == 1 and "a restart starts servers that do not answer" in err
    assert run("cluster", "stop", name)[0] == 0
    service.finish_restore(clusters[0]["id"])


def test_a_profile_is_enough(
    service: Service,
    clusters: list[dict[str, Any]],
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("STILLHOUSE_ENDPOINT", "STILLHOUSE_PROJECT", "CLOUD_SDK_AK", "CLOUD_SDK_SK"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    file = tmp_path / "stillhouse" / "profiles.toml"
    file.parent.mkdir()
    key = service.client
    file.write_text(
        f'[prod]\nendpoint = "{service.endpoint}"\nproject = "{PROJECT}"\n'
        f'access_key = "{key.access_key}"\nsecret_key = "{key.secret_key}"\n'
    )
    file.chmod(0o600)
    assert run("cluster", "list", "--profile", "prod")[0] == 0
    assert "did you mean prod?" in run("cluster", "list", "--profile", "prd")[2]


def test_all_clusters_or_one_and_never_servers_of_somebody(service: Service, run: Run) -> None:
    for words in (("cluster", "stop"), ("cluster", "stop", "one", "--all")):
        code, _, err = run(*words)
        assert code == 1 and "name one cluster, or give --all" in err
    theirs = service.add_cluster()
    with service.control.database.transaction() as transaction:
        transaction.execute(
            update(clusters_table).where(clusters_table.c.id == theirs).values(provider="registered")
        )
    mine = service.add_cluster()
    out = run("cluster", "stop", "--all")[1]
    assert mine in out and theirs not in out
