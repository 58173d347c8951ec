"""The readers by which a tortured server is captured: in its directory, or as somebody's, by connections alone."""

from enum import StrEnum
from pathlib import Path

from stillhouse.domain.cluster import Cluster
from stillhouse.postgres.host import server
from stillhouse.warehouse.cluster.embedded import Site
from support.servers.registered import let_in, registered


class Reader(StrEnum):
    LOCAL = "local"
    REMOTE = "remote"


class Subject:
    """One server. `own` is the way in for the work on it, `captured` the way in for its captures."""

    def __init__(self, site: Site, own: Cluster, reader: Reader, place: Path) -> None:
        self._site, self.own = site, own
        self._is_remote = reader is Reader.REMOTE
        self.captured = registered(own, place) if self._is_remote else own

    def start(self) -> None:
        server.start(self._site.binaries, self.own.coordinator)
        if self._is_remote:
            let_in(self.own.coordinator)
