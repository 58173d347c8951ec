"""Roots: the same bytes as ever, fields of later programs kept, and nothing taken for a root that is not one."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from stillhouse.control.snapshots.commit import root_of
from stillhouse.domain.cluster import Cluster, ClusterStatus, Engine, Node, Role
from stillhouse.domain.snapshot import Cut, RestorePoint, Snapshot, SnapshotStatus, SnapshotType
from stillhouse.errors import RepositoryDamaged
from stillhouse.repository.format.root import Root

NODE = (
    '{"name":"cn","node_id":"n1","role":"cn","host":"127.0.0.1","port":8000,"manifest":"ab","size":12,"hash":"cd",'
    '"plain_bytes":100,"wal_bytes":10,"rotten":0,"capacity":{"max_connections":"100"},"lineage":"l","base":null,'
    '"depth":0,"whole_because":"first","read_bytes":90,"packed_bytes":80,"pages_stored":7,"files":{"read":3},'
    '"skipped":1,"skipped_first":"x: why","replaced":0,"replaced_first":"","start_lsn":5,"cut_name":"cut",'
    '"cut_lsn":9,"timeline":1}'
)
STORED = (
    '{"format":1,"snapshot":"s1","project":"p","cluster":{"id":"c","name":"sales","engine":"fdw","number_of_node":1,'
    '"port":8000,"user_name":"dbadmin","facts":{"node_type":"any"}},"name":"nightly","description":"","type":"MANUAL",'
    '"attempt":2,"started":"2026-11-20T08:00:00+00:00","finished":"2026-11-20T09:00:00+00:00",'
    '"cut":{"pause_seconds":0.5,"tries":1},"plain_bytes":100,"stored_bytes":50,"nodes":[' + NODE + "],"
    '"scrub_overdue_packs":0}'
)


def encoded(root: Root) -> str:
    return json.dumps(root.to_json(), separators=(",", ":"))


def read(text: str) -> Root:
    return Root.from_json("c/c/roots/s1", json.loads(text))


def test_a_published_root_has_the_bytes_that_every_version_wrote() -> None:
    now = datetime(2026, 11, 20, 9, tzinfo=UTC)
    started = now.replace(hour=8)
    node = Node("n1", "cn", Role.CN, "127.0.0.1", 8000, "", "")
    cluster = Cluster(
        "c", "p", "sales", Engine.FDW, ClusterStatus.AVAILABLE, 1, 8000, "dbadmin", now, now, (node,),
        facts={"node_type": "any"},
    )  # fmt: skip
    snapshot = Snapshot(
        "s1", "p", "c", "sales", "nightly", "", SnapshotStatus.CREATING, SnapshotType.MANUAL, started, now
    )
    captured: dict[str, Any] = json.loads(NODE) | {
        "manifest": {"id": "ab", "size": 12, "hash": "cd"},
        "skipped_first": {"x": "why"},
        "stored_bytes": 50,
    }
    cut = Cut((RestorePoint("n1", "cut", 9, 1),), 0.5, 1)
    root = root_of(snapshot, cluster, 2, cut, [captured], overdue_packs=0, now=now)
    assert encoded(root) == STORED


def test_reading_and_writing_a_root_changes_no_byte() -> None:
    assert encoded(read(STORED)) == STORED


def test_a_root_of_an_older_version_gets_no_fields_that_it_lacked() -> None:
    older = STORED.replace(
        '"skipped":1,"skipped_first":"x: why","replaced":0,"replaced_first":"",', ""
    ).replace(',"scrub_overdue_packs":0', "")
    assert encoded(read(older)) == older


def test_a_copy_keeps_the_fields_of_a_later_program_at_every_level() -> None:
    later = json.loads(STORED)
    for of in (later, later["cluster"], later["nodes"][0]):
        of["colour"], of["more"] = {"deep": 1}, "less"
    copied = json.loads(encoded(replace(read(json.dumps(later)), snapshot="s2", copied_from="s1")))
    assert copied == {**later, "snapshot": "s2", "copied_from": "s1"}


@pytest.mark.parametrize(
    "change",
    [
        {"nodes": None}, {"nodes": "cn"}, {"nodes": [1]}, {"nodes": [{}]}, {"cluster": []}, {"cluster": None},
        {"snapshot": 1},
        *({"nodes": [{**json.loads(NODE), field: []}]} for field in ("name", "manifest", "hash", "size")),
        {"nodes": [{**json.loads(NODE), "size": True}]},
    ],
)  # fmt: skip
def test_what_does_not_name_its_manifests_is_no_root(change: dict[str, Any]) -> None:
    with pytest.raises(RepositoryDamaged, match="c/c/roots/s1"):
        read(json.dumps({**json.loads(STORED), **change}))
    with pytest.raises(RepositoryDamaged, match="c/c/roots/s1"):
        read("{}")
