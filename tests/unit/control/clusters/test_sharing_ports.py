"""Clusters made on one port, each on a loopback address of its own, before they listen on an address of all."""

from dataclasses import replace
from datetime import UTC, datetime

from stillhouse.control.clusters.addresses import sharing_ports
from stillhouse.domain.cluster import Cluster, ClusterStatus, Engine, Provider

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ONE = Cluster("1", "p", "one", Engine.SINGLE, ClusterStatus.AVAILABLE, 1, 8000, "dbadmin", NOW, NOW)


def test_clusters_on_one_port_are_named_and_others_are_not() -> None:
    found = [
        replace(ONE, name="b"),
        replace(ONE, name="a"),
        replace(ONE, name="else", port=8001),
        replace(ONE, name="somebody's", port=8001, provider=Provider.REGISTERED),
    ]
    assert sharing_ports(found) == [(8000, ["b", "a"])]
    assert sharing_ports(found[1:]) == []
