"""Two services on one catalog, each with a data directory of its own on this host."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.processes.service import PROJECT, Service
from support.servers.catalog_server import CatalogServer, restartable_catalog_server

OTHER = "1a1b2c3d4e5f60718293a4b5c6d7e8f9"
LEADS = "this replica leads now"


class Pair:
    """Two services with a directory each, one catalog and one repository. The first led at the beginning."""

    def __init__(self, root: Path, server: CatalogServer, sources: Path | None = None) -> None:
        self.server = server
        self.one, self.two = (Service(root / name, sources) for name in ("one", "two"))
        for each in (self.one, self.two):
            each.data.mkdir(mode=0o755)
            each.catalog = server.url

    def start(self) -> None:
        self.one.start()
        (self.two.data / "kek").write_bytes((self.one.data / "kek").read_bytes())
        self.two.start()
        for project in (PROJECT, OTHER):
            self.two.use_key(self.one.client(project))

    @property
    def leader(self) -> Service:
        return next(each for each in (self.one, self.two) if each.is_alive and not follows(each))

    @property
    def follower(self) -> Service:
        return next(each for each in (self.one, self.two) if each.is_alive and follows(each))

    def remove(self) -> None:
        self.two.remove()
        self.one.remove()


def settings_of(root: Path) -> dict[str, str]:
    """The settings of replicas whose repository is a directory below `root`."""
    return {
        "STILLHOUSE_REPLICA": "true",
        "STILLHOUSE_REPOSITORY": str(root / "repository"),
        "STILLHOUSE_CATALOG_CONNECTIONS": "12",
    }


@contextmanager
def replica_pair(root: Path, sources: Path | None = None, **settings: str) -> Iterator[Pair]:
    """Start a pair whose servers outlive it, with these settings more. `sources` are those of another version."""
    root.mkdir(mode=0o755)
    given = settings_of(root) | {"STILLHOUSE_STOP_CLUSTERS": "false"} | settings
    with pytest.MonkeyPatch.context() as patch, restartable_catalog_server() as server:
        for name, value in given.items():
            patch.setenv(name, value)
        pair = Pair(root, server, sources)
        try:
            pair.start()
            yield pair
        finally:
            pair.remove()


def checks(service: Service) -> dict[str, Any]:
    told: dict[str, Any] = httpx.get(f"{service.url}/readyz", timeout=60).json()["checks"]
    return told


def follows(service: Service) -> bool:
    return "leader" in checks(service)


def told(service: Service, words: str) -> int:
    return service.log.read_text().count(words)


def taken_once(service: Service, snapshot: str) -> None:
    assert service.ended(snapshot) == "AVAILABLE", service.reason(snapshot)
    ((operations,),) = service.rows(
        "SELECT count(*) FROM sh_operations WHERE subject_id = ? AND kind = 'SNAPSHOTTING'", snapshot
    )
    assert operations == 1
