"""A service that leads is cut off from its catalog, and nobody is told: another leads, and no harm is done.

The hosts are network namespaces. Each service answers on the loopback address of its own.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.networks.namespaces import why_none
from support.networks.replica_hosts import ReplicaHosts, replica_hosts

pytestmark = [
    pytest.mark.long,
    pytest.mark.xdist_group("catalog silence"),
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(why_none()), reason=why_none() or "there are hosts"),
]


@pytest.fixture(scope="module")
def pair(data_root: Path) -> Iterator[ReplicaHosts]:
    with replica_hosts(data_root / "silence") as pair:
        yield pair


def test_a_leader_that_is_cut_off_loses_the_lead_and_ends_when_it_is_back(pair: ReplicaHosts) -> None:
    lost, heir = pair.leader, pair.follower
    with pair.host_of(lost).cut_off():
        heir.until("another leader", lambda: pair.is_leading(heir))
        lost.until(
            "the loss to be noticed", lambda: "the hold of the catalog is lost" in lost.log.read_text()
        )
        assert lost.is_alive
    lost.until("its end", lambda: not lost.is_alive)
    assert "another service works on the catalog now: this one ends at once" in lost.log.read_text()
    with pair.host_of(heir).entered():
        served = heir.rows("SELECT served_by FROM sh_installation")
    assert f"pid {heir.pid} " in served[0][0]
    pair.start(lost)
    assert not pair.is_leading(lost) and pair.is_leading(heir)


def test_a_silence_that_ends_in_time_changes_nothing(pair: ReplicaHosts) -> None:
    """A service that follows hears nothing for a while; it does not end, and does not lead."""
    follower, leader = pair.follower, pair.leader
    with pair.host_of(follower).cut_off():
        follower.until("the outage", lambda: not pair.hears(follower))
    follower.until("the news again", lambda: pair.hears(follower))
    assert pair.is_leading(leader) and not pair.is_leading(follower)
