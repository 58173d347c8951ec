"""An incremental capture costs what changed, not what is there: bytes read, pages stored, calls of the store."""

from dataclasses import dataclass

import pytest

from stillhouse.domain.cluster import Cluster, Node
from stillhouse.warehouse.cluster.embedded import Site
from support.servers.warehouses import rows
from support.snapshots.captures import Vault, capture_cluster, restored_cluster
from support.snapshots.cuts import superuser, tell
from support.stores.counting import Counting

pytest_plugins = ["support.snapshots.capture_fixtures"]
pytestmark = pytest.mark.usefixtures("captures_leave_nothing")

PAGES = 2000  # of the smallest table
CHANGED = 100


@dataclass(frozen=True)
class Cost:
    live_bytes: int
    read_bytes: int
    pages_stored: int
    calls: int


def cost(house: Cluster, node: Node, vault: Vault, times: int) -> Cost:
    """Of a capture after one row changed on each of CHANGED pages of a table of `times` PAGES pages."""
    with superuser(node) as connection:
        tell(connection, "DROP TABLE IF EXISTS public.sized")
        tell(connection, "CREATE TABLE public.sized (page int, row int, filler text) WITH (fillfactor = 50)")
        tell(
            connection,
            f"INSERT INTO public.sized SELECT p, r, repeat('x', 1000) FROM generate_series(1, {PAGES * times}) p,"
            " generate_series(1, 3) r",
        )
        tell(connection, "VACUUM (FREEZE) public.sized")
        base = capture_cluster(house, vault)
        every = PAGES * times // CHANGED
        tell(connection, f"UPDATE public.sized SET filler = 'y' WHERE page % {every} = 0 AND row = 1")
    counting = Counting(vault.store)
    captured = capture_cluster(house, Vault(counting, vault.keys), base=base).captured["cn"]
    return Cost(captured.plain_bytes, captured.read_bytes, captured.pages_stored, counting.calls.total())


def test_the_same_change_costs_the_same_on_a_cluster_four_times_larger(
    house: Cluster, node: Node, vault: Vault
) -> None:
    small, large = cost(house, node, vault, 1), cost(house, node, vault, 8)
    assert large.live_bytes > small.live_bytes + 7 * PAGES * 8192
    assert CHANGED <= small.pages_stored < CHANGED * 1.5
    assert large.pages_stored <= small.pages_stored * 1.1
    assert large.read_bytes <= small.read_bytes * 1.1
    assert large.calls <= small.calls + 2


def test_without_a_change_next_to_nothing_is_stored(house: Cluster, node: Node, vault: Vault) -> None:
    base = capture_cluster(house, vault)
    captured = capture_cluster(house, vault, base=base).captured["cn"]
    assert captured.files.keys() <= {"kept", "same", "whole"}
    assert captured.pages_stored < 20, "the mark's own page, and what a checkpoint writes"
    assert captured.stored_bytes < 200_000


def test_a_capture_that_reads_everything_stores_what_changed_and_comes_back(
    site: Site, house: Cluster, node: Node, vault: Vault
) -> None:
    with superuser(node) as connection:
        tell(connection, "CREATE TABLE public.again AS SELECT i FROM generate_series(1, 300000) i")
        tell(connection, "VACUUM (FREEZE) public.again")  # else the UPDATE sets hints on all pages
        base = capture_cluster(house, vault)
        tell(connection, "UPDATE public.again SET i = -i WHERE i % 20000 = 0")
    shot = capture_cluster(house, vault, base=base, reads_all=True)
    captured = shot.captured["cn"]
    assert captured.base == base.captured["cn"].manifest.id
    assert captured.read_bytes >= 0.99 * captured.plain_bytes - shot.captured["cn"].wal_bytes
    assert captured.pages_stored < 300, "the rows' pages, catalogs, and what a checkpoint writes"
    with restored_cluster(site, house, shot, vault) as clone:
        sums = "SELECT count(*), sum(i), sum(abs(i)) FROM public.again"
        assert rows(clone.cluster.coordinator, sums) == rows(node, sums)
