"""Two services on one catalog, each with a data directory of its own on this host."""

from pathlib import Path
from typing import Any

import httpx

from support.processes.service import PROJECT, Service
from support.servers.catalog_server import CatalogServer

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
