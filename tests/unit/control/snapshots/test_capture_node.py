"""A node's capture tells its snapshot how it ended, whatever happens meanwhile."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from stillhouse.catalog import captures, clusters
from stillhouse.catalog.schema.commits import after_commit
from stillhouse.catalog.schema.database import Database, Transaction
from stillhouse.catalog.schema.place import FILE_NAME
from stillhouse.config import Settings
from stillhouse.control.context import Control
from stillhouse.control.snapshots import capture_node
from stillhouse.domain.cluster import Node, Role
from stillhouse.domain.ids import new_uuid
from stillhouse.domain.reports.captures import CaptureState
from stillhouse.durable.flows import Flows
from stillhouse.errors import CatalogUnavailable, NodeUnreachable
from stillhouse.repository.format.cipher_keys import Kek
from stillhouse.sealing import Sealer
from support.control.requests_bed import (
    FLOWS,
    HandClock,
    available_cluster,
    request_snapshots,
    with_repository,
)

DEADLINE_SECONDS = 60


class ShortOfPatience(Database):
    """Tells when it has refused a writer."""

    refused = threading.Event()

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        try:
            with super().transaction() as transaction:
                yield transaction
        except CatalogUnavailable:
            self.refused.set()
            raise


def test_a_failure_is_noted_though_the_catalog_is_away_when_it_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The snapshot's flow waits for this row: a snapshot whose capture had failed so was CREATING for ever."""
    sealer = Sealer.in_directory(tmp_path)
    database = ShortOfPatience(f"sqlite:///{tmp_path / FILE_NAME}", lambda: sealer, busy_seconds=0.05)
    database.migrate()
    flows = Flows(database.url, after_commit)
    control = Control(
        database, sealer, HandClock(), Settings(data=tmp_path, shared_account="accepted"), flows=flows
    )
    place = with_repository(control, tmp_path, Kek(b"1" * 32))
    flows.prepare()
    for name in FLOWS:
        flows.register(name, lambda run, subject: None)
    flows.register("capture_node", partial(capture_node.capture_node, place))
    cluster = available_cluster(control)
    (snapshot,) = request_snapshots(control, cluster, "first")
    node = Node(new_uuid(), "cn", Role.CN, "127.0.0.1", 8000, "/nowhere", "/nowhere")
    with database.transaction() as transaction:
        clusters.save_nodes(transaction, cluster, [node])
        captures.begin_attempt(transaction, snapshot, [node.id], control.clock.now())
    other_writer = sqlite3.connect(
        tmp_path / FILE_NAME, timeout=60, isolation_level=None, check_same_thread=False
    )
    fail = capture_node._Report.fail

    def fail_while_others_write(report: capture_node._Report, reason: str) -> None:
        if not database.refused.is_set():
            other_writer.execute("BEGIN IMMEDIATE")
        fail(report, reason)

    monkeypatch.setattr(capture_node._Report, "fail", fail_while_others_write)
    flows.launch()
    try:
        with database.transaction() as transaction:
            flow_id = flows.enqueue(transaction, "capture_node", f"{snapshot}/1/{node.id}")
        assert database.refused.wait(DEADLINE_SECONDS)
        other_writer.execute("ROLLBACK")
        with pytest.raises(NodeUnreachable):
            flows.result(flow_id, DEADLINE_SECONDS)
        with database.reading() as reading:
            (row,) = captures.list_captures(reading, snapshot, 1)
    finally:
        flows.shutdown(within_seconds=10)
        other_writer.close()
        database.close()
    assert row.state is CaptureState.FAILED
