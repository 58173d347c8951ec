"""The cut: one restore point on every node of a cluster, with no distributed write across any of them."""

import random
import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import count

from stillhouse.clock import Clock
from stillhouse.domain.cluster import Cluster, Engine, Role
from stillhouse.domain.snapshot import Cut, RestorePoint
from stillhouse.errors import Cancelled, CutFailed, NodeUnreachable
from stillhouse.postgres.sessions.databases import Database, list_databases
from stillhouse.warehouse.cut.bounded_sessions import Bounded, answering, bounded
from stillhouse.warehouse.cut.witness import Witnesses
from stillhouse.warehouse.gate import gate, survey
from stillhouse.warehouse.gate.coordinator_catalog import Mode
from stillhouse.warehouse.gate.lock_plan import Expected, check_time

_jitter = random.SystemRandom()

_LONGEST_NAME = 63  # MAXFNAMELEN - 1 (access/xlog_internal.h)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.6
# These take some seconds in all, with the pauses between them: one busy moment must not cost the snapshot.
_LOOKS_AHEAD = 6
_THREADS = 64  # made as they are needed: as many as there are nodes, or sessions that lock
# The number of points that a single server is given, one after another, until its witness finds it quiet at one of
# them. The writers of a cluster wait meanwhile, so it is given few, and at once.
_POINTS, _POINTS_OF_A_CLUSTER = 20, 3
_BETWEEN_POINTS = (0.002, 0.03)

# The name of a WAL file begins with the timeline that is being written, in eight hex digits. pg_control_checkpoint()
# would return the timeline of the last checkpoint.
_RESTORE_POINT = """
    SELECT (lsn - '0/0'::pg_lsn)::bigint, left(pg_walfile_name(lsn), 8)
      FROM pg_create_restore_point(%s) AS lsn
"""


def take_cut(
    cluster: Cluster,
    name_prefix: str,
    *,
    deadline_seconds: float,
    waited_seconds: float = 0.0,
    clock: Clock,
    should_stop: Callable[[], bool],
    gate_enabled: bool = True,
    spread_seconds: float = 0.0,
    witnesses: Witnesses | None = None,
    tell: Callable[[Expected], None] = lambda _: None,
) -> Cut:
    """Try until a cut holds. After the deadline, CutFailed names the sessions that were in the way.

    Earlier attempts have used `waited_seconds` of `deadline_seconds`. At least one try is made. `tell` is called
    before each try with the expected wait of writers. `witnesses` are filled, and their exports are in the points; the
    caller closes them when they are taken over.

    Each try stands alone: it has fresh sessions and a fresh name, and leaves nothing behind. `gate_enabled` and
    `spread_seconds` (between the nodes' points) exist to show that without the gate the cut is torn.
    """
    latest = clock.monotonic() + deadline_seconds - waited_seconds
    gated = gate_enabled and cluster.engine is Engine.FDW
    mode, slack = Mode.SHARE, 1.0
    for number in count(1):
        if should_stop():
            raise Cancelled(f"the cut of cluster {cluster.name} was called off")
        try:
            points, pause = _try(
                cluster, name_prefix, number, gated, mode, slack, spread_seconds, clock, witnesses, tell
            )
            return Cut(points, pause, number)
        except (CutFailed, NodeUnreachable) as failure:
            rest = back_off(number)
            if clock.monotonic() + rest >= latest:
                raise CutFailed(
                    f"no consistent cut of cluster {cluster.name} within {deadline_seconds:g} s:"
                    f" {failure.message}",
                    hint=failure.hint or "end the transaction named, or take the snapshot when it is done",
                ) from failure
            if isinstance(failure, gate.WritersRemain):
                mode = Mode.EXCLUSIVE
            if isinstance(failure, gate.LocksTooSlow):  # or writers would be held up in vain, time after time
                slack *= 2
        clock.sleep(rest)
    raise AssertionError("count() does not end")


def foresee(cluster: Cluster, clock: Clock) -> Expected | None:
    """How long a cut would hold writers up now; None where nothing is gated, or where it is unknown at the moment.

    Raises StateForbids where a cut is never possible, and CutFailed where it is not to be expected within some
    seconds.
    """
    if cluster.engine is not Engine.FDW:
        return None
    expected = _foresee(cluster, clock)
    for number in range(1, _LOOKS_AHEAD):
        if expected is None or expected.fits:
            return expected
        clock.sleep(back_off(number))
        expected = _foresee(cluster, clock)
    if expected is not None:
        check_time(expected)
    return expected


def _foresee(cluster: Cluster, clock: Clock) -> Expected | None:
    try:
        with (
            _node_sessions(cluster) as nodes,
            ThreadPoolExecutor(_THREADS) as threads,
            gate.gate_sessions(cluster, _databases(nodes), []) as parts,
        ):
            data_nodes = [node for node in nodes if node.node.role is Role.DN]
            return gate.foresee(parts, data_nodes, threads, clock)
    except (CutFailed, NodeUnreachable):
        return None


def restore_point_name(prefix: str, number: int) -> str:
    """A name never used before: recovery stops at the first restore point that has its name."""
    fresh = f"_{number}_{secrets.token_hex(8)}"
    return prefix[: _LONGEST_NAME - len(fresh)] + fresh


def back_off(number: int) -> float:
    """Seconds to leave the warehouse in peace after try `number`. Jitter separates services that collided."""
    longest = min(_FIRST_PAUSE * 2.0 ** min(number - 1, 16), _LONGEST_PAUSE)
    return _jitter.uniform(0.5, 1.0) * longest


