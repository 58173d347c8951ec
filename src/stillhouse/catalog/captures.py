"""A snapshot's attempts: the progress of each node's capture, and the cut that was made."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Row, Select, Update, bindparam, delete, insert, select, update

from stillhouse.catalog.schema.database import Transaction
from stillhouse.catalog.schema.tables import captures, cuts, restore_points, snapshots, witnesses
from stillhouse.domain.reports.captures import Capture, CaptureState
from stillhouse.domain.snapshot import Cut, RestorePoint, Witness
from stillhouse.errors import AttemptDead, SnapshotUnknown

Part = tuple[str, int, str]
"""A manifest of a part of a capture: its id, size and hash."""


def begin_attempt(transaction: Transaction, snapshot_id: str, nodes: Sequence[str], now: datetime) -> int:
    """Give up the unfinished work of earlier attempts and open a capture of each node. Returns the new number."""
    attempt = transaction.execute(
        update(snapshots)
        .where(snapshots.c.id == snapshot_id)
        .values(attempt=snapshots.c.attempt + 1, updated=now)
        .returning(snapshots.c.attempt)
    ).scalar_one_or_none()
    if attempt is None:
        raise SnapshotUnknown(f"snapshot {snapshot_id} is not in the catalog")
    abandon(transaction, snapshot_id, now)
    rows = [
        {
            "snapshot_id": snapshot_id,
            "node": node,
            "attempt": attempt,
            "state": CaptureState.COPYING,
            "bytes_done": 0,
            "bytes_total": 0,
            "parts": [],
            "error": "",
            "updated": now,
        }
        for node in nodes
    ]
    if rows:
        transaction.execute(insert(captures), rows)
    return int(attempt)


def latest_attempt(transaction: Transaction, snapshot_id: str) -> int:
    """The number of the last attempt begun; 0 before the first."""
    return int(
        transaction.execute(select(snapshots.c.attempt).where(snapshots.c.id == snapshot_id)).scalar_one()
    )


def abandon(transaction: Transaction, snapshot_id: str, now: datetime) -> None:
    """Abandon the snapshot's captures. Work that still goes on for one of them gets AttemptDead from now on."""
    transaction.execute(
        update(captures)
        .where(
            captures.c.snapshot_id == snapshot_id,
            captures.c.state.in_([CaptureState.COPYING, CaptureState.READY]),
        )
        .values(state=CaptureState.ABANDONED, updated=now)
    )


def set_state(
    transaction: Transaction,
    snapshot_id: str,
    node: str,
    attempt: int,
    state: CaptureState,
    now: datetime,
    *,
    error: str = "",
) -> None:
    _change(transaction, snapshot_id, node, attempt, state=state, error=error, updated=now)


def add_part(
    transaction: Transaction, snapshot_id: str, node: str, attempt: int, part: Part, now: datetime
) -> None:
    """Record a durable part saved by the attempt, for use by a later one."""
    query = select(captures.c.parts).where(
        captures.c.snapshot_id == snapshot_id, captures.c.node == node, captures.c.attempt == attempt
    )
    parts = transaction.execute(query).scalar_one()
    _change(transaction, snapshot_id, node, attempt, parts=[*parts, list(part)], updated=now)


def parts_of(transaction: Transaction, snapshot_id: str, node: str) -> list[Part]:
    """The parts saved by all attempts at this node, in order."""
    query = (
        select(captures.c.parts)
        .where(captures.c.snapshot_id == snapshot_id, captures.c.node == node)
        .order_by(captures.c.attempt)
    )
    return [
        (id_, size, hash_) for parts in transaction.execute(query).scalars() for id_, size, hash_ in parts
    ]


def set_bytes(
    transaction: Transaction,
    snapshot_id: str,
    node: str,
    attempt: int,
    now: datetime,
    *,
    done: int,
    total: int,
    per_second: int = 0,
) -> None:
    amounts = {"bytes_done": done, "bytes_total": total, "bytes_per_second": per_second}
    _change(transaction, snapshot_id, node, attempt, **amounts, updated=now)


def list_captures(transaction: Transaction, snapshot_id: str, attempt: int) -> list[Capture]:
    rows = transaction.execute(_captures(), {"snapshot": snapshot_id, "number": attempt})
    return [_capture(row) for row in rows]


def state_of(transaction: Transaction, snapshot_id: str, node: str, attempt: int) -> CaptureState:
    """The state of one capture. A light look, for flows that look often."""
    key = {"snapshot": snapshot_id, "node": node, "number": attempt}
    return CaptureState(transaction.execute(_state(), key).scalar_one())


def latest_captures(transaction: Transaction, snapshot_id: str) -> list[Capture]:
    """The captures of the snapshot's last attempt; empty before its first has begun."""
    query = select(snapshots.c.attempt).where(snapshots.c.id == snapshot_id)
    return list_captures(transaction, snapshot_id, transaction.execute(query).scalar_one_or_none() or 0)


def cut_waited(transaction: Transaction, snapshot_id: str) -> float:
    """Seconds that the snapshot has waited for its cut so far, over all its attempts."""
    query = select(snapshots.c.cut_waited_seconds).where(snapshots.c.id == snapshot_id)
    return float(transaction.execute(query).scalar_one())


