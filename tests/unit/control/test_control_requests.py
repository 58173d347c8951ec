"""Requests: accepted whole with their flow, or refused leaving nothing but the audit's record."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from stillhouse.catalog import clusters, operations, snapshots
from stillhouse.catalog.access import access_keys as secrets
from stillhouse.catalog.access import audit_log
from stillhouse.catalog.schema import access_tables, tables
from stillhouse.control.access import access_keys, callers
from stillhouse.control.catalog_context import Caller
from stillhouse.control.clusters.requests import (
    ClusterRequest,
    RestoreRequest,
    check_cluster,
    delete_cluster,
    get_cluster,
    list_clusters,
    request_cluster,
    request_restore,
    restart_cluster,
    user_pwd_key,
)
from stillhouse.control.context import Control
from stillhouse.control.snapshots.requests import (
    delete_snapshot,
    get_snapshot,
    list_cluster_snapshots,
    list_snapshots,
    request_cancel,
    request_snapshot,
)
from stillhouse.domain.cluster import ClusterStatus, Engine, Task
from stillhouse.domain.ids import new_uuid
from stillhouse.domain.reports.failure import Failure
from stillhouse.domain.snapshot import SnapshotStatus, SnapshotType
from stillhouse.errors import (
    CatalogUnavailable,
    ClusterBusy,
    ClusterUnknown,
    InvalidInput,
    NameTaken,
    NotFound,
    ShuttingDown,
    SnapshotUnknown,
    StateForbids,
    StillhouseError,
    WrongKind,
)
from support.control.requests_bed import (
    OTHER_PROJECT,
    PASSWORD,
    PROJECT,
    available_cluster,
    end_operation,
    enqueued,
    finish_snapshot,
    requests_bed,
)

REQUEST = ClusterRequest(name="sales-dw", number_of_node=3, user_pwd=PASSWORD)
Act = Callable[[], object]


@pytest.fixture(params=["sqlite", "postgresql"])
def control(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Control]:
    with requests_bed(request.param, tmp_path) as bed:
        yield bed


def _taken(control: Control, cluster_id: str, name: str = "nightly", plain_bytes: int = 1000) -> str:
    snapshot_id = request_snapshot(control, PROJECT, name=name, cluster_id=cluster_id)
    finish_snapshot(control, snapshot_id, plain_bytes)
    return snapshot_id


def _rows(control: Control) -> dict[str, list[object]]:
    """Everything a request may change; not the audit."""
    with control.database.reading() as reading:
        rows: dict[str, list[object]] = {
            table.name: [tuple(row) for row in reading.execute(table.select())]
            for table in tables.metadata.sorted_tables
            if table is not access_tables.audit
        }
    return {**rows, "flows": list(enqueued(control))}


def _refused(control: Control, error: type[StillhouseError], act: Act) -> StillhouseError:
    """The request fails as expected, changes nothing, and is in the audit under its error's code."""
    before = _rows(control)
    with pytest.raises(error) as refusal:
        act()
    assert type(refusal.value) is error
    assert _rows(control) == before
    with control.database.reading() as reading:
        record = audit_log.list_records(reading, PROJECT, limit=1)[0]
    assert (record.outcome, record.request_id) == (error.code, control.caller.request_id)
    return refusal.value


# --- clusters ---------------------------------------------------------------------------------------


def test_a_requested_cluster_is_creating_and_its_flow_and_password_wait(control: Control) -> None:
    cluster_id = request_cluster(control, PROJECT, replace(REQUEST, facts={"vpc_id": "v"}))
    cluster = get_cluster(control, PROJECT, cluster_id)
    assert (cluster.status, cluster.task, cluster.engine) == (
        ClusterStatus.CREATING,
        Task.CREATING,
        Engine.FDW,
    )
    assert (cluster.port, cluster.user_name, cluster.facts) == (8000, "dbadmin", {"vpc_id": "v"})
    assert enqueued(control) == [("provision_cluster", cluster_id)]
    with control.database.reading() as reading:
        key = user_pwd_key(cluster_id)
        assert secrets.read_secret(reading, control.sealer, key) == PASSWORD
    assert list_clusters(control, PROJECT) == [cluster]