def _try(
    cluster: Cluster,
    prefix: str,
    number: int,
    gated: bool,
    mode: Mode,
    slack: float,
    spread_seconds: float,
    clock: Clock,
    witnesses: Witnesses | None,
    tell: Callable[[Expected], None],
) -> tuple[tuple[RestorePoint, ...], float]:
    """Run the procedure once. However it ends, every session is closed, and so the gate opens."""
    with (
        _node_sessions(cluster) as nodes,
        ThreadPoolExecutor(_THREADS) as threads,
        ExitStack() as gate_closing,
    ):
        coordinator = _coordinator(nodes)
        seen = survey.survey(coordinator) if gated else None
        barred: list[int] = []
        parts = (
            gate_closing.enter_context(gate.gate_sessions(cluster, seen.databases, barred)) if seen else ()
        )
        if barred:
            seen = survey.survey(coordinator, barred)
        data_nodes = [node for node in nodes if gated and node.node.role is Role.DN]
        if witnesses is not None:
            witnesses.open(cluster.nodes, threads)
        if gated:
            tell(gate.look_ahead(parts, data_nodes, mode, threads, clock, slack))

        parts = gate.caught_up(parts, threads)
        asked = clock.monotonic()
        gate.shut(parts, mode, clock, threads)
        parts = gate.confirm(parts, threads)
        # Checked before the points, because a transaction that commits after one node's point has passed is torn.
        # Checked after them, because a transaction may have slipped in while they were made.
        gate.check_data_nodes(parts, data_nodes, threads)
        points = _mark(nodes, prefix, number, spread_seconds, threads, clock, witnesses)
        gate.check_data_nodes(parts, data_nodes, threads)
        gate.confirm(parts, threads)
        if seen is not None:
            survey.confirm_survey(seen, coordinator)
        gate.reopen(parts, threads)
        pause = clock.monotonic() - asked if gated else 0.0

        if witnesses is not None:
            points = _with_witnesses(points, nodes, threads, clock, witnesses)
        list(threads.map(_finish, nodes))
        return points, pause


def _mark(
    nodes: Sequence[Bounded],
    prefix: str,
    number: int,
    spread_seconds: float,
    threads: ThreadPoolExecutor,
    clock: Clock,
    witnesses: Witnesses | None,
) -> tuple[RestorePoint, ...]:
    """Make the points, several times until the witnesses find the nodes quiet."""

    def mark() -> tuple[RestorePoint, ...]:
        return mark_nodes(nodes, restore_point_name(prefix, number), spread_seconds, threads, clock)

    if witnesses is None:
        return mark()
    alone = len(nodes) == 1
    for turn in count(1):
        witnesses.see()
        points = mark()
        witnesses.look(nodes)
        if turn == (_POINTS if alone else _POINTS_OF_A_CLUSTER) or not witnesses.in_vain(settles=not alone):
            return points
        if alone:
            clock.sleep(_jitter.uniform(*_BETWEEN_POINTS))
        witnesses.again()
    raise AssertionError("count() does not end")


def _with_witnesses(
    points: tuple[RestorePoint, ...],
    nodes: Sequence[Bounded],
    threads: ThreadPoolExecutor,
    clock: Clock,
    witnesses: Witnesses,
) -> tuple[RestorePoint, ...]:
    witnesses.settle(nodes, threads, clock)
    exported = witnesses.export()
    return tuple(replace(point, witness=exported[point.node]) for point in points)


@contextmanager
def _node_sessions(cluster: Cluster) -> Iterator[tuple[Bounded, ...]]:
    with ExitStack() as stack:
        yield tuple(stack.enter_context(bounded(node, "postgres")) for node in cluster.nodes)


def _coordinator(nodes: Sequence[Bounded]) -> Bounded:
    return next(node for node in nodes if node.node.role is Role.CN)


def _databases(nodes: Sequence[Bounded]) -> list[Database]:
    coordinator = _coordinator(nodes)
    with answering(coordinator.node):
        return list_databases(coordinator.connection)


def mark_nodes(
    nodes: Sequence[Bounded], name: str, spread_seconds: float, threads: ThreadPoolExecutor, clock: Clock
) -> tuple[RestorePoint, ...]:
    """Make a restore point on all nodes in parallel."""

    def mark(place: int, node: Bounded) -> RestorePoint:
        if spread_seconds:
            clock.sleep(place * spread_seconds)
        with answering(node.node):
            lsn, timeline = node.connection.execute(_RESTORE_POINT, [name]).fetchall()[0]
        return RestorePoint(node.node.id, name, lsn, int(timeline, 16))

    return tuple(threads.map(mark, range(len(nodes)), nodes))


def _finish(node: Bounded) -> None:
    """Flush the point to disk, since its creation does not. Success proves that the server never restarted in between.

    The gate is open, so a slow disk may take its time: no time-out ends a commit. A transaction that writes WAL
    flushes all WAL before it when it commits (access/transam/xact.c, RecordTransactionCommit). A switch of the segment
    would flush too, but writers would then wait for the next segment to be made: 16 MiB of zeros, and their fsync.
    """
    with answering(node.node):
        node.connection.execute("SET synchronous_commit = local")  # no standby need have it
        node.connection.execute("SELECT pg_logical_emit_message(true, 'stillhouse', '')")
