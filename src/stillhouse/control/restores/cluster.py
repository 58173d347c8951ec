"""The flow that restores a snapshot into a new cluster.

plan             the snapshot's root; the new nodes, their places and addresses
restore_node     one child per node, in a process of its own
recover          quarantine: replay to the cut, rewire, release
finish           write the notes for a person, then the row
fail             remove everything of the new cluster; write the row, with the reason
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from stillhouse import log
from stillhouse.catalog import clusters, operations, restores
from stillhouse.catalog.restores import COPYING, REPLAYING
from stillhouse.control.audit import record
from stillhouse.control.clusters.flows import active_operation, finish_operation, open_cluster
from stillhouse.control.flow_context import FlowContext, read_root
from stillhouse.control.restores.recovery import bytes_of, check_programs, is_rebuilt, rebuild_node, recover
from stillhouse.control.restores.report import Report, within
from stillhouse.domain.cluster import ClusterStatus
from stillhouse.domain.progress import Progress, together
from stillhouse.domain.reports.failure import Failure
from stillhouse.durable.flows import StepRunner
from stillhouse.errors import RestoreFailed, StillhouseError
from stillhouse.warehouse.cluster import embedded

_SHARE_OF_COPY, _SHARE_OF_REPLAY = 85, 95

Plan = dict[str, Any]


def restore_cluster(place: FlowContext, run: StepRunner, cluster_id: str) -> None:
    operation = run.surely("operation", active_operation, place, cluster_id)
    try:
        plan = run.step("plan", _plan, place, cluster_id)
        children = [run.start_child("restore_node", f"{cluster_id}/{node}") for node in plan["nodes"]]
        failures = [failure for child in children if (failure := _failure(run, child)) is not None]
        if failures:
            raise failures[0]
        notes = run.step("recover", _recover, place, cluster_id, plan)
        # An earlier version's step returned `None` in place of notes.
        run.surely("finish", _finish, place, cluster_id, operation, notes or [])
    except StillhouseError as error:
        run.surely("fail", _fail, place, cluster_id, operation, Failure.of(error))


def restore_node(place: FlowContext, run: StepRunner, subject: str) -> None:
    cluster_id, node_name = subject.split("/")
    run.step("restore", _restore_node, place, cluster_id, node_name)


def _failure(run: StepRunner, child: str) -> StillhouseError | None:
    try:
        run.wait(child)
    except StillhouseError as error:
        return error
    return None


def _plan(place: FlowContext, cluster_id: str) -> Plan:
    with place.control.database.reading() as reading:
        operation = operations.active(reading, cluster_id)
        cluster = clusters.read_cluster(reading, cluster_id)
    assert operation is not None, "a cluster being restored is held by its operation"
    root = read_root(place, operation.subject_id)
    keys, chosen = place.vault.keys(root.cluster.id), operation.detail.get("server_settings", {})
    check_programs(place.site.binaries, place.vault.store, keys, root, chosen)
    nodes = embedded.plan_nodes(place.site, cluster_id, cluster.number_of_node, cluster.port)
    with place.control.database.transaction() as transaction:
        clusters.save_nodes(transaction, cluster_id, nodes)
        for node in nodes:  # so that the whole is known from the first byte on
            begun = Progress(COPYING, 0, bytes_of(root, node))
            restores.put(transaction, operation.id, node.name, begun)
    return {
        "operation": operation.id,
        "snapshot": operation.subject_id,
        "nodes": [node.name for node in nodes],
    }


def _restore_node(place: FlowContext, cluster_id: str, node_name: str) -> None:
    with place.control.database.reading() as reading:
        cluster = clusters.read_cluster(reading, cluster_id)
        operation = operations.active(reading, cluster_id)
    assert operation is not None
    node = next(node for node in cluster.nodes if node.name == node_name)
    if is_rebuilt(node):
        return  # a step that runs again
    root = read_root(place, operation.subject_id)
    report = Report(place, operation.id, node.name, COPYING, _percent)
    with place.copy_turns.turn(cluster_id, report.wait):
        rebuild_node(
            place.site,
            place.vault.repository,
            root,
            node,
            place.control.settings.capture_workers,
            check=place.control.flows.check_running,
            show=partial(report.show, total=bytes_of(root, node)),
        )


def _percent(nodes: Sequence[Progress]) -> int:
    """Return the progress of the whole restore: all nodes are copied before any of them replays."""
    phase = restores.phase_of(nodes)
    whole = together(phase, [node for node in nodes if node.phase == phase])
    from_, to = (0, _SHARE_OF_COPY) if phase == COPYING else (_SHARE_OF_COPY, _SHARE_OF_REPLAY)
    return within(from_, to, whole)


def _recover(place: FlowContext, cluster_id: str, plan: Plan) -> list[str]:
    root = read_root(place, plan["snapshot"])
    with place.control.database.reading() as reading:
        cluster = clusters.read_cluster(reading, cluster_id)
        # An earlier version did not write these settings.
        chosen = operations.read(reading, plan["operation"]).detail.get("server_settings", {})
    reports = {
        node.name: Report(place, plan["operation"], node.name, REPLAYING, _percent) for node in cluster.nodes
    }
    shows = {name: report.show for name, report in reports.items()}
    return recover(place.site, root, cluster.nodes, shows, chosen)


def _finish(place: FlowContext, cluster_id: str, operation_id: str, notes: list[str]) -> None:
    """End the operation. The notes go to the operation, the audit log and the service's own log."""
    with place.control.database.transaction() as transaction:
        if operations.is_active(transaction, operation_id):
            cluster = clusters.read_cluster(transaction, cluster_id)
            operations.add_detail(transaction, operation_id, {"notes": notes})
            for note in notes or [""]:
                resource = f"cluster/{cluster_id}"
                record(
                    place.control, transaction, cluster.project, "RestoreCluster", resource, "restored", note
                )
    for note in notes:
        log.get("restore").warning("to be looked at in the clone", cluster=cluster_id, finding=note)
    open_cluster(place, cluster_id, operation_id)


def _fail(place: FlowContext, cluster_id: str, operation_id: str, failure: Failure) -> None:
    log.get("restore").error("restore failed", cluster=cluster_id, reason=failure.line)
    embedded.destroy(place.site, cluster_id)
    finish_operation(place, operation_id, ClusterStatus.CREATE_FAILED, RestoreFailed.code, failure)
