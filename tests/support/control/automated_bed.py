"""Automated snapshots over a catalog in memory, under a clock turned by hand; flows are noted and never carried out."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from sqlalchemy import select, text

from stillhouse.catalog import clusters, operations, snapshot_policies, snapshots
from stillhouse.catalog.access import audit_log
from stillhouse.catalog.schema.database import Database, Transaction
from stillhouse.catalog.schema.tables import metadata, policy_runs
from stillhouse.catalog.snapshot_policies import _run
from stillhouse.config import Settings
from stillhouse.control.clusters.requests import ClusterRequest, request_cluster
from stillhouse.control.context import Control
from stillhouse.control.flow_context import FlowContext
from stillhouse.control.schedule.automated import start_due_retention, start_due_snapshots
from stillhouse.control.schedule.snapshot_policies import Strategy, set_policies
from stillhouse.control.snapshots.queue import start_next, start_waiting
from stillhouse.domain.cluster import ClusterStatus, Task
from stillhouse.domain.reports.failure import Failure
from stillhouse.domain.snapshot import Snapshot
from stillhouse.domain.snapshot_policies import BackupType, Decision, Outcome
from stillhouse.sealing import Sealer

PROJECT = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
GIB = 2**30


def ended_runs(transaction: Transaction, cluster_id: str) -> list[Decision]:
    """The runs taken and skipped, with reasons, in order of time."""
    query = (
        select(policy_runs)
        .where(policy_runs.c.cluster_id == cluster_id, policy_runs.c.outcome != Outcome.WAITING)
        .order_by(policy_runs.c.due, policy_runs.c.policy_id)
    )
    return [Decision(_run(row), Outcome(row.outcome), row.reason) for row in transaction.execute(query)]


@dataclass
class TurnedClock:
    time: datetime = field(default_factory=lambda: datetime(2026, 11, 25, 12, 0, tzinfo=UTC))

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class NotedFlows:
    """Enqueued flows as rows of the caller's transaction, as the real ones are."""

    def enqueue(self, transaction: Any, flow_name: str, subject_id: str) -> str:
        transaction.execute(
            text("INSERT INTO noted VALUES (:name, :subject)"), {"name": flow_name, "subject": subject_id}
        )
        return subject_id


