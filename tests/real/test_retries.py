"""An attempt that failed leaves parts, which serve the next one as a base: under the rules of any base."""

import pytest

from stillhouse.domain.cluster import Cluster, Node
from stillhouse.errors import CaptureInterrupted
from stillhouse.node.capture import pack_writer
from stillhouse.repository.format import manifest
from stillhouse.warehouse.cluster.embedded import Site
from support.servers.warehouses import rows
from support.snapshots.captures import Moments, Shot, Vault, capture_cluster, restored_cluster
from support.snapshots.cuts import ask, superuser, tell

pytest_plugins = ["support.snapshots.capture_fixtures"]
pytestmark = pytest.mark.usefixtures("captures_leave_nothing")

SUM = "SELECT count(*), sum(n) FROM public.grown"
KILL = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name LIKE 'stillhouse %_1'"


@pytest.fixture
def grown(node: Node) -> None:
    with superuser(node) as connection:
        tell(connection, "DROP TABLE IF EXISTS public.grown")
        tell(
            connection,
            "CREATE TABLE public.grown AS SELECT n, repeat('x', 200) FROM generate_series(1, 60000) n",
        )


def broken(node: Node) -> Moments:
    """The session is lost when all is copied."""

    def lose_it() -> None:
        assert rows(node, KILL)

    return Moments(ready=lose_it)


def fail_when(house: Cluster, vault: Vault, moments: Moments, *, part_bytes: int = 10 << 30) -> Moments:
    with pytest.raises(CaptureInterrupted):
        capture_cluster(house, vault, moments, part_bytes=part_bytes)
    return moments


def change(node: Node) -> None:
    with superuser(node) as connection:
        tell(connection, "UPDATE public.grown SET n = -n WHERE n % 1000 = 7")
        tell(connection, "DELETE FROM public.grown WHERE n > 50000")
        tell(connection, "VACUUM public.grown")


def assert_like_now(site: Site, house: Cluster, node: Node, shot: Shot, vault: Vault) -> None:
    expected = rows(node, SUM)
    with restored_cluster(site, house, shot, vault) as clone:
        assert rows(clone.cluster.coordinator, SUM) == expected


@pytest.mark.usefixtures("grown")
def test_what_a_broken_session_left_is_not_copied_again(
    site: Site, house: Cluster, node: Node, vault: Vault
) -> None:
    failed = fail_when(house, vault, broken(node))
    assert len(failed.parts) == 1
    change(node)
    shot = capture_cluster(house, vault, parts=failed.parts)
    captured = shot.captured["cn"]
    assert captured.base is None, "a part is no published base"
    assert captured.files["kept"] > captured.files.get("pages", 0) > 0
    assert captured.packed_bytes < captured.plain_bytes / 2
    assert_like_now(site, house, node, shot, vault)


def test_a_part_says_how_far_the_wal_had_come_and_the_node_bears_a_mark_of_that(
    house: Cluster, node: Node, vault: Vault
) -> None:
    """Its start says nothing of how young its pages are: storage may be set back to a moment in between."""

    def lose_it() -> None:
        with superuser(node) as connection:
            tell(connection, "SELECT pg_logical_emit_message(true, 'test', 'x', true)")
            lsns.extend(ask(connection, "SELECT pg_current_wal_flush_lsn() - '0/0'::pg_lsn"))
        broken(node).ready()

    lsns: list[tuple[int]] = []
    failed = fail_when(house, vault, Moments(ready=lose_it))
    head = manifest.head_of(manifest.read(vault.store, vault.keys, failed.parts[0]))
    ((mark,),) = rows(node, "SELECT lsn - '0/0'::pg_lsn FROM stillhouse.lineage")
    assert head["start_lsn"] < lsns[0][0] <= head["reached"] <= mark


@pytest.mark.usefixtures("grown")
def test_parts_are_saved_while_the_copy_runs(
    site: Site, house: Cluster, node: Node, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker killed by force has no last word: what it saved before counts, and nothing else."""
    monkeypatch.setattr(pack_writer, "PACK_BYTES", 1 << 20)
    monkeypatch.setattr("stillhouse.node.capture.deferred_writes._MAP_BYTES", 1 << 10)
    monkeypatch.setattr("stillhouse.node.capture.partial_base.Parts.save_what_is_lost", lambda *_: None)
    failed = fail_when(house, vault, broken(node), part_bytes=8 << 20)
    assert len(failed.parts) > 1
    change(node)
    shot = capture_cluster(house, vault, parts=failed.parts)
    assert shot.captured["cn"].files["kept"] > 0
    assert_like_now(site, house, node, shot, vault)


@pytest.mark.usefixtures("grown")
def test_parts_lie_over_the_published_base(site: Site, house: Cluster, node: Node, vault: Vault) -> None:
    base = capture_cluster(house, vault)
    change(node)
    failed = broken(node)
    with pytest.raises(CaptureInterrupted):
        capture_cluster(house, vault, failed, base=base)
    with superuser(node) as connection:
        tell(connection, "INSERT INTO public.grown SELECT n FROM generate_series(1, 3000) n")
    shot = capture_cluster(house, vault, base=base, parts=failed.parts)
    captured = shot.captured["cn"]
    assert captured.base == base.captured["cn"].manifest.id
    assert_like_now(site, house, node, shot, vault)
