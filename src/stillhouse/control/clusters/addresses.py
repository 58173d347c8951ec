"""The addresses and ports at which clients reach the clusters that are made here."""

from collections.abc import Iterable
from dataclasses import replace
from functools import cache

from stillhouse.catalog import clusters
from stillhouse.catalog.schema.database import Transaction
from stillhouse.config import Settings
from stillhouse.control.context import Control
from stillhouse.domain import names
from stillhouse.domain.cluster import Cluster, Provider, Role
from stillhouse.errors import InvalidInput
from stillhouse.postgres.host import server
from stillhouse.postgres.host.outside import Outside, outside_at

_LAST_PORT = 30000


@cache
def outside_of(settings: Settings) -> Outside | None:
    """Return where clusters are reached from other hosts. Raises InvalidInput.

    The address is looked up once: servers go on listening where they did when the service started.
    """
    return outside_at(
        settings.listen_clusters, settings.tls_cert, settings.tls_key, insecure=settings.insecure
    )


def as_reached(control: Control, cluster: Cluster) -> Cluster:
    """Return the cluster with its coordinator's address for clients on other hosts, if its server listens there.

    A server that was started before the service was told to listen there does so from its next restart on.
    """
    if (told := control.following.told) is not None:
        name = told.addresses.get(cluster.id)
        return cluster if name is None or not cluster.nodes else _reached_at(cluster, name)
    if not control.settings.listen_clusters or cluster.provider is not Provider.EMBEDDED or not cluster.nodes:
        return cluster
    outside = outside_of(control.settings)
    if outside is None or outside.address not in server.listens_on(cluster.coordinator):
        return cluster
    return _reached_at(cluster, outside.name)


def _reached_at(cluster: Cluster, host: str) -> Cluster:
    nodes = tuple(replace(node, host=host) if node.role is Role.CN else node for node in cluster.nodes)
    return replace(cluster, nodes=nodes)


def default_port(control: Control) -> int:
    """Return the port for a request without one: the usual port, or the first that is free outside."""
    if not control.settings.listen_clusters:
        return names.DEFAULT_PORT
    with control.database.reading() as reading:
        taken = _ports(reading)
    return next(port for port in range(names.DEFAULT_PORT, _LAST_PORT + 1) if port not in taken)


def check_port_is_free(transaction: Transaction, settings: Settings, port: int) -> None:
    """Raise InvalidInput if another cluster has the port on the address where both would listen."""
    if settings.listen_clusters and port in _ports(transaction):
        raise InvalidInput(
            f"another cluster listens on port {port} of {settings.listen_clusters}",
            hint="choose another port, or name none to get a free one",
        )


def sharing_ports(found: Iterable[Cluster]) -> list[tuple[int, list[str]]]:
    """Return the ports that several clusters have, with their names. Outside, where they have one address, one of them
    listens alone: they were made before the service was told to listen there.
    """
    by_port: dict[int, list[str]] = {}
    for one in found:
        if one.provider is Provider.EMBEDDED:
            by_port.setdefault(one.port, []).append(one.name)
    return [(port, names_) for port, names_ in sorted(by_port.items()) if len(names_) > 1]


def _ports(reading: Transaction) -> set[int]:
    return {one.port for one in clusters.all_clusters(reading) if one.provider is Provider.EMBEDDED}