class Bed:
    def __init__(self, database: Database, data: Path) -> None:
        self.clock = TurnedClock()
        flows: Any = NotedFlows()
        settings = Settings(data=data, default_policies=False, shared_account="accepted")
        self.control = Control(database, Sealer.in_directory(data), self.clock, settings, flows=flows)
        nothing = cast(Any, None)
        self.place = FlowContext(self.control, nothing, nothing, "0" * 8)

    # -- time ---------------------------------------------------------------------------------------------------------

    def at(self, moment: str | datetime) -> "Bed":
        self.clock.time = (
            moment if isinstance(moment, datetime) else datetime.fromisoformat(moment).replace(tzinfo=UTC)
        )
        return self

    def later(self, **span: float) -> "Bed":
        self.clock.time += timedelta(**span)
        return self

    def tick(self) -> "Bed":
        """What the timer does."""
        start_waiting(self.place, self.clock.time)
        start_due_snapshots(self.place, self.clock.time)
        start_due_retention(self.place, self.clock.time)
        return self

    # -- clusters and policies ----------------------------------------------------------------------------------------

    def cluster(self, name: str = "sales", *, with_defaults: bool = False) -> str:
        request = ClusterRequest(name=name, number_of_node=1, user_pwd="Str0ng-Pass-11")
        settings = self.control.settings.model_copy(update={"default_policies": with_defaults})
        cluster_id = request_cluster(replace(self.control, settings=settings), PROJECT, request)
        self.free(cluster_id)
        return cluster_id

    def policy(self, cluster_id: str, schedule: str, type_: str = "increment", name: str = "") -> None:
        chosen = name or f"policy-{len(self.policies(cluster_id))}"
        strategy = Strategy(name=chosen, schedule=schedule, backup_type=BackupType(type_))
        set_policies(self.control, PROJECT, cluster_id, [strategy])

    def policies(self, cluster_id: str) -> list[str]:
        with self.control.database.reading() as reading:
            return [policy.name for policy in snapshot_policies.list_policies(reading, cluster_id)]

    def hold(self, cluster_id: str, task: Task = Task.REBOOTING) -> None:
        with self.control.database.transaction() as transaction:
            operations.begin(transaction, cluster_id, task, cluster_id, self.clock.time)

    def free(self, cluster_id: str) -> None:
        with self.control.database.transaction() as transaction:
            operation = operations.active(transaction, cluster_id)
            assert operation is not None
            clusters.end_operation(transaction, operation.id, self.clock.time, ClusterStatus.AVAILABLE)

    # -- snapshots ----------------------------------------------------------------------------------------------------

    def snapshots(self, cluster_id: str) -> list[Snapshot]:
        """The oldest first; not those in the trash."""
        with self.control.database.reading() as reading:
            return snapshots.of_cluster(reading, cluster_id)[::-1]

    def running(self, cluster_id: str) -> Snapshot | None:
        query = text(
            "SELECT id FROM sh_snapshots WHERE cluster_id = :cluster AND status = 'CREATING'"
            " AND id NOT IN (SELECT snapshot_id FROM sh_snapshot_queue)"
        )
        with self.control.database.reading() as reading:
            found = reading.execute(query, {"cluster": cluster_id}).scalar_one_or_none()
            return None if found is None else snapshots.read_snapshot(reading, found)

    def ever(self, cluster_id: str) -> dict[str, Snapshot]:
        """All snapshots that there were, by id, those in the trash included."""
        query = text("SELECT id FROM sh_snapshots WHERE cluster_id = :cluster ORDER BY started")
        with self.control.database.reading() as reading:
            ids = list(reading.execute(query, {"cluster": cluster_id}).scalars())
            return {each: snapshots.read_snapshot(reading, each) for each in ids}

    def finish(self, cluster_id: str, failure: str = "") -> Snapshot:
        """What the flow of the snapshot at work would bring about."""
        running = self.running(cluster_id)
        assert running is not None
        with self.control.database.transaction() as transaction:
            now = self.clock.time
            if failure:
                snapshots.mark_unavailable(transaction, running.id, now, Failure("", failure))
            else:
                sizes = {"plain_bytes": 10 * GIB, "stored_bytes": GIB}
                snapshots.mark_available(transaction, running.id, now, **sizes)
            start_next(self.control, transaction, cluster_id)
        return running

    def take(self, cluster_id: str) -> Snapshot:
        self.tick()
        return self.finish(cluster_id)

    # -- what came of it ----------------------------------------------------------------------------------------------

    def runs(self, cluster_id: str) -> list[Decision]:
        with self.control.database.reading() as reading:
            return ended_runs(reading, cluster_id)

    def dues(self, cluster_id: str, outcome: Outcome) -> list[str]:
        return [f"{each.run.due:%m-%dT%H:%M}" for each in self.runs(cluster_id) if each.outcome is outcome]

    def taken(self, cluster_id: str) -> list[str]:
        return self.dues(cluster_id, Outcome.TAKEN)

    def skipped(self, cluster_id: str) -> dict[str, str]:
        ended = [each for each in self.runs(cluster_id) if each.outcome is Outcome.SKIPPED]
        return {f"{each.run.due:%m-%dT%H:%M}": each.reason for each in ended}

    def flows(self, name: str) -> list[str]:
        with self.control.database.reading() as reading:
            rows = reading.execute(text("SELECT subject FROM noted WHERE name = :name"), {"name": name})
            return list(rows.scalars())

    def audit(self, action: str) -> list[audit_log.AuditRecord]:
        """The oldest first."""
        with self.control.database.reading() as reading:
            found = audit_log.list_records(reading, PROJECT, limit=100_000)
        return [record for record in found[::-1] if record.action == action]


@contextmanager
def automated_bed(data: Path) -> Iterator[Bed]:
    database = Database("sqlite://")  # in memory: one connection for this thread, no file to sync
    with database.transaction() as transaction:
        metadata.create_all(transaction)
        transaction.execute(text("CREATE TABLE noted (name TEXT, subject TEXT)"))
    yield Bed(database, data)
    database.close()
