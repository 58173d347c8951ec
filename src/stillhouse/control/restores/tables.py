"""The flow that puts tables of a snapshot into the cluster it was taken of.

copy      one step: make a clone in scratch space, gather the tables there, and copy them into hidden schemas of the
          cluster; a service that dies in it begins again
swap      put the copied tables in the place of the old ones, in one moment
finish    remove everything but the tables from the nodes; end the operation
fail      remove the tables too, and record the reason; but a swap that turns out to have happened is finished

Users see no change before the swap. Until then the cluster is as it was; after it all tables are there.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any, TypeVar

from stillhouse import log
from stillhouse.catalog import clusters, operations, restores
from stillhouse.control.audit import record
from stillhouse.control.flow_context import FlowContext, read_root
from stillhouse.control.reports.operations import count_operation
from stillhouse.control.restores.recovery import NODES_AT_ONCE
from stillhouse.control.restores.report import Report, within
from stillhouse.control.restores.scratch_clone import check_scratch, scratch_clone
from stillhouse.domain.cluster import Cluster, Node
from stillhouse.domain.reports.failure import Failure
from stillhouse.domain.reports.operations import Operation
from stillhouse.domain.table_restore import TableRestore
from stillhouse.durable.flows import StepRunner
from stillhouse.errors import NodeUnreachable, RestoreFailed, StillhouseError, TablesHeld
from stillhouse.parallel import at_once
from stillhouse.warehouse.cluster.provider import servers_of
from stillhouse.warehouse.tables.exchange import Share, exchange, is_waiting, settle
from stillhouse.warehouse.tables.gather import Gathered
from stillhouse.warehouse.tables.load import adopt, clear, load, unmarked_things
from stillhouse.warehouse.tables.marks import operation_prefix
from stillhouse.warehouse.tables.sources import gather_cluster

_SHARE_OF_CLONE, _SHARE_OF_COPY = 50, 95
# The rows, their indexes, and the WAL of both.
_ROOM_PER_BYTE = 2
_ALL_NODES = "all"
_SWAP_TRIES = 40
_NODE_TRIES = 5
_PAUSE_SECONDS = 1.0

Plan = dict[str, Any]
T = TypeVar("T")


def restore_tables(place: FlowContext, run: StepRunner, operation_id: str) -> None:
    is_copied = False
    try:
        plan = run.step("copy", _copy, place, operation_id)
        is_copied = True
        notes = run.step("swap", _swap, place, operation_id, plan)
        run.surely("finish", _finish, place, operation_id, [*plan["notes"], *notes])
    except StillhouseError as error:
        run.surely("fail", _fail, place, operation_id, is_copied, Failure.of(error))


def _copy(place: FlowContext, operation_id: str) -> Plan:
    operation, cluster, wanted = _read(place, operation_id)
    prefix = operation_prefix(operation_id)
    _take_over(place, operation, cluster, wanted)
    _clean(place, cluster)
    strangers = _patiently(place, cluster, partial(_strangers, cluster))
    root = read_root(place, operation.subject_id)
    cloning = _report(place, operation_id, 0, _SHARE_OF_CLONE)
    with scratch_clone(place, root, operation_id, cloning.show) as clones:
        gathered = gather_cluster(clones, cluster.nodes, wanted, prefix)
        total = sum(one.bytes for one in gathered.values())
        check_scratch(place, total * _ROOM_PER_BYTE, "to copy the tables")
        notes = _load(place, operation_id, clones, cluster, wanted.database, gathered)
    shares = {name: Share(one.hidden, one.tables).to_json() for name, one in gathered.items()}
    return {"shares": shares, "notes": [*strangers, *notes]}


def _load(
    place: FlowContext,
    operation_id: str,
    clones: tuple[Node, ...],
    cluster: Cluster,
    database: str,
    gathered: dict[str, Gathered],
) -> list[str]:
    """Copy all nodes' tables at once. Returns notes on every difference from the snapshot."""
    # An estimate: rows take other room on the way than on disk, and indexes are not sent.
    total = sum(one.bytes for one in gathered.values())
    passed = dict.fromkeys(gathered, 0)
    report = _report(place, operation_id, _SHARE_OF_CLONE, _SHARE_OF_COPY)

    def one(clone: Node, check: Callable[[], None]) -> list[str]:
        def tell(done: int) -> None:
            passed[clone.name] = done
            report.show(sum(passed.values()), total)

        def go_on() -> None:
            place.control.flows.check_running()
            check()

        live = next(node for node in cluster.nodes if node.name == clone.name)
        role, mine = operation_prefix(operation_id), gathered[clone.name]
        given = load(
            place.site.binaries,
            clone,
            live,
            database,
            mine,
            role,
            cluster.user_name,
            check=go_on,
            show=tell,
        )
        return [f"{clone.name}: {note}" for note in (*mine.notes, *given)]

    concerned = [node for node in clones if node.name in gathered]
    return list(chain.from_iterable(at_once(one, concerned, NODES_AT_ONCE)))


def _report(place: FlowContext, operation_id: str, from_: int, to: int) -> Report:
    """Report one part of the copying. Parts run in sequence, each for all nodes."""
    return Report(
        place, operation_id, _ALL_NODES, restores.COPYING, lambda shares: within(from_, to, shares[0])
    )