def test_a_cluster_of_one_node_is_a_single_server(control: Control) -> None:
    cluster_id = request_cluster(control, PROJECT, replace(REQUEST, number_of_node=1))
    assert get_cluster(control, PROJECT, cluster_id).engine is Engine.SINGLE


def test_the_password_is_stored_nowhere_in_the_clear(control: Control) -> None:
    cluster_id = request_cluster(control, PROJECT, REQUEST)
    assert PASSWORD not in repr(_rows(control))
    assert PASSWORD not in repr(REQUEST)
    with control.database.reading() as reading:
        assert PASSWORD not in repr(audit_log.list_records(reading, PROJECT))
    assert cluster_id


@pytest.mark.parametrize(
    "request_",
    [
        replace(REQUEST, name="abc"),
        replace(REQUEST, number_of_node=0),
        replace(REQUEST, number_of_node=257),
        replace(REQUEST, port=7999),
        replace(REQUEST, user_name="select"),
        replace(REQUEST, user_pwd="weak"),
    ],
)
def test_a_cluster_request_past_a_limit_is_refused(control: Control, request_: ClusterRequest) -> None:
    _refused(control, InvalidInput, lambda: request_cluster(control, PROJECT, request_))


def test_a_second_project_is_refused_where_all_clusters_share_an_account(control: Control) -> None:
    """`_refused` also checks that the audit log has the refusal; a restore and a dry run are refused alike."""
    shared = replace(
        control, settings=control.settings.model_copy(update={"os_uids": "", "shared_account": ""})
    )
    request_cluster(shared, OTHER_PROJECT, REQUEST)
    refusal = _refused(shared, StateForbids, lambda: request_cluster(shared, PROJECT, REQUEST))
    assert refusal.hint is not None and "STILLHOUSE_SHARED_ACCOUNT=accepted" in refusal.hint
    with pytest.raises(StateForbids):
        check_cluster(shared, PROJECT, REQUEST, None)
    request_cluster(shared, OTHER_PROJECT, replace(REQUEST, name="second"))
    request_cluster(control, PROJECT, REQUEST)


def test_cluster_names_are_unique_per_project_whatever_their_case(control: Control) -> None:
    cluster_id = request_cluster(control, PROJECT, REQUEST)
    shouted = replace(REQUEST, name=REQUEST.name.upper())
    _refused(control, NameTaken, lambda: request_cluster(control, PROJECT, shouted))
    request_cluster(control, OTHER_PROJECT, REQUEST)

    end_operation(control, cluster_id, ClusterStatus.CREATE_FAILED, "no space")
    delete_cluster(control, PROJECT, cluster_id, keep_last_manual=0)
    _refused(control, NameTaken, lambda: request_cluster(control, PROJECT, shouted))
    end_operation(control, cluster_id, ClusterStatus.DELETED)
    request_cluster(control, PROJECT, shouted)


def test_a_cluster_id_is_case_insensitive_and_must_be_a_uuid(control: Control) -> None:
    cluster_id = available_cluster(control)
    assert get_cluster(control, PROJECT, cluster_id.upper()).id == cluster_id
    for wrong in ("", "x", cluster_id + "0", "a\0b", "\ud800", "1" * 100_000):
        with pytest.raises(InvalidInput):
            get_cluster(control, PROJECT, wrong)
        _refused(control, InvalidInput, lambda wrong=wrong: restart_cluster(control, PROJECT, wrong))  # type: ignore[misc]


def test_a_restart_holds_the_cluster_until_its_flow_ends_it(control: Control) -> None:
    cluster_id = available_cluster(control)
    restart_cluster(control, PROJECT, cluster_id)
    assert ("restart_cluster", cluster_id) in enqueued(control)
    assert get_cluster(control, PROJECT, cluster_id).task is Task.REBOOTING
    _refused(control, ClusterBusy, lambda: restart_cluster(control, PROJECT, cluster_id))
    _refused(control, ClusterBusy, lambda: delete_cluster(control, PROJECT, cluster_id, 0))
    end_operation(control, cluster_id, ClusterStatus.AVAILABLE)
    restart_cluster(control, PROJECT, cluster_id)


