"""The commands that are clients of the API, against the API."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from stillhouse import metrics
from stillhouse.catalog import operations, snapshot_sizes, snapshots
from stillhouse.catalog.checks import proofs
from stillhouse.cli.main import app
from stillhouse.cli.service import client
from stillhouse.cli.service.client import said_pace
from stillhouse.cli.service.connection import Connection
from stillhouse.cli.terminal.credentials import Key
from stillhouse.control.snapshots.queue import fail
from stillhouse.domain.ids import new_uuid
from stillhouse.domain.proof import ProofState
from stillhouse.domain.reports.failure import Failure
from support.api.application import PASSWORD, PROJECT, Service, serving_service
from support.api.asking import end_operation
from support.control.catalog_rows import many_snapshots
from support.databases.writers import until
from support.terminal.command_line import Run, operator


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with serving_service(tmp_path) as running:
        yield running


@pytest.fixture
def run(service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return operator(service, monkeypatch, capsys)


@pytest.fixture
def run_json(run: Run) -> Callable[..., Any]:
    def call(*words: str) -> Any:
        code, out, err = run(*words, "--json")
        assert (code, err) == (0, "")
        return json.loads(out)

    return call


def name_of(service: Service, cluster: str) -> str:
    return next(str(one["name"]) for one in service.list_clusters() if one["id"] == cluster)


def available(service: Service, run_json: Callable[..., Any], name: str = "nightly") -> tuple[str, str]:
    """A cluster and a snapshot of it."""
    cluster = service.add_cluster()
    made = run_json("snapshot", "create", name, "--cluster", name_of(service, cluster))
    service.finish_snapshot(made["snapshot"]["id"])
    return cluster, made["snapshot"]["id"]


def test_a_snapshots_life(service: Service, run: Run, run_json: Callable[..., Any]) -> None:
    cluster = service.add_cluster()
    snapshot = run_json("snapshot", "create", "nightly", "--cluster", cluster, "--description", "why")[
        "snapshot"
    ]["id"]
    assert run_json("snapshot", "show", "NIGHTLY")["snapshot"]["description"] == "why"
    assert run_json("snapshot", "list")["count"] == 1
    assert (
        run_json("snapshot", "list", "--cluster", name_of(service, cluster))["snapshots"][0]["id"] == snapshot
    )
    assert run_json("snapshot", "cancel", "nightly") == {}
    service.finish_snapshot(snapshot)
    restored = run_json("snapshot", "restore", "nightly", "--to", "copy-of-it", "--port", "8001")["cluster"][
        "id"
    ]
    assert run_json("cluster", "show", "copy-of-it")["cluster"]["id"] == restored
    service.finish_restore(restored)
    assert run_json("snapshot", "delete", snapshot)["snapshots"][0]["done"] is True
    code, out, _ = run("snapshot", "list")
    assert (code, out.split()) == (0, list(out.split()))
    assert "nightly" not in out


def test_a_clusters_life(
    service: Service, run: Run, run_json: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STILLHOUSE_USER_PWD", PASSWORD)
    made = run_json("cluster", "create", "sales", "--nodes", "3", "--port", "8002")["cluster"]["id"]
    shown = run_json("cluster", "show", "sales")["cluster"]
    assert (shown["id"], len(shown["nodes"]), shown["port"], shown["user_name"]) == (made, 3, 8002, "dbadmin")
    assert run_json("cluster", "list")["count"] == 1
    cluster = service.add_cluster()
    assert run_json("cluster", "restart", cluster) == {"cluster": {"id": cluster}}
    service.finish_restore(cluster)
    assert run_json("cluster", "delete", name_of(service, cluster), "--keep-snapshots", "2", "--yes") == {}
    code, out, _ = run("cluster", "list")
    assert code == 0 and out.splitlines()[0].split()[:3] == ["id", "name", "state"]
    assert {made, cluster} == {line.split()[0] for line in out.splitlines()[1:]}


def test_for_people_one_thing_is_a_line_per_field(
    service: Service, run: Run, run_json: Callable[..., Any]
) -> None:
    cluster, snapshot = available(service, run_json)
    code, out, _ = run("snapshot", "show", "nightly")
    assert code == 0
    fields = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert (fields["id"], fields["state"], fields["progress"]) == (snapshot, "AVAILABLE", "100%")
    code, out, _ = run("cluster", "show", cluster)
    assert dict(line.split(maxsplit=1) for line in out.splitlines())["endpoint"] == "127.0.0.1:8000"


def test_waiting_shows_progress_and_ends_with_the_snapshot(service: Service, run: Run) -> None:
    cluster = service.add_cluster()

    def finish() -> None:
        until(service.list_snapshots, 30)
        service.finish_snapshot(service.list_snapshots()[0]["id"])

    finishing = threading.Thread(target=finish)
    finishing.start()
    code, out, _ = run("snapshot", "create", "nightly", "--cluster", cluster, "--wait")
    finishing.join()
    assert code == 0 and "AVAILABLE" in out


def end_proof(service: Service, state: ProofState, report: dict[str, Any]) -> None:
    """As its flow would."""
    (snapshot,) = service.list_snapshots()
    control = service.control

    def end() -> bool:
        with control.database.transaction() as transaction:
            proof = proofs.latest(transaction, snapshot["id"])
            return proof is not None and proofs.end(transaction, proof.id, control.clock.now(), state, report)

    until(end, 30)


def test_a_proof_is_asked_for_and_shown(service: Service, run: Run, run_json: Callable[..., Any]) -> None:
    _, snapshot = available(service, run_json)
    assert run_json("snapshot", "proof", "nightly") == {"proof": None}
    asked = run_json("snapshot", "prove", "nightly")["proof"]
    assert (asked["state"], asked["snapshot_id"]) == ("RUNNING", snapshot)
    code, _, err = run("snapshot", "prove", "nightly")
    assert code == 1 and f"DWS.7023: snapshot {snapshot} is being proved" in err
    code, _, err = run("snapshot", "delete", "nightly")
    assert code == 1 and f"DWS.7023: snapshot {snapshot} is being proved" in err
    end_proof(service, ProofState.PROVED, {"tables": 3, "rows": 7, "findings": []})
    assert run_json("snapshot", "proof", "nightly")["proof"]["rows"] == 7


def test_waiting_for_a_proof_that_refutes_ends_in_failure_and_names_what_was_found(
    service: Service, run: Run, run_json: Callable[..., Any]
) -> None:
    available(service, run_json)
    report = {"findings": ["dn1: gaussdb: public.t holds other rows"]}
    ending = threading.Thread(target=end_proof, args=(service, ProofState.REFUTED, report))
    ending.start()
    code, out, err = run("snapshot", "prove", "nightly", "--wait")
    ending.join()
    assert (code, out) == (1, "")
    assert "proving nightly: it ended as REFUTED" in err and "public.t holds other rows" in err


# --- restores of tables -----------------------------------------------------------------------------


def begun(service: Service, cluster: str) -> dict[str, Any]:
    with service.control.database.reading() as reading:
        operation = operations.active(reading, cluster)
    assert operation is not None
    return operation.detail


def test_tables_are_named_with_or_without_a_target(service: Service, run_json: Callable[..., Any]) -> None:
    cluster, snapshot = available(service, run_json)
    words = ("Public.Orders", "items=mart.items", "mart.a.b=old.c=d")
    answer = run_json("snapshot", "restore-tables", "nightly", *words, "--database", "sales", "--yes")
    assert len(answer["job_id"]) == 32
    detail = begun(service, cluster)
    assert (detail["snapshot_id"], detail["database"]) == (snapshot, "sales")
    named = [
        (one["schema"], one["table"], one["target_schema"], one["target_table"]) for one in detail["tables"]
    ]
    assert named[0][:3] == ("public", "orders", "public_dws_backup")
    assert named[1:] == [("public", "items", "mart", "items"), ("mart", "a.b", "old", "c=d")]
    service.finish_restore(cluster)
    run_json("snapshot", "restore-tables", "nightly", "Public.Orders", "--case-sensitive", "--yes")
    assert begun(service, cluster)["tables"][0]["schema"] == "Public"


@pytest.mark.parametrize("word", ["", ".", "a.", ".b", "=", "a=", "=b", "a.b=c."])
def test_a_word_that_names_no_table_is_refused_before_anybody_is_asked(run: Run, word: str) -> None:
    code, out, err = run("snapshot", "restore-tables", "nightly", word)
    assert (code, out) == (1, "") and "schema.table" in err


def test_waiting_for_tables_ends_with_the_job(
    service: Service, run: Run, run_json: Callable[..., Any]
) -> None:
    cluster, _ = available(service, run_json)
    for reason, wanted in (("", 0), ("public.orders is not in the snapshot", 1)):

        def end(reason: str = reason) -> None:
            until(lambda: service.task_of(cluster), 30)
            end_operation(service, cluster, reason)

        ending = threading.Thread(target=end)
        ending.start()
        code, out, err = run("snapshot", "restore-tables", "nightly", "orders", "--wait", "--yes")
        ending.join()
        assert code == wanted
        assert "SUCCESS" in out if wanted == 0 else reason in err


def test_waiting_for_a_snapshot_tells_why_it_failed_and_what_helps(service: Service, run: Run) -> None:
    cluster = service.add_cluster()

    def end() -> None:
        until(service.list_snapshots, 30)
        (taken,) = service.list_snapshots()
        with service.control.database.transaction() as transaction:
            found = snapshots.read_snapshot(transaction, taken["id"])
            fail(service.control, transaction, found, Failure("node.unreachable", "dn1 is down", "start dn1"))

    ending = threading.Thread(target=end)
    ending.start()
    code, out, err = run("snapshot", "create", "nightly", "--cluster", cluster, "--wait")
    ending.join()
    assert (code, out) == (1, "")
    assert err.splitlines() == [
        "stillhouse: taking the snapshot: it ended as FAILED: dn1 is down",
        "hint: start dn1",
    ]
    code, out, _ = run("snapshot", "show", "nightly")
    fields = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert (fields["state"], fields["failure"]) == ("FAILED", "dn1 is down (start dn1)")
    code, out, _ = run("snapshot", "show", "nightly", "--json")
    assert json.loads(out)["snapshot"]["failure"]["hint"] == "start dn1"
    code, out, _ = run("cluster", "operations", cluster)
    assert "SNAPSHOTTING" in out and "dn1 is down (start dn1)" in out

    code, _, err = run("snapshot", "create", "nightly", "--cluster", cluster)
    assert code == 1 and "even if it failed: `stillhouse snapshot delete nightly`" in err
    code, out, _ = run("snapshot", "list", "--status", "FAILED")
    assert code == 0 and "nightly" in out
    code, _, err = run("snapshot", "undelete", "nightly")
    assert code == 1 and "no snapshot named nightly in the trash" in err and "snapshot trash" in err
    code, out, _ = run("snapshot", "delete", "nightly")
    assert code == 0 and "it had failed, and there is nothing to bring back" in out


def test_an_interrupted_wait_tells_that_the_work_goes_on(
    service: Service, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = service.add_cluster()

    def press(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", press)
    code, out, err = run("snapshot", "create", "nightly", "--cluster", cluster, "--wait")
    monkeypatch.undo()
    (taken,) = service.list_snapshots()
    assert (code, out, taken["status"]) == (130, "", "CREATING")
    assert "taking the snapshot goes on" in err
    assert f"snapshot show {taken['id']}" in err and f"snapshot cancel {taken['id']}" in err


def test_an_interrupted_command_ends_without_a_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def press(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(client.Client, "call", press)
    assert run("snapshot", "list") == (130, "", "stillhouse: interrupted\n")


def test_a_cluster_is_deleted_only_after_its_name_or_a_yes_and_manual_snapshots_stay(
    service: Service, run: Run, run_json: Callable[..., Any]
) -> None:
    cluster, _ = available(service, run_json)
    code, _, err = run("cluster", "delete", cluster)
    assert code == 1 and "nothing was done" in err and "--yes" in err
    assert service.list_clusters()[0]["status"] == "AVAILABLE"
    code, _, err = run("cluster", "delete", cluster, "--delete-snapshots", "--keep-snapshots", "1", "--yes")
    assert code == 1 and "contradict" in err
    code, _, err = run("cluster", "delete", cluster, "--yes")
    assert code == 0 and "1 of its 1 snapshots will stay" in err
    assert kept_by_deletion(service, cluster) > 1


def test_a_cluster_is_deleted_with_its_snapshots_only_if_that_is_said(
    service: Service, run: Run, run_json: Callable[..., Any]
) -> None:
    cluster, _ = available(service, run_json)
    code, _, err = run("cluster", "delete", cluster, "--delete-snapshots", "--yes")
    assert code == 0 and "0 of its 1 snapshots will stay" in err
    assert kept_by_deletion(service, cluster) == 0


def kept_by_deletion(service: Service, cluster: str) -> int:
    with service.control.database.reading() as reading:
        operation = operations.active(reading, cluster)
    assert operation is not None
    return int(operation.detail["keep_last_manual"])


def test_many_snapshots_are_deleted_and_brought_back_and_first_tried_dry(
    service: Service, run: Run, run_json: Callable[..., Any]
) -> None:
    cluster = service.add_cluster()
    made = {name: service.take_snapshot(cluster, name, 1) for name in ("first", "second", "third")}
    for snapshot in made.values():
        service.store_snapshot(snapshot, cluster)
    tried = run_json("snapshot", "delete", "first", "second", "--dry-run")
    assert tried["dry_run"] and [one["done"] for one in tried["snapshots"]] == [True, True]
    assert len(service.list_snapshots()) == 3
    code, _, err = run("snapshot", "delete", "first", "nameless")
    assert code == 1 and "nameless" in err and len(service.list_snapshots()) == 3
    tried = run_json("snapshot", "keep-last", "1", "--cluster", cluster, "--dry-run")
    assert [one["name"] for one in tried["snapshots"]] == ["second", "first"]
    code, _, err = run("snapshot", "keep-last", "1", "--cluster", cluster)
    assert code == 1 and "nobody is at the terminal" in err
    code, out, err = run("snapshot", "keep-last", "1", "--cluster", cluster, "--yes")
    assert code == 0 and "second" in out and "2 manual snapshots" in err
    assert [one["name"] for one in service.list_snapshots()] == ["third"]
    code, out, _ = run("snapshot", "trash")
    assert "stillhouse snapshot undelete first" in out
    tried = run_json("snapshot", "undelete", "first", "second", "--dry-run")
    assert len(tried["snapshots"]) == 2 and len(service.list_snapshots()) == 1
    run_json("snapshot", "undelete", "--cluster", cluster)
    assert len(service.list_snapshots()) == 3
    code, _, err = run("snapshot", "delete")
    assert code == 1 and "name the snapshots" in err
    code, _, _ = run("snapshot", "delete", "--cluster", cluster, "--yes")
    assert code == 0 and service.list_snapshots() == []


def test_sizes_and_fates_are_told_in_lists_and_details(
    service: Service, run: Run, run_json: Callable[..., Any]
) -> None:
    cluster, snapshot = available(service, run_json)
    with service.control.database.transaction() as transaction:
        snapshot_sizes.save(transaction, cluster, {snapshot: (3 * 2**20, 2**20)})
    code, out, _ = run("snapshot", "list")
    head, line = out.splitlines()
    assert code == 0 and head.split()[5:9] == ["own", "expires", "live", "stored"]
    assert "1.0 MiB  no date  5.0 MiB  3.0 MiB" in line
    code, out, _ = run("snapshot", "show", "nightly")
    fields = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert (fields["own"], fields["expires"]) == ("1.0 MiB", "no date")
    assert fields["because"] == "it is a manual one and stays until it is deleted"
    service.store_snapshot(snapshot, cluster)
    run_json("snapshot", "delete", "nightly")
    code, out, _ = run("snapshot", "show", "nightly")
    assert "until" in out and "stillhouse snapshot undelete nightly" in out


def test_a_preview_tells_the_next_runs_and_which_snapshots_go(service: Service, run: Run) -> None:
    cluster = service.add_cluster()
    automated = service.take_automated(cluster)
    code, out, _ = run("policy", "preview", "--cluster", cluster, "--runs", "3")
    assert code == 0
    head, *lines = out.splitlines()
    assert head.split() == ["due", "policy_name", "backup_type", "begins", "expires", "reason"]
    assert sum("nightly" in line for line in lines) == 3
    (known,) = service.list_snapshots()
    (fate,) = (line for line in lines if known["name"] in line)
    assert known["id"] == automated and "stays until there is a newer one and its 7 days are over" in fate
    fields = dict(line.split(maxsplit=1) for line in run("snapshot", "show", automated)[1].splitlines())
    assert fields["expires"] == "no date" and fate.endswith(fields["because"])


def test_one_that_is_refused_does_not_keep_the_others_back(service: Service, run: Run) -> None:
    cluster = service.add_cluster()
    service.take_snapshot(cluster, "good", 1)
    automated = service.take_automated(cluster)
    code, out, err = run("snapshot", "delete", automated, "good")
    assert code == 1 and "1 of 2 snapshots stay as they are" in err
    assert [one["id"] for one in service.list_snapshots()] == [automated]
    assert "automated one" in out


def test_a_node_that_is_down_shows_in_the_list_and_the_details(service: Service, run: Run) -> None:
    cluster = service.add_cluster()  # without a server
    code, out, _ = run("cluster", "list")
    assert code == 0 and out.splitlines()[1].split()[2] == "DOWN"
    code, out, _ = run("cluster", "show", cluster)
    fields = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert fields["state"] == "DOWN" and fields["nodes"].startswith("cn-1 DOWN: ")


def test_a_check_tells_what_is_missing_and_begins_nothing(
    service: Service, run: Run, run_json: Callable[..., Any]
) -> None:
    cluster, snapshot = available(service, run_json)
    service.store_snapshot(
        snapshot, cluster, {"t": "witness", "databases": ["gaussdb"], "why": "", "partitioned": True}
    )
    words = ("snapshot", "restore-tables", "nightly", "orders", "--database", "sales", "--check")
    code, out, err = run(*words)
    assert code == 1 and out.split() == ["missing", "database", "sales"] and "cannot be restored" in err
    code, out, _ = run(*words, "--json")
    assert (code, json.loads(out)["check_table_name_result"]["database"]) == (1, "sales")
    assert service.task_of(cluster) == ""


def test_the_trash_is_listed_and_given_back(service: Service, run_json: Callable[..., Any]) -> None:
    cluster, snapshot = available(service, run_json)
    service.store_snapshot(snapshot, cluster)
    run_json("snapshot", "delete", "nightly")
    assert [one["id"] for one in run_json("snapshot", "trash")["snapshots"]] == [snapshot]
    run_json("snapshot", "undelete", "nightly")
    assert run_json("snapshot", "list")["count"] == 1


def test_a_refusal_is_told_with_its_code_and_what_to_do(service: Service, run: Run) -> None:
    service.add_cluster()
    code, out, err = run("snapshot", "show", new_uuid())
    assert (code, out) == (1, "")
    assert err.startswith("stillhouse: DWS.5149: The snapshot ID is invalid. [request ")
    code, _, err = run("snapshot", "show", "nameless")
    assert code == 1 and "there is no snapshot named nameless" in err
    code, _, err = run("snapshot", "list", "--project", "f" * 32)
    assert code == 1 and "DWS.0015" in err and "hint: an access key is good for one project" in err
    code, _, err = run("snapshot", "list", "--endpoint", "http://127.0.0.1:9")
    assert code == 1 and "hint: start it with" in err
    code, _, err = run("snapshot", "list", "--endpoint", "nowhere")
    assert code == 1 and "is no address" in err


def test_a_wrong_secret_is_refused_and_not_shown(
    service: Service, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUD_SDK_SK", "not-the-secret")
    code, out, err = run("snapshot", "list")
    assert code == 1 and "APIGW.0301" in err and "hint: check the access key" in err
    assert "not-the-secret" not in out + err
    monkeypatch.delenv("CLOUD_SDK_SK")
    code, _, err = run("snapshot", "list")
    assert code == 1 and "no access key to sign with" in err


def test_a_key_file_is_enough_unless_others_may_read_it(
    service: Service, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("STILLHOUSE_PROJECT", "CLOUD_SDK_SK"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("CLOUD_SDK_AK", "of another service")
    key = service.client
    file = tmp_path / "key.json"
    file.write_text(
        json.dumps({"access_key": key.access_key, "secret_key": key.secret_key, "project_id": PROJECT})
    )
    file.chmod(0o600)
    assert run("cluster", "list", "--key-file", str(file))[0] == 0
    file.chmod(0o640)
    code, _, err = run("cluster", "list", "--key-file", str(file))
    assert code == 1 and "others than its owner may read" in err
    file.chmod(0o600)
    file.write_text("[]")
    assert "is no key file" in run("cluster", "list", "--key-file", str(file))[2]


def test_no_command_takes_a_secret_as_an_argument(run: Run) -> None:
    for group in ("snapshot", "cluster", "policy"):
        for name in [each for each in app[group] if not each.startswith("-")]:
            _, out, _ = run(group, name, "--help")
            assert "secret" not in out.replace("its secret comes from CLOUD_SDK_SK", "").replace(
                "its secret", ""
            )
            assert "--user-pwd" not in out
            assert "--password" not in out.replace("--password-file", "")


def test_queries_and_odd_paths_are_signed_as_the_service_reads_them(service: Service) -> None:
    key = Key(PROJECT, service.client.access_key, service.client.secret_key)
    cluster = service.add_cluster()
    with closing(Connection(service.endpoint, None, 60)) as connection:
        asking = client.Client(connection, key)
        answer = asking.call(
            "GET", f"/v1.0/{{p}}/clusters/{cluster}/snapshots?sort_key=name&limit=5&offset=0"
        )
        assert answer["count"] == 0


def test_a_policys_life(service: Service, run: Run, run_json: Callable[..., Any]) -> None:
    cluster = service.add_cluster()
    named = ("--cluster", name_of(service, cluster))
    made = run_json("policy", "set", "nightly", *named, "--schedule", "0 0 2 ? * *", "--type", "increment")
    assert [one["policy_name"] for one in made["backup_strategies"]] == ["nightly"]
    changed = run_json("policy", "set", "NIGHTLY", *named, "--schedule", "0 0 3 ? * *", "--keep-days", "9")
    (one,) = changed["backup_strategies"]
    assert (one["backup_strategy"], one["backup_type"], changed["keep_day"]) == (
        "0 0 3 ? * *",
        "increment",
        9,
    )
    assert one["policy_id"] == made["backup_strategies"][0]["policy_id"]
    assert run_json("policy", "list", *named) == changed
    code, out, _ = run("policy", "list", *named)
    assert code == 0 and out.splitlines()[1].split()[1] == "nightly" and " 03:00:00 +00:00" in out
    assert run_json("policy", "set", *named, "--no-enabled")["auto_backup"] is False
    assert run_json("policy", "delete", "nightly", *named) == {}
    assert run_json("policy", "list", *named)["backup_strategies"] == []


def test_what_a_policy_lacks_is_told(service: Service, run: Run) -> None:
    cluster = service.add_cluster()
    code, _, err = run("policy", "delete", "nightly", "--cluster", cluster)
    assert code == 1 and "no policy named nightly" in err
    code, _, err = run("policy", "set", "nightly", "--cluster", cluster, "--schedule", "0 0 2 ? * *")
    assert code == 1 and "DWS.0001" in err
    code, _, err = run("policy", "set", "--cluster", cluster, "--type", "full")
    assert code == 1 and "hint: name it" in err


def test_the_pace_is_said_as_far_as_it_is_known() -> None:
    shown = {"phase": "copying", "bytes_done": 1288490189, "bytes_total": 3 * 2**30}
    known = shown | {"bytes_per_second": 210 * 2**20, "seconds_left": 9, "expected_pause_seconds": None}
    assert said_pace(known) == "copying, 1.2 GiB of 3.0 GiB, 210.0 MiB/s, 0:00:09 left"
    nothing = {
        "bytes_done": 0,
        "bytes_total": 0,
        "bytes_per_second": 0,
        "seconds_left": None,
        "expected_pause_seconds": None,
    }
    assert said_pace({"phase": "waiting", **nothing}) == "waiting"
    told = {"phase": "cutting", **nothing, "expected_pause_seconds": 0.04}
    assert said_pace(told) == "cutting, writes will pause for about 0.04 s"


def test_a_long_list_asks_for_its_own_snapshots_in_batches(
    service: Service, run_json: Callable[..., Any]
) -> None:
    many_snapshots(service.data / "catalog.sqlite", PROJECT, 501)

    def asked() -> dict[str, float]:
        return {
            one.labels["operation"]: one.value
            for family in metrics.collect()
            for one in family.samples
            if one.name == "stillhouse_http_requests_total" and one.labels["status"] == "200"
        }

    before = asked()
    listed = run_json("snapshot", "list")["snapshots"]
    after = asked()
    assert len(listed) == 501 and {one["state"] for one in listed} == {"AVAILABLE"}
    assert after["ListSnapshotStates"] - before.get("ListSnapshotStates", 0) == 2
    assert after.get("ListDamage", 0) == before.get("ListDamage", 0), "no snapshot of them has lost anything"
