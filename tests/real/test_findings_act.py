"""Damage has effects: it is recorded, the next snapshot heals it, and the snapshots that it hurt say so."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stillhouse.repository.format import layout, manifest, maps
from stillhouse.repository.format.cipher_keys import ClusterKeys, open_keys, read_kek
from stillhouse.repository.format.container import open_bytes
from stillhouse.repository.format.maps import HOLE, PagesEntry
from stillhouse.repository.format.root import RootNode
from stillhouse.repository.format.sealed import Stored
from stillhouse.repository.objects import findings, roots
from stillhouse.storage.open import open_store
from stillhouse.storage.store import ObjectStore
from support.processes.service import COMMAND, Service, serving
from support.repositories.crafted_lines import Line

pytestmark = pytest.mark.long

ROWS = 20_000
SUM = "SELECT count(*), sum(hashtext(t::text)) FROM public.kept t"


@pytest.fixture(scope="module")
def service(data_root: Path) -> Iterator[Service]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STILLHOUSE_TIMER_SECONDS", "0.1")
        with serving(data_root / "findings") as running:
            yield running


@pytest.fixture(scope="module")
def cluster(service: Service) -> str:
    cluster_id = service.create_cluster("findings", 1)
    with service.log_in(cluster_id) as connection:
        connection.execute(
            f"CREATE TABLE kept AS SELECT g AS id, md5(g::text) AS pad FROM generate_series(1, {ROWS}) g"
        )
        connection.execute("CREATE TABLE changed (id int)")
    return cluster_id


class Bucket:
    """The service's repository, looked at from outside."""

    def __init__(self, service: Service, cluster: str) -> None:
        self.place = service.data / "repository"
        self.store: ObjectStore = open_store(str(self.place))
        self.keys: ClusterKeys = open_keys(self.store, read_kek(service.data / "kek"), cluster)
        self.cluster = cluster

    def node(self, snapshot: str) -> RootNode:
        root = roots.read(self.store, self.keys, snapshot)
        assert root is not None
        return root.nodes[0]

    def lines(self, snapshot: str) -> list[Line]:
        return list(manifest.read(self.store, self.keys, self.node(snapshot).stored))

    def place_of(self, snapshot: str, path: str) -> tuple[str, str, int]:
        """The keys of the map and the pack of a relation's first page, and an offset within its frame there."""
        lines = self.lines(snapshot)
        line = next(one for one in lines if one["t"] == "file" and one["path"] == path)
        named = next(one for one in lines if one["t"] == "map" and one["id"] == line["map"])
        loaded = maps.load(self.store, self.keys, Stored(named["id"], named["size"], named["hash"]))
        entry = loaded.entries[line["entry"]]
        assert isinstance(entry, PagesEntry)
        ref = loaded.ref(int(entry.frame[entry.frame != HOLE][0]))
        pack = layout.pack(self.cluster, ref.pack)
        (offset,) = [
            frame.offset
            for frame in open_bytes(pack, self.keys, self.store.get(pack)).frames
            if frame.ordinal == ref.ordinal
        ]
        return layout.map_(self.cluster, line["map"]), pack, offset

    def packs(self, snapshot: str) -> set[str]:
        return {layout.pack(self.cluster, line["id"]) for line in self.lines(snapshot) if line["t"] == "pack"}

    def spoil(self, key: str, at: int = 100) -> bytes:
        """Flip a bit; what was there before."""
        before = self.store.get(key)
        self.store.put(key, [before[:at] + bytes([before[at] ^ 1]) + before[at + 1 :]])
        return before

    def verify(self) -> int:
        done = subprocess.run(
            [*COMMAND, "repo", "verify", "--repository", self.place, "--kek-file", self.place.parent / "kek"],
            capture_output=True,
            check=False,
            timeout=120,
        )
        return done.returncode

    @property
    def known(self) -> frozenset[str]:
        return findings.read(self.store, self.keys).keys


@pytest.fixture(scope="module")
def first(service: Service, cluster: str) -> str:
    snapshot = service.request_snapshot(cluster, "first")
    assert service.ended(snapshot) == "AVAILABLE"
    return snapshot


@pytest.fixture
def bucket(service: Service, cluster: str, first: str) -> Bucket:
    return Bucket(service, cluster)


def path_of(service: Service, cluster: str, table: str) -> str:
    with service.log_in(cluster) as connection:
        ((path,),) = connection.execute("SELECT pg_relation_filepath(%s)", [table]).fetchall()
    return str(path)


def rows(service: Service, cluster: str) -> list[Any]:
    with service.log_in(cluster) as connection:
        return connection.execute(SUM).fetchall()


def change(service: Service, cluster: str) -> None:
    with service.log_in(cluster) as connection:
        connection.execute("INSERT INTO changed SELECT generate_series(1, 1000)")