@pytest.mark.parametrize(
    "status",
    [
        ClusterStatus.CREATING,
        ClusterStatus.CREATE_FAILED,
        ClusterStatus.FAILED,
        ClusterStatus.DELETING,
        ClusterStatus.DELETE_FAILED,
    ],
)
def test_a_cluster_that_does_not_work_is_neither_restarted_nor_captured(
    control: Control, status: ClusterStatus
) -> None:
    cluster_id = available_cluster(control)
    with control.database.transaction() as transaction:
        clusters.set_status(transaction, cluster_id, status, control.clock.now())
    _refused(control, StateForbids, lambda: restart_cluster(control, PROJECT, cluster_id))
    _refused(
        control,
        StateForbids,
        lambda: request_snapshot(control, PROJECT, name="nightly", cluster_id=cluster_id),
    )


def test_a_stopped_cluster_is_neither_restarted_nor_captured_but_may_be_deleted(control: Control) -> None:
    cluster_id = available_cluster(control)
    with control.database.transaction() as transaction:
        clusters.set_stopped(transaction, cluster_id, True, control.clock.now())
    _refused(control, StateForbids, lambda: restart_cluster(control, PROJECT, cluster_id))
    _refused(
        control,
        StateForbids,
        lambda: request_snapshot(control, PROJECT, name="nightly", cluster_id=cluster_id),
    )
    delete_cluster(control, PROJECT, cluster_id, keep_last_manual=0)


def test_a_deletion_shows_at_once_and_remembers_how_many_snapshots_to_keep(control: Control) -> None:
    cluster_id = available_cluster(control)
    _refused(control, InvalidInput, lambda: delete_cluster(control, PROJECT, cluster_id, -1))
    delete_cluster(control, PROJECT, cluster_id, keep_last_manual=2)
    cluster = get_cluster(control, PROJECT, cluster_id)
    assert (cluster.status, cluster.task) == (ClusterStatus.DELETING, Task.DELETING)
    with control.database.reading() as reading:
        operation = operations.active(reading, cluster_id)
    assert operation is not None
    assert operation.detail == {"keep_last_manual": 2}
    assert ("delete_cluster", cluster_id) in enqueued(control)
    _refused(control, StateForbids, lambda: delete_cluster(control, PROJECT, cluster_id, 2))

    end_operation(control, cluster_id, ClusterStatus.DELETED)
    _refused(control, ClusterUnknown, lambda: delete_cluster(control, PROJECT, cluster_id, 2))
    with pytest.raises(ClusterUnknown):
        get_cluster(control, PROJECT, cluster_id)


def test_a_cluster_being_created_cannot_be_deleted(control: Control) -> None:
    cluster_id = request_cluster(control, PROJECT, REQUEST)
    _refused(control, StateForbids, lambda: delete_cluster(control, PROJECT, cluster_id, 0))


def test_a_deletion_gives_up_all_but_the_newest_usable_manual_snapshots(control: Control) -> None:
    cluster_id = available_cluster(control)
    oldest, middle, newest = (_taken(control, cluster_id, f"manual-{n}") for n in range(3))
    automated = _taken(control, cluster_id, "automated")
    failed = request_snapshot(control, PROJECT, name="failed", cluster_id=cluster_id)
    with control.database.transaction() as transaction:
        snapshots.mark_unavailable(transaction, failed, control.clock.now(), Failure("", "disk full"))
        transaction.execute(text("UPDATE sh_snapshots SET type = 'AUTO' WHERE id = :id"), {"id": automated})
        given_up = snapshots.given_up_with_cluster(transaction, cluster_id, 2)
        all_of_them = snapshots.given_up_with_cluster(transaction, cluster_id, 0)
    assert {snapshot.id for snapshot in given_up} == {oldest, automated, failed}
    assert {snapshot.id for snapshot in all_of_them} == {oldest, middle, newest, automated, failed}


# --- snapshots --------------------------------------------------------------------------------------


