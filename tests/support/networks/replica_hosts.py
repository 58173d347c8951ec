"""Two replicas on hosts of their own, with the catalog's server on a third: `namespaces` are the hosts."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.networks.namespaces import SUBNET, Host, network
from support.processes.replica_pair import checks, settings_of
from support.processes.service import Service
from support.servers.catalog_server import Listening, restartable_catalog_server

_CATALOG, _NAMES, _PORT = "catalog", ("one", "two"), 5432


class ReplicaHosts:
    """The services answer on their host's loopback address, so each is asked from there."""

    def __init__(self, root: Path, hosts: dict[str, Host], catalog: str) -> None:
        self._hosts = hosts
        self._services = {name: Service(root / name) for name in _NAMES}
        for service in self._services.values():
            service.data.mkdir(mode=0o755)
            service.catalog = catalog

    def host_of(self, service: Service) -> Host:
        return next(self._hosts[name] for name, one in self._services.items() if one is service)

    def start(self, service: Service) -> None:
        with self.host_of(service).entered():
            service.start()

    def start_both(self) -> None:
        one, two = self._services.values()
        self.start(one)
        (two.data / "kek").write_bytes((one.data / "kek").read_bytes())
        self.start(two)

    @property
    def leader(self) -> Service:
        return next(one for one in self._services.values() if one.is_alive and self.is_leading(one))

    @property
    def follower(self) -> Service:
        return next(one for one in self._services.values() if one.is_alive and not self.is_leading(one))

    def is_leading(self, service: Service) -> bool:
        return "leader" not in self._checks(service)

    def hears(self, service: Service) -> bool:
        """Tell whether a replica that follows is in touch with the catalog."""
        return bool(self._checks(service)["catalog"]["ready"])

    def remove(self) -> None:
        for service in self._services.values():
            with self.host_of(service).entered():
                service.remove()

    def _checks(self, service: Service) -> dict[str, Any]:
        with self.host_of(service).entered():
            return checks(service)


@contextmanager
def replica_hosts(root: Path) -> Iterator[ReplicaHosts]:
    root.mkdir(mode=0o755)
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in settings_of(root).items():
            patch.setenv(name, value)
        hosts = stack.enter_context(network([_CATALOG, *_NAMES]))
        there = hosts[_CATALOG]
        with there.entered():
            listening = Listening(there.address, f"{SUBNET}.0/24", _PORT)
            stack.enter_context(restartable_catalog_server(listening))
        catalog = f"postgresql://catalog@{there.address}:{_PORT}/postgres?sslmode=disable"
        pair = ReplicaHosts(root, hosts, catalog)
        stack.callback(pair.remove)
        pair.start_both()
        yield pair
