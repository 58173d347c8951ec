"""Fixtures for tests that need real servers: a place, PostgreSQL's programs, and warehouses on demand."""

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stillhouse.domain.cluster import Cluster
from stillhouse.domain.ids import is_uuid
from stillhouse.postgres.host.binaries import Binaries
from stillhouse.warehouse.cluster import embedded
from stillhouse.warehouse.cluster.embedded import Site
from support.servers import warehouses
from support.servers.warehouses import MakeWarehouse

# Services that tests start, in processes of their own too, take no snapshots unasked at two in the morning.
os.environ["STILLHOUSE_DEFAULT_POLICIES"] = "false"
# Nor do they leave servers behind.
os.environ["STILLHOUSE_STOP_CLUSTERS"] = "true"

# What holds in any case, however small a share of the long tier is taken.
_ALWAYS = {"test_predecessor.py"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of the long tier's files take the share LONG_SHARE, by LONG_SEED. CI has not the time for all in each run."""
    share = float(os.environ.get("LONG_SHARE", "1"))
    if share >= 1:
        return
    files = sorted({item.path for item in items if item.get_closest_marker("long")})
    draw = random.Random(os.environ["LONG_SEED"])
    left = {one for one in draw.sample(files, round(len(files) * (1 - share))) if one.name not in _ALWAYS}
    out = [item for item in items if item.path in left and item.get_closest_marker("long")]
    items[:] = [item for item in items if item not in set(out)]
    config.hook.pytest_deselected(items=out)


@pytest.fixture(scope="session")
def data_root() -> Iterator[Path]:
    """A data directory of this test process alone: short, and open to the servers' account."""
    root = Path(tempfile.mkdtemp(prefix="sh-", dir="/tmp"))
    root.chmod(0o755)
    yield root
    # What a failed test has left: a fixture or a test normally destroys its own.
    if (root / "clusters").exists():
        site = embedded.open_site(root)
        for cluster in site.clusters.iterdir():
            if is_uuid(cluster.name):
                embedded.destroy(site, cluster.name)
    shutil.rmtree(root)
    assert warehouses.servers_below(root) == []


@pytest.fixture(scope="session")
def site(data_root: Path) -> Site:
    """Where `stillhouse.warehouse.embedded` puts clusters.

    They share an account, which tests may act as; services that are started as programs give each its own.
    """
    return embedded.open_site(data_root, claim=lambda _: "")


@pytest.fixture(scope="session")
def binaries(site: Site) -> Binaries:
    return site.binaries


@pytest.fixture(scope="module")
def make_warehouse(site: Site) -> Iterator[MakeWarehouse]:
    """Warehouses that live as long as the module that asks for them."""
    made: list[Cluster] = []

    def make(number_of_node: int, name: str = "warehouse") -> tuple[Cluster, str]:
        made.append(warehouses.build(site, number_of_node, name))
        return made[-1], warehouses.PASSWORD

    yield make
    for cluster in made:
        embedded.destroy(site, cluster.id)