def test_a_requested_snapshot_is_creating_and_holds_its_cluster(control: Control) -> None:
    cluster_id = available_cluster(control)
    snapshot_id = request_snapshot(
        control, PROJECT, name="before-upgrade", cluster_id=cluster_id.upper(), description="雪"
    )
    snapshot = get_snapshot(control, PROJECT, snapshot_id.upper())
    assert (snapshot.status, snapshot.type) == (SnapshotStatus.CREATING, SnapshotType.MANUAL)
    assert (snapshot.cluster_id, snapshot.cluster_name) == (cluster_id, "sales")
    assert (snapshot.description, snapshot.db_user, snapshot.finished) == ("雪", "dbadmin", None)
    assert snapshot.backup_key == snapshot.started.strftime("%Y%m%d_%H%M%S")
    assert get_cluster(control, PROJECT, cluster_id).task is Task.SNAPSHOTTING
    assert ("create_snapshot", snapshot_id) in enqueued(control)


@pytest.mark.parametrize(("name", "description"), [("abc", ""), ("nightly", "a<b"), ("nightly", "\0")])
def test_a_snapshot_request_past_a_limit_is_refused(control: Control, name: str, description: str) -> None:
    cluster_id = available_cluster(control)
    _refused(
        control,
        InvalidInput,
        lambda: request_snapshot(control, PROJECT, name=name, cluster_id=cluster_id, description=description),
    )


def _without_queue(control: Control) -> Control:
    return replace(control, settings=control.settings.model_copy(update={"snapshot_queue": 0}))


def test_without_a_queue_a_busy_cluster_takes_no_second_snapshot(control: Control) -> None:
    control = _without_queue(control)
    cluster_id = available_cluster(control)
    request_snapshot(control, PROJECT, name="first", cluster_id=cluster_id)
    refusal = _refused(
        control,
        ClusterBusy,
        lambda: request_snapshot(control, PROJECT, name="second", cluster_id=cluster_id),
    )
    assert "SNAPSHOTTING" in refusal.message


def test_without_a_queue_of_concurrent_snapshot_requests_exactly_one_is_accepted(control: Control) -> None:
    control = _without_queue(control)
    cluster_id = available_cluster(control)
    together = threading.Barrier(6)

    def ask(number: int) -> str:
        together.wait()
        try:
            return request_snapshot(control, PROJECT, name=f"nightly-{number}", cluster_id=cluster_id)
        except ClusterBusy:
            return "busy"

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(ask, range(6)))
    assert answers.count("busy") == 5
    (accepted,) = set(answers) - {"busy"}
    assert [snapshot.id for snapshot in list_snapshots(control, PROJECT)] == [accepted]
    assert [flow for flow in enqueued(control) if flow[0] == "create_snapshot"] == [
        ("create_snapshot", accepted)
    ]


