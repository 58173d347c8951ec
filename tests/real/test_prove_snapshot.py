"""A snapshot is proved, refuted or neither; whichever it is, nothing of the proof stays behind."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stillhouse.domain.object_kinds import Type
from stillhouse.postgres.sessions import session
from stillhouse.repository.format import cipher_keys, layout, manifest
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.root import Root
from stillhouse.repository.format.sealed import seal
from stillhouse.repository.objects import roots
from stillhouse.storage.open import open_store
from stillhouse.storage.store import ObjectStore
from support.processes.service import Service, serving
from support.repositories.crafted_lines import Line
from support.servers.warehouses import servers_below

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("service proofs")]


@pytest.fixture(scope="module")
def service(data_root: Path) -> Iterator[Service]:
    with serving(data_root / "proofs") as running:
        yield running


@pytest.fixture(scope="module")
def cluster(service: Service) -> str:
    """A single server with two tables of the same shape, and more."""
    cluster_id = service.create_cluster("proved", 1)
    (node,) = service.nodes(cluster_id)
    with closing(session.connect(node, "postgres")) as connection:
        connection.execute("ALTER SYSTEM SET autovacuum = off")
        connection.execute("SELECT pg_reload_conf()")
    with service.log_in(cluster_id) as connection:
        connection.execute("CREATE TABLE left_hand AS SELECT g AS id FROM generate_series(1, 100) g")
        connection.execute("CREATE TABLE right_hand AS SELECT g AS id FROM generate_series(101, 200) g")
        connection.execute("CREATE TABLE indexed (id int PRIMARY KEY, pad text)")
        connection.execute(
            "INSERT INTO indexed SELECT g, repeat(md5(g::text), 200) FROM generate_series(1, 500) g"
        )
    return cluster_id


@pytest.fixture(scope="module")
def snapshot(service: Service, cluster: str) -> str:
    snapshot_id = service.request_snapshot(cluster, "to-be-proved")
    assert service.ended(snapshot_id) == "AVAILABLE"
    return snapshot_id


@pytest.fixture(autouse=True)
def nothing_left_behind(service: Service) -> Iterator[None]:
    yield
    assert servers_below(service.data / "scratch") == []
    assert [*(service.data / "scratch" / "clusters").glob("*-*")] == []
    assert [*(service.data / "scratch" / "run").iterdir()] == []


def prove(service: Service, snapshot: str) -> None:
    answer = service.call("POST", f"/stillhouse/v1/{{p}}/snapshots/{snapshot}/prove")
    assert (answer.status, answer.json["proof"]["state"]) == (202, "RUNNING"), answer.raw


def proof(service: Service, snapshot: str) -> Any:
    return service.call("GET", f"/stillhouse/v1/{{p}}/snapshots/{snapshot}/proof").json["proof"]


def proved(service: Service, snapshot: str) -> dict[str, Any]:
    prove(service, snapshot)
    return ended(service, snapshot)


def ended(service: Service, snapshot: str) -> dict[str, Any]:
    found: dict[str, Any] = service.until(
        "the proof to end", lambda: (one := proof(service, snapshot))["state"] != "RUNNING" and one
    )
    return found


def test_a_good_snapshot_is_proved_and_cannot_be_deleted_meanwhile(
    service: Service, cluster: str, snapshot: str
) -> None:
    assert proof(service, snapshot) is None
    prove(service, snapshot)
    assert service.call("DELETE", f"/v1.0/{{p}}/snapshots/{snapshot}").error_code == "DWS.7023"
    assert service.call("POST", f"/stillhouse/v1/{{p}}/snapshots/{snapshot}/prove").error_code == "DWS.7023"
    kept = {"keep_last_manual_snapshot": 0}
    assert service.call("DELETE", f"/v1.0/{{p}}/clusters/{cluster}", kept).error_code == "DWS.0011"
    # Neither the cluster nor DWS's words for it know of the proof, and another snapshot can be taken.
    (shown,) = service.call("GET", f"/v1.0/{{p}}/clusters/{cluster}/snapshots").json["snapshots"]
    assert (shown["status"], service.cluster(cluster)["task_status"]) == ("AVAILABLE", None)
    beside = service.request_snapshot(cluster, "beside")
    assert service.ended(beside) == "AVAILABLE"
    assert service.call("DELETE", f"/v1.0/{{p}}/snapshots/{beside}").status == 202

    found = ended(service, snapshot)
    assert found["state"] == "PROVED", found
    assert (found["findings"], found["left_out"], found["notes"]) == ([], [], [])
    assert (found["tables"], found["rows"]) == (found["tables_total"], found["rows_total"]) == (7, 700)
    assert (found["rows_share"], found["unchecked"]) == (1.0, [])
    assert 500 < found["pages"] <= found["pages_total"] and 0.9 < found["pages_share"] <= 1.0
    assert found["requested_by"] == service.client().access_key
    assert found["ended"] and found["seconds"] > 0 and found["progress"] == "100%"
    outcomes = service.rows("SELECT outcome FROM sh_audit WHERE action = 'ProveSnapshot' ORDER BY id")
    assert [outcome for (outcome,) in outcomes] == ["accepted", "state.forbids", "proved"]


class Forger:
    """Who holds the KEK, and writes other manifests into the repository."""

    def __init__(self, service: Service, cluster: str, snapshot: str) -> None:
        self.store: ObjectStore = open_store(str(service.data / "repository"))
        kek, _ = cipher_keys.load_or_create_kek(service.data / "kek")
        self.keys: ClusterKeys = cipher_keys.open_keys(self.store, kek, cluster)
        self.snapshot = snapshot
        root = roots.read(self.store, self.keys, snapshot)
        assert root is not None
        self.root = root

    def lines(self) -> list[Line]:
        return list(manifest.read(self.store, self.keys, self.root.nodes[0].stored))

    def replace_manifest(self, lines: list[Line]) -> None:
        writer = manifest.ManifestWriter()
        try:
            stored = writer.store(self.store, self.keys, lines[:-1], lambda line: False)
        finally:
            writer.close()
        node = self.root.nodes[0]
        node = replace(node, manifest=stored.id, size=stored.size, hash=stored.hash)
        self.replace_root(replace(self.root, nodes=(node,)))

    def replace_root(self, root: Root) -> None:
        key = layout.root(str(self.keys.cluster), self.snapshot)
        self.store.put(key, seal(self.keys, Type.ROOT, self.snapshot, roots._encode(root.to_json())))


@pytest.fixture
def forger(service: Service, cluster: str, snapshot: str) -> Iterator[Forger]:
    forging = Forger(service, cluster, snapshot)
    yield forging
    forging.replace_root(forging.root)


def test_what_does_not_hold_refutes_and_names_the_tables(
    service: Service, cluster: str, snapshot: str, forger: Forger
) -> None:
    """Two tables have each other's pages, and one a fingerprint of something else. Everything in the repository opens,
    and every checksum is right: a page knows its number, not its table."""
    with service.log_in(cluster) as connection:
        paths = {
            str(path)
            for (path,) in connection.execute(
                "SELECT pg_relation_filepath(name::regclass) FROM (VALUES ('left_hand'), ('right_hand')) t (name)"
            ).fetchall()
        }
    lines = forger.lines()
    one, other = (line for line in lines if line["t"] == "file" and line["path"] in paths)
    assert (one["map"], one["size"]) == (other["map"], other["size"])
    one["entry"], other["entry"] = other["entry"], one["entry"]
    (forged,) = (line for line in lines if line["t"] == "table" and line["name"] == "indexed")
    forged["digest"] = "1 2"
    forger.replace_manifest(lines)
    found = proved(service, snapshot)
    assert found["state"] == "REFUTED"
    assert sorted(found["findings"][:3]) == [
        "cn: gaussdb: public.indexed holds other rows",
        "cn: gaussdb: public.left_hand holds other rows",
        "cn: gaussdb: public.right_hand holds other rows",
    ]
    assert service.snapshot(snapshot)["status"] == "AVAILABLE"


@pytest.mark.parametrize("left", [[], ["pg_largeobject", "pg_largeobject_metadata"]])
def test_a_proof_that_compared_nothing_is_none(
    service: Service, snapshot: str, forger: Forger, left: list[str]
) -> None:
    """Every page and every index is in order, but nothing tells which data they should hold."""
    lines = []
    for line in forger.lines():
        if line["t"] == "table" and line["name"] not in left:
            if not left:
                continue
            line = {key: line[key] for key in line.keys() - {"rows", "digest"}} | {"left_out": "no time"}
        if line["t"] == "witness" and not left:
            line = {**line, "databases": [], "why": "it was never quiet"}
        lines.append(line)
    forger.replace_manifest(lines)
    found = proved(service, snapshot)
    assert (found["state"], found["findings"]) == ("FAILED", [])
    assert found["reason"].startswith("nothing was compared with the cut: cn: ")
    assert (found["rows"], found["rows_total"], found["rows_share"]) == (0, 700, 0.0)
    assert found["pages_share"] > 0.9 and found["tables_total"] - found["tables"] == 3


def test_a_repository_that_lacks_a_pack_refutes(service: Service, snapshot: str, forger: Forger) -> None:
    pack = next(line for line in forger.lines() if line["t"] == "pack")
    key = layout.pack(str(forger.keys.cluster), pack["id"])
    whole = forger.store.get(key)
    forger.store.delete(key)
    try:
        found = proved(service, snapshot)
    finally:
        forger.store.create(key, [whole])
    assert found["state"] == "REFUTED"
    assert found["findings"][0].startswith("the repository: ")


def test_a_proof_without_room_fails_and_writes_nothing(
    service: Service, snapshot: str, forger: Forger
) -> None:
    node = replace(forger.root.nodes[0], plain_bytes=1 << 60)
    forger.replace_root(replace(forger.root, nodes=(node,)))
    found = proved(service, snapshot)
    assert found["state"] == "FAILED"
    assert "bytes free" in found["reason"] and found["findings"] == []


def test_a_killed_service_clears_up_and_begins_again_and_a_stopped_one_leaves_no_clone(
    service: Service, snapshot: str
) -> None:
    scratch = service.data / "scratch"
    prove(service, snapshot)
    service.until("a clone to run", lambda: servers_below(scratch))
    service.kill()
    left = servers_below(scratch)
    assert left != []
    service.start()
    service.until("another clone to run", lambda: {*servers_below(scratch)} - {*left})
    assert service.stop() == 0
