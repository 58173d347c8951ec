"""Our side of the pairs: captures and restores as the service does them, each in a process of its own."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from measure import empty
from spent import Spent, measured

from stillhouse.clock import SystemClock
from stillhouse.domain.cluster import Cluster, Node
from stillhouse.domain.ids import new_hex, new_uuid
from stillhouse.domain.snapshot import Cut
from stillhouse.node.capture.task import Captured, CaptureTask
from stillhouse.node.restore.rebuild import Restored, RestoreTask
from stillhouse.postgres.host import server
from stillhouse.postgres.sessions import size
from stillhouse.repository.format import cipher_keys
from stillhouse.repository.objects import identity
from stillhouse.storage.open import open_store
from stillhouse.warehouse.cluster import embedded
from stillhouse.warehouse.cluster.embedded import Site
from stillhouse.warehouse.cut.cut import take_cut
from stillhouse.workers import process
from stillhouse.workers.jobs import CaptureJob, Repository, RestoreJob, capture_job, restore_job
from stillhouse.workers.process import Done, Ready, Worker

_POLL_SECONDS = 0.01


class Ours:
    def __init__(
        self, site: Site, cluster: Cluster, place: Path, workers: int = 2, served: Node | None = None
    ) -> None:
        """`served` is the node as it is on this host, if the cluster is reached by connections."""
        location = str(place / "ours")
        store = open_store(location)
        kek, _ = cipher_keys.load_or_create_kek(place / "kek")
        self.repository = Repository(location, identity.claim(store), kek)
        self.site, self.cluster, self.workers = site, cluster, workers
        self.last: Captured | None = None
        self._served = served or cluster.coordinator
        process.get_ready()  # as the service does at its start

    @property
    def node(self) -> Node:
        return self.cluster.coordinator

    def capture(self, *, incremental: bool = False) -> Spent:
        """A restorable snapshot, from the request for it to its manifest; the cut included."""
        base = self.last.manifest if incremental and self.last else None
        with measured(server.process_id(self._served)) as spent:
            task = CaptureTask(
                self.node, self.cluster.id, new_uuid(), 1, f"stillhouse_bench_{new_hex()}_1", self.workers, 10 << 30,
                base=base, expected_bytes=size.of_databases(self.node),
            )  # fmt: skip
            worker: Worker[Captured] = Worker(capture_job, CaptureJob(self.repository, task))
            while not isinstance(event := worker.poll(_POLL_SECONDS), Done):
                if isinstance(event, Ready):
                    worker.say(self._cut().points[0])
            self.last = event.result
            worker.end()
            self.forget_process(worker)
        spent.stored_bytes = self.last.stored_bytes
        return spent

    def restore(self, look: Callable[[Path], None] = lambda _: None) -> Spent:
        """Into an empty directory, ready for recovery; `look` may read there before it is emptied."""
        assert self.last is not None
        cluster_id = new_uuid()
        nodes = embedded.plan_nodes(self.site, cluster_id, 1, self.cluster.port)
        account = self.site.binaries.account
        owner = (account.uid, account.gid) if account else None
        try:
            with measured(None) as spent:
                task = RestoreTask(
                    replace(nodes[0]), self.last.manifest, self.last.plain_bytes, owner,
                    self.workers,
                )  # fmt: skip
                worker: Worker[Restored] = Worker(
                    restore_job, RestoreJob(self.repository, self.cluster.id, task)
                )
                while not isinstance(worker.poll(_POLL_SECONDS), Done):
                    pass
                worker.end()
                self.forget_process(worker)
            look(Path(nodes[0].directory))
        finally:
            empty(Path(nodes[0].directory))
        return spent

    @staticmethod
    def forget_process(worker: Worker[Captured] | Worker[Restored]) -> None:
        """Waited for, so that its CPU is counted."""
        worker._process.join()

    def _cut(self) -> Cut:
        clock = SystemClock()
        return take_cut(self.cluster, "bench", deadline_seconds=30, clock=clock, should_stop=lambda: False)


Work = Callable[[], Spent]