def add_cut_wait(transaction: Transaction, snapshot_id: str, seconds: float) -> None:
    transaction.execute(
        update(snapshots)
        .where(snapshots.c.id == snapshot_id)
        .values(cut_waited_seconds=snapshots.c.cut_waited_seconds + seconds)
    )


def expected_pause(transaction: Transaction, snapshot_id: str) -> float | None:
    """Seconds that the snapshot's cut is expected to hold writers up; None while this is unknown."""
    query = select(snapshots.c.expected_pause_seconds).where(snapshots.c.id == snapshot_id)
    seconds = transaction.execute(query).scalar_one()
    return None if seconds is None else float(seconds)


def expect_pause(transaction: Transaction, snapshot_id: str, seconds: float) -> None:
    transaction.execute(
        update(snapshots).where(snapshots.c.id == snapshot_id).values(expected_pause_seconds=seconds)
    )


def save_cut(transaction: Transaction, snapshot_id: str, attempt: int, cut: Cut) -> None:
    """Record the cut. A cut made again, after a crash before this was recorded, replaces the first."""
    key = {"snapshot_id": snapshot_id, "attempt": attempt}
    for table in (witnesses, restore_points, cuts):
        transaction.execute(
            delete(table).where(table.c.snapshot_id == snapshot_id, table.c.attempt == attempt)
        )
    transaction.execute(insert(cuts), key | {"pause_seconds": cut.pause_seconds, "tries": cut.tries})
    rows = [
        key | {"node": point.node, "name": point.name, "lsn": point.lsn, "timeline": point.timeline}
        for point in cut.points
    ]
    transaction.execute(insert(restore_points), rows)
    seen = [
        key | {"node": point.node, "snapshots": point.witness.snapshots, "why": point.witness.why}
        for point in cut.points
    ]
    transaction.execute(insert(witnesses), seen)


def read_cut(transaction: Transaction, snapshot_id: str, attempt: int) -> Cut | None:
    made = transaction.execute(_cut(), {"snapshot": snapshot_id, "number": attempt}).one_or_none()
    if made is None:
        return None
    points = transaction.execute(_points(), {"snapshot": snapshot_id, "number": attempt})
    return Cut(
        points=tuple(
            RestorePoint(row.node, row.name, row.lsn, row.timeline, _witness(row)) for row in points
        ),
        pause_seconds=made.pause_seconds,
        tries=made.tries,
    )


# Built once: flows run these all the time, and building them costs more than running them.


@cache
def _captures() -> Select[Any]:
    same = (captures.c.snapshot_id == bindparam("snapshot")) & (captures.c.attempt == bindparam("number"))
    return select(captures).where(same).order_by(captures.c.node)


@cache
def _changed() -> Update:
    """The columns to set are those of the parameters."""
    return update(captures).where(
        captures.c.snapshot_id == bindparam("of"),
        captures.c.node == bindparam("at"),
        captures.c.attempt == bindparam("number"),
        captures.c.state != CaptureState.ABANDONED,
    )


@cache
def _state() -> Select[Any]:
    return select(captures.c.state).where(
        captures.c.snapshot_id == bindparam("snapshot"),
        captures.c.node == bindparam("node"),
        captures.c.attempt == bindparam("number"),
    )


@cache
def _cut() -> Select[Any]:
    return select(cuts).where(
        cuts.c.snapshot_id == bindparam("snapshot"), cuts.c.attempt == bindparam("number")
    )


@cache
def _points() -> Select[Any]:
    same = (
        (witnesses.c.snapshot_id == restore_points.c.snapshot_id)
        & (witnesses.c.attempt == restore_points.c.attempt)
        & (witnesses.c.node == restore_points.c.node)
    )
    return (
        select(restore_points, witnesses.c.snapshots, witnesses.c.why)
        .outerjoin(witnesses, same)
        .where(
            restore_points.c.snapshot_id == bindparam("snapshot"),
            restore_points.c.attempt == bindparam("number"),
        )
        .order_by(restore_points.c.node)
    )


def _witness(row: Row[Any]) -> Witness:
    """The witness of a node. It is empty in a cut by a service that knew no witnesses."""
    return Witness(tuple((name, exported) for name, exported in row.snapshots or ()), row.why or "")


def _change(transaction: Transaction, snapshot_id: str, node: str, attempt: int, **columns: Any) -> None:
    key = {"of": snapshot_id, "at": node, "number": attempt}
    if transaction.execute(_changed(), key | columns).rowcount == 0:
        raise AttemptDead(f"attempt {attempt} at node {node} of snapshot {snapshot_id} was given up")


def _capture(row: Row[Any]) -> Capture:
    return Capture(
        snapshot_id=row.snapshot_id,
        node=row.node,
        attempt=row.attempt,
        state=CaptureState(row.state),
        bytes_done=row.bytes_done,
        bytes_total=row.bytes_total,
        error=row.error,
        updated=row.updated,
        bytes_per_second=row.bytes_per_second,
    )
