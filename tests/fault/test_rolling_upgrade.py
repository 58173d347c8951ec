"""Two replicas of the version before are upgraded one after the other, with snapshots under way: no work is lost."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.processes.predecessor import unpack
from support.processes.replica_pair import LEADS, Pair, follows, replica_pair, taken_once, told
from support.processes.service import Service

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("rolling upgrade"), pytest.mark.timeout(900)]

(ARCHIVE,) = (Path(__file__).parents[1] / "predecessor" / "replicas").glob("*.tar.xz")


@pytest.fixture
def pair(data_root: Path) -> Iterator[Pair]:
    with replica_pair(data_root / "rolling", unpack(ARCHIVE, data_root / "rolling-sources")) as made:
        yield made


def upgrade(service: Service) -> None:
    assert service.stop() == 0
    service.sources = None
    service.start()


def test_replicas_are_upgraded_one_by_one_with_snapshots_under_way(pair: Pair) -> None:
    first, second = pair.leader, pair.follower
    cluster = second.create_cluster("rolling", 1)
    with second.log_in(cluster) as writer:
        # An open write keeps the cut away, so the snapshot is under way all the time.
        writer.execute("BEGIN")
        writer.execute("CREATE TABLE not_yet (id int)")
        under_way = second.request_snapshot(cluster, "under-way")
        second.until("node work", lambda: first.is_copied(under_way))
        upgrade(second)
        assert follows(second) and not follows(first), "two versions are at work"
        accepted = second.request_snapshot(cluster, "asked-of-the-new-one")
        for each in (first, second):
            listed = each.call("GET", "/v1.0/{p}/snapshots").json["snapshots"]
            assert {one["id"] for one in listed} == {under_way, accepted}
        upgrade(first)
        second.until("the lead", lambda: told(second, LEADS) and not follows(second))
        assert follows(first)
        writer.execute("ROLLBACK")
    for snapshot in (under_way, accepted):
        taken_once(second, snapshot)
    clone = first.restore(under_way, "copy")
    assert first.settled(clone)["status"] == "AVAILABLE"
    first.delete_cluster(clone)