def test_the_index_alone_refuses_a_second_operation_that_no_check_saw(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster_id = available_cluster(control)
    idle = get_cluster(control, PROJECT, cluster_id)
    request_snapshot(control, PROJECT, name="first", cluster_id=cluster_id)
    monkeypatch.setattr("stillhouse.control.snapshots.requests.working_cluster", lambda *_, **__: idle)
    _refused(
        control,
        ClusterBusy,
        lambda: request_snapshot(control, PROJECT, name="second", cluster_id=cluster_id),
    )


def test_snapshot_names_are_unique_per_project_until_deleted(control: Control) -> None:
    first, second = available_cluster(control), available_cluster(control, "other")
    taken = _taken(control, first, "Nightly")
    _refused(
        control,
        NameTaken,
        lambda: request_snapshot(control, PROJECT, name="nIGHTLY", cluster_id=second),
    )
    foreign = available_cluster(control, project=OTHER_PROJECT)
    request_snapshot(control, OTHER_PROJECT, name="nightly", cluster_id=foreign)
    delete_snapshot(control, PROJECT, taken)
    request_snapshot(control, PROJECT, name="nightly", cluster_id=second)


def test_another_projects_cluster_and_snapshot_are_as_unknown_as_none(control: Control) -> None:
    cluster_id = available_cluster(control, project=OTHER_PROJECT)
    snapshot_id = request_snapshot(control, OTHER_PROJECT, name="theirs", cluster_id=cluster_id)
    finish_snapshot(control, snapshot_id)
    restore = RestoreRequest(name="copy-of-theirs")

    def messages(cluster: str, snapshot: str) -> list[str]:
        refusals: list[tuple[type[StillhouseError], Act]] = [
            (ClusterUnknown, lambda: restart_cluster(control, PROJECT, cluster)),
            (ClusterUnknown, lambda: delete_cluster(control, PROJECT, cluster, 0)),
            (
                ClusterUnknown,
                lambda: request_snapshot(control, PROJECT, name="mine", cluster_id=cluster),
            ),
            (SnapshotUnknown, lambda: delete_snapshot(control, PROJECT, snapshot)),
            (SnapshotUnknown, lambda: request_cancel(control, PROJECT, snapshot)),
            (SnapshotUnknown, lambda: request_restore(control, PROJECT, snapshot, restore)),
        ]
        said = [str(_refused(control, error, act)) for error, act in refusals]
        for reading in (
            lambda: get_cluster(control, PROJECT, cluster),
            lambda: list_cluster_snapshots(control, PROJECT, cluster),
        ):
            with pytest.raises(ClusterUnknown) as refusal:
                reading()
            said.append(str(refusal.value))
        with pytest.raises(SnapshotUnknown) as unknown:
            get_snapshot(control, PROJECT, snapshot)
        said.append(str(unknown.value))
        return [message.replace(cluster, "C").replace(snapshot, "S") for message in said]

    assert messages(cluster_id, snapshot_id) == messages(new_uuid(), new_uuid())
    assert list_clusters(control, PROJECT) == []
    assert list_snapshots(control, PROJECT) == []


def test_a_snapshot_id_that_is_no_uuid_is_unknown(control: Control) -> None:
    for wrong in ("", "x", "a\0b", "\ud800", "1" * 100_000):
        with pytest.raises(SnapshotUnknown) as refusal:
            get_snapshot(control, PROJECT, wrong)
        assert len(str(refusal.value)) < 200
        _refused(control, SnapshotUnknown, lambda wrong=wrong: delete_snapshot(control, PROJECT, wrong))  # type: ignore[misc]


def test_deleting_moves_a_snapshot_to_the_trash(control: Control) -> None:
    snapshot_id = _taken(control, available_cluster(control))
    delete_snapshot(control, PROJECT, snapshot_id)
    assert ("delete_snapshot", snapshot_id) in enqueued(control)
    assert list_snapshots(control, PROJECT) == []
    _refused(control, SnapshotUnknown, lambda: delete_snapshot(control, PROJECT, snapshot_id))
    with control.database.reading() as reading:
        assert snapshots.read_snapshot(reading, snapshot_id).deleted is not None


def test_only_manual_snapshots_at_rest_may_be_deleted(control: Control) -> None:
    cluster_id = available_cluster(control)
    running = request_snapshot(control, PROJECT, name="running", cluster_id=cluster_id)
    _refused(control, StateForbids, lambda: delete_snapshot(control, PROJECT, running))
    finish_snapshot(control, running)
    request_restore(control, PROJECT, running, RestoreRequest(name="copy"))
    _refused(control, StateForbids, lambda: delete_snapshot(control, PROJECT, running))
    automated = _taken(control, cluster_id, "automated")
    with control.database.transaction() as transaction:
        transaction.execute(text("UPDATE sh_snapshots SET type = 'AUTO' WHERE id = :id"), {"id": automated})
    _refused(control, WrongKind, lambda: delete_snapshot(control, PROJECT, automated))


def test_a_cancel_is_left_for_the_flow_to_see_and_only_while_it_runs(control: Control) -> None:
    cluster_id = available_cluster(control)
    snapshot_id = request_snapshot(control, PROJECT, name="nightly", cluster_id=cluster_id)
    request_cancel(control, PROJECT, snapshot_id)
    request_cancel(control, PROJECT, snapshot_id)
    assert get_snapshot(control, PROJECT, snapshot_id).cancel_requested
    finish_snapshot(control, snapshot_id)
    _refused(control, StateForbids, lambda: request_cancel(control, PROJECT, snapshot_id))


def test_a_clusters_snapshots_come_in_pages_and_any_order(control: Control) -> None:
    cluster_id = available_cluster(control)
    first = _taken(control, cluster_id, "bbbb", plain_bytes=30)
    second = _taken(control, cluster_id, "AAAA", plain_bytes=20)
    third = request_snapshot(control, PROJECT, name="cccc", cluster_id=cluster_id)
    _taken(control, available_cluster(control, "other"), "elsewhere")

    def ids(**options: object) -> list[str]:
        found, total = list_cluster_snapshots(control, PROJECT, cluster_id, **options)  # type: ignore[arg-type]
        assert total == 3
        return [snapshot.id for snapshot in found]

    assert ids() == [third, second, first]
    assert ids(limit=2) == [third, second]
    assert ids(limit=2, offset=1) == [first]
    assert ids(limit=2, offset=2) == []
    assert ids(offset=1) == []
    assert ids(limit=2**31 - 1, offset=2**31 - 1) == []
    assert ids(sort_key="name", descending=False) == [second, first, third]
    assert ids(sort_key="size") == [first, second, third]
    assert ids(sort_key="finished", descending=False) == [first, second, third], "unfinished ones last"
    assert ids(sort_key="finished") == [second, first, third], "unfinished ones last"
    assert ids(sort_key="status", descending=False)[2] == third
    assert sorted(ids(sort_key="type")) == sorted([first, second, third])


@pytest.mark.parametrize(
    "options",
    [
        {"limit": 0},
        {"limit": -1},
        {"limit": 2**31},
        {"offset": -1},
        {"offset": 2**63},
        {"sort_key": "id"},
        {"sort_key": "name; DROP TABLE"},
    ],
)
def test_a_page_outside_the_rules_is_refused(control: Control, options: dict[str, object]) -> None:
    cluster_id = available_cluster(control)
    with pytest.raises(InvalidInput):
        list_cluster_snapshots(control, PROJECT, cluster_id, **options)  # type: ignore[arg-type]


# --- restoring --------------------------------------------------------------------------------------


def test_a_restore_makes_a_new_cluster_and_shows_on_the_snapshot(control: Control) -> None:
    source = available_cluster(control, vpc_id="v1", subnet_id="s1", tags=["t"], node_type="n1")
    snapshot_id = _taken(control, source)
    request = RestoreRequest(name="sales-copy", port=9000, facts={"vpc_id": "v2"})
    restored = request_restore(control, PROJECT, snapshot_id.upper(), request)

    cluster = get_cluster(control, PROJECT, restored)
    assert (cluster.status, cluster.task) == (ClusterStatus.CREATING, Task.RESTORING)
    assert (cluster.engine, cluster.number_of_node, cluster.port) == (Engine.FDW, 2, 9000)
    assert cluster.facts == {"vpc_id": "v2", "subnet_id": "s1", "node_type": "n1"}
    with control.database.reading() as reading:
        operation = operations.active(reading, restored)
    assert operation is not None
    assert operation.subject_id == snapshot_id
    assert ("restore_cluster", restored) in enqueued(control)

    assert get_snapshot(control, PROJECT, snapshot_id).restoring
    assert list_snapshots(control, PROJECT)[0].restoring
    assert get_cluster(control, PROJECT, source).task is None, "the source goes on"
    end_operation(control, restored, ClusterStatus.AVAILABLE)
    assert not get_snapshot(control, PROJECT, snapshot_id).restoring


def test_only_an_available_snapshot_is_restored(control: Control) -> None:
    snapshot_id = request_snapshot(control, PROJECT, name="nightly", cluster_id=available_cluster(control))
    request = RestoreRequest(name="copy")
    _refused(control, StateForbids, lambda: request_restore(control, PROJECT, snapshot_id, request))
    with control.database.transaction() as transaction:
        snapshots.mark_unavailable(transaction, snapshot_id, control.clock.now(), Failure("", "disk full"))
    _refused(control, StateForbids, lambda: request_restore(control, PROJECT, snapshot_id, request))


def test_a_restore_needs_a_free_name_and_a_port_within_the_limits(control: Control) -> None:
    snapshot_id = _taken(control, available_cluster(control, "sales"))
    for error, request in (
        (NameTaken, RestoreRequest(name="SALES")),
        (InvalidInput, RestoreRequest(name="1copy")),
        (InvalidInput, RestoreRequest(name="copy", port=30001)),
    ):
        _refused(
            control,
            error,
            lambda request=request: request_restore(control, PROJECT, snapshot_id, request),  # type: ignore[misc]
        )


def test_deletion_and_restoring_of_one_clusters_snapshots_exclude_each_other(control: Control) -> None:
    source = available_cluster(control)
    snapshot_id = _taken(control, source)
    restored = request_restore(control, PROJECT, snapshot_id, RestoreRequest(name="copy"))
    _refused(control, ClusterBusy, lambda: delete_cluster(control, PROJECT, source, 0))
    end_operation(control, restored, ClusterStatus.AVAILABLE)
    delete_cluster(control, PROJECT, source, keep_last_manual=1)
    again = RestoreRequest(name="again")
    _refused(control, StateForbids, lambda: request_restore(control, PROJECT, snapshot_id, again))
    end_operation(control, source, ClusterStatus.DELETED)
    assert request_restore(control, PROJECT, snapshot_id, again), "a kept snapshot outlives its cluster"


# --- access keys, audit, failures -------------------------------------------------------------------


def test_an_access_key_has_its_form_and_is_found_until_disabled(control: Control) -> None:
    key = access_keys.create_access_key(control, PROJECT)
    assert len(key.access_key) == 20
    assert key.access_key.isalnum() and key.access_key == key.access_key.upper()
    assert len(key.secret_key) == 40
    signer = callers.find_signer(control, key.access_key)
    assert signer is not None and signer.secret_key == key.secret_key
    for unknown in ("", "A" * 20, key.access_key.lower(), "a\0b", "\ud800", "A" * 100_000):
        assert callers.find_signer(control, unknown) is None
    _refused(control, NotFound, lambda: access_keys.disable_access_key(control, PROJECT, "B" * 20))
    access_keys.disable_access_key(control, PROJECT, key.access_key)
    assert callers.find_signer(control, key.access_key) is None
    assert access_keys.create_access_key(control, PROJECT).secret_key != key.secret_key


def test_an_access_key_needs_a_project_of_the_right_form(control: Control) -> None:
    with pytest.raises(InvalidInput):
        access_keys.create_access_key(control, "my-project")


def test_the_audit_says_who_did_what_and_what_came_of_it(control: Control) -> None:
    acting = control.acting_for(Caller("B" * 20, "request-7"))
    cluster_id = request_cluster(acting, PROJECT, REQUEST)
    with pytest.raises(StateForbids):
        restart_cluster(acting, PROJECT, cluster_id)
    with control.database.reading() as reading:
        refused, accepted = audit_log.list_records(reading, PROJECT)
    resource = f"cluster/{cluster_id}"
    assert (accepted.action, accepted.outcome, accepted.resource) == ("CreateCluster", "accepted", resource)
    assert (refused.action, refused.outcome, refused.resource) == (
        "RestartCluster",
        "state.forbids",
        resource,
    )
    assert {(record.access_key, record.request_id) for record in (refused, accepted)} == {
        ("B" * 20, "request-7")
    }
    assert "CREATING" in refused.detail


def test_while_shutting_down_nothing_more_is_accepted(control: Control) -> None:
    cluster_id = available_cluster(control)
    control.flows.shutdown(within_seconds=0)
    _refused(control, ShuttingDown, lambda: restart_cluster(control, PROJECT, cluster_id))


def test_a_catalog_that_fails_midway_is_unavailable_and_keeps_nothing(tmp_path: Path) -> None:
    with requests_bed("sqlite", tmp_path) as control:
        cluster_id = available_cluster(control)
        before = _rows(control)
        with control.database.transaction() as transaction:
            transaction.execute(text("ALTER TABLE workflow_status RENAME TO gone"))
        with pytest.raises(CatalogUnavailable):
            restart_cluster(control, PROJECT, cluster_id)
        with control.database.transaction() as transaction:
            transaction.execute(text("ALTER TABLE gone RENAME TO workflow_status"))
        assert _rows(control) == before