def snapshot_of(service: Service, cluster: str, name: str) -> str:
    change(service, cluster)
    made = service.request_snapshot(cluster, name)
    assert service.ended(made) == "AVAILABLE", service.reason(made)
    return made


def comes_back(service: Service, snapshot: str, name: str) -> list[Any]:
    clone = service.restore(snapshot, name)
    assert service.settled(clone)["status"] == "AVAILABLE", service.cluster(clone)
    found = rows(service, clone)
    service.delete_cluster(clone)
    return found


def shows(service: Service, snapshot: str, status: str) -> None:
    service.until(f"{snapshot} to be {status}", lambda: service.snapshot(snapshot)["status"] == status, 30)


def test_damage_that_a_verification_found_is_healed_by_the_next_snapshot(
    service: Service, cluster: str, first: str, bucket: Bucket
) -> None:
    """Before, the next snapshot built on it, said AVAILABLE, and could not be restored."""
    path = path_of(service, cluster, "kept")
    _, pack, at = bucket.place_of(first, path)
    right = bucket.spoil(pack, at)
    assert bucket.verify() == 3 and bucket.known == {pack}
    shows(service, first, "UNAVAILABLE")
    told = service.call("GET", f"/stillhouse/v1/{{p}}/snapshots/{first}/damage").json["damage"]
    (node,) = told["nodes"]
    assert path in {file["path"] for file in node["files"]} and all(
        file["blocks"] or file["bytes"] for file in node["files"]
    )

    second = snapshot_of(service, cluster, "second")
    assert pack not in bucket.packs(second)
    assert bucket.node(second).base == bucket.node(first).manifest, "the rest is still the base's"
    assert comes_back(service, second, "of-second") == rows(service, cluster)
    assert service.snapshot(second)["status"] == "AVAILABLE"

    bucket.store.put(pack, [right])
    assert bucket.verify() == 0 and bucket.known == frozenset()
    shows(service, first, "AVAILABLE")
    assert service.call("GET", f"/stillhouse/v1/{{p}}/snapshots/{first}/damage").json == {"damage": None}


def test_damage_that_a_restore_meets_is_known_and_costed_by_itself(
    service: Service, cluster: str, first: str, bucket: Bucket
) -> None:
    _, pack, at = bucket.place_of(first, path_of(service, cluster, "kept"))
    right = bucket.spoil(pack, at)
    clone = service.restore(first, "of-first")
    assert service.settled(clone)["status"] == "CREATE_FAILED"
    assert pack in service.cluster(clone)["failed_reasons"]["error_msg"]
    assert pack in bucket.known
    shows(service, first, "UNAVAILABLE")
    service.delete_cluster(clone)
    bucket.store.put(pack, [right])
    assert bucket.verify() == 0
    shows(service, first, "AVAILABLE")


@pytest.mark.parametrize("what", ["map", "manifest"])
def test_damage_that_a_capture_meets_costs_an_attempt_and_no_snapshot(
    service: Service, cluster: str, bucket: Bucket, what: str
) -> None:
    last = snapshot_of(service, cluster, f"before-{what}")
    path = path_of(service, cluster, "changed")
    key = bucket.place_of(last, path)[0]
    if what == "manifest":
        key = layout.manifest(cluster, bucket.node(last).manifest)
    right = bucket.store.get(key)
    bucket.store.delete(key)
    made = snapshot_of(service, cluster, f"after-{what}")
    assert service.attempts(made) == 2
    assert key in bucket.known
    if what == "map":
        assert comes_back(service, made, f"of-{what}") == rows(service, cluster)
    bucket.store.put(key, [right])
    assert bucket.verify() == 0


def test_a_pack_that_is_gone_costs_an_attempt_and_no_snapshot(
    service: Service, cluster: str, bucket: Bucket
) -> None:
    """The capture reads nothing of it: only publishing notices that it is gone."""
    last = snapshot_of(service, cluster, "before-pack")
    _, pack, _ = bucket.place_of(last, path_of(service, cluster, "kept"))
    right = bucket.store.get(pack)
    bucket.store.delete(pack)
    made = snapshot_of(service, cluster, "after-pack")
    assert service.attempts(made) == 2 and pack in bucket.known
    assert pack not in bucket.packs(made)
    assert comes_back(service, made, "of-pack") == rows(service, cluster)
    bucket.store.put(pack, [right])
    assert bucket.verify() == 0


def test_a_lost_root_costs_its_snapshot_and_no_other(service: Service, cluster: str, bucket: Bucket) -> None:
    last = snapshot_of(service, cluster, "before-root")
    key = layout.root(cluster, last)
    right = bucket.spoil(key)
    made = snapshot_of(service, cluster, "after-root")
    assert key in bucket.known and bucket.node(made).base is None
    shows(service, last, "UNAVAILABLE")
    bucket.store.put(key, [right])
    assert bucket.verify() == 0
    shows(service, last, "AVAILABLE")