def _swap(place: FlowContext, operation_id: str, plan: Plan) -> list[str]:
    """Swap, trying again while somebody holds a table. Returns notes on objects that went with the old tables; they are
    lost if we die meanwhile.
    """
    operation, cluster, wanted = _read(place, operation_id)
    prefix = operation_prefix(operation_id)
    _take_over(place, operation, cluster, wanted)
    shares = {name: Share.from_json(said) for name, said in plan["shares"].items()}

    notes: list[str] = []
    failure: NodeUnreachable | TablesHeld | None = None
    for _ in range(_SWAP_TRIES):
        if _is_swapped(place, cluster, wanted.database, prefix):
            return notes
        place.control.flows.check_running()
        if failure is not None:
            place.control.clock.sleep(_PAUSE_SECONDS)
        try:
            notes = exchange(cluster.nodes, wanted.database, prefix, shares)
        except (NodeUnreachable, TablesHeld) as error:
            failure = error
    if not _is_swapped(place, cluster, wanted.database, prefix) and failure is not None:
        raise failure
    return notes


def _finish(place: FlowContext, operation_id: str, notes: list[str]) -> None:
    operation, cluster, wanted = _read(place, operation_id)
    _take_over(place, operation, cluster, wanted)
    _clean(place, cluster)
    _end(place, operation, cluster, notes=notes)


def _fail(place: FlowContext, operation_id: str, is_copied: bool, failure: Failure) -> None:
    operation, cluster, wanted = _read(place, operation_id)
    prefix, has_happened = operation_prefix(operation_id), False
    try:
        _take_over(place, operation, cluster, wanted)
        # If nothing was copied, missing hidden schemas do not show that the swap has happened.
        has_happened = is_copied and _is_swapped(place, cluster, wanted.database, prefix)
        _clean(place, cluster)
    except NodeUnreachable as error:
        left = f"{failure.reason}; the next restore of tables removes the leftovers on the nodes: {error}"
        failure = replace(failure, reason=left)
    if has_happened:
        _end(place, operation, cluster, notes=[failure.line])
    else:
        _end(place, operation, cluster, failure=failure)


def _read(place: FlowContext, operation_id: str) -> tuple[Operation, Cluster, TableRestore]:
    with place.control.database.reading() as reading:
        operation = operations.read(reading, operation_id)
        cluster = clusters.read_cluster(reading, operation.cluster_id)
    return operation, cluster, TableRestore.from_detail(operation.detail)


def _is_swapped(place: FlowContext, cluster: Cluster, database: str, prefix: str) -> bool:
    """Tell whether the copied tables were swapped, once the transactions of an earlier run are decided."""

    def look() -> bool:
        settle(cluster.nodes)
        return not is_waiting(cluster.coordinator, database, prefix)

    return _patiently(place, cluster, look)


def _clean(place: FlowContext, cluster: Cluster) -> None:
    """Remove leftovers, also those of an earlier restore of tables on a node that did not answer then."""
    _patiently(place, cluster, partial(settle, cluster.nodes))
    for node in cluster.nodes:
        _patiently(place, cluster, partial(clear, node))


def _take_over(place: FlowContext, operation: Operation, cluster: Cluster, wanted: TableRestore) -> None:
    """Go on with a restore that an earlier version began, and mark as ours the things that it has made."""
    if not operation.detail.get("marked"):
        work = partial(adopt, cluster.nodes, wanted.database, operation_prefix(operation.id))
        _patiently(place, cluster, work)


def _strangers(cluster: Cluster) -> list[str]:
    return [f"{node.name}: {note}" for node in cluster.nodes for note in unmarked_things(node)]


def _patiently(place: FlowContext, cluster: Cluster, work: Callable[[], T]) -> T:
    """Do the work; start a node that does not answer, and try again."""
    failure: NodeUnreachable | None = None
    for _ in range(_NODE_TRIES):
        try:
            if failure is not None:
                servers_of(place.site, cluster).have_at_work()
            return work()
        except NodeUnreachable as error:
            failure = error
        place.control.flows.check_running()
        place.control.clock.sleep(_PAUSE_SECONDS)
    assert failure is not None
    raise failure


def _end(
    place: FlowContext,
    operation: Operation,
    cluster: Cluster,
    *,
    notes: Sequence[str] = (),
    failure: Failure | None = None,
) -> None:
    """End the operation: the cluster is at work again, and the operation and the audit log have the result."""
    control, now = place.control, place.control.clock.now()
    with control.database.transaction() as transaction:
        ended = clusters.end_operation(
            transaction,
            operation.id,
            now,
            cluster.status,
            failed_code=RestoreFailed.code if failure else "",
            failure=failure,
        )
        if not ended:
            return  # a step that runs again
        operations.add_detail(transaction, operation.id, {"notes": [*notes]})
        count_operation(operation, now, failure)
        outcome, detail = ("failed", failure.line) if failure else ("restored", "; ".join(notes))
        record(
            control,
            transaction,
            cluster.project,
            "RestoreTable",
            f"snapshot/{operation.subject_id}",
            outcome,
            detail,
        )
    said = log.get("tables")
    tell = said.error if failure else said.info
    reason = failure.line if failure else ""
    tell("restore of tables ended", operation=operation.id, outcome=outcome, reason=reason, notes=[*notes])
