"""The seam of providers: who makes, starts, stops and removes the servers of a cluster that is at work."""

from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from typing import Protocol

from stillhouse.domain.cluster import Cluster, Node, Provider
from stillhouse.errors import NodeUnreachable
from stillhouse.postgres.sessions import session
from stillhouse.postgres.sessions.databases import MAINTENANCE
from stillhouse.postgres.sessions.session import Connection
from stillhouse.postgres.wal import lineage
from stillhouse.warehouse.cluster import embedded
from stillhouse.warehouse.cluster.abilities import Ability, check_able
from stillhouse.warehouse.cluster.embedded import Site
from stillhouse.warehouse.cluster.planned_nodes import has_plan

_REMEDY = f"run there, in its database postgres: {lineage.REMOVAL}"


class Servers(Protocol):
    """The servers of one cluster. An ability that the cluster's provider lacks raises StateForbids."""

    def have_at_work(self) -> None:
        """Return when all of them answer. Raises NodeUnreachable."""
        ...

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def restart(self) -> None: ...

    def remove(self) -> list[str]:
        """Remove everything of ours. If it is killed, the next call finishes it. Returns what is left, in words."""
        ...


def servers_of(site: Site, cluster: Cluster) -> Servers:
    """Return the servers of a cluster, in the hands of its provider. `site` is this host."""
    if cluster.provider is Provider.REGISTERED:
        return _Registered(cluster)
    return _Embedded(site, cluster)


@dataclass(frozen=True)
class _Embedded:
    """Servers that we have made on this host. Raises NodeUnreachable if this host has no files of theirs."""

    site: Site
    cluster: Cluster

    def have_at_work(self) -> None:
        embedded.start_all(self.site, self._nodes())

    def start(self) -> None:
        embedded.start_all(self.site, self._nodes())

    def stop(self) -> None:
        embedded.stop_all(self.site, self._nodes())

    def restart(self) -> None:
        embedded.restart(self.site, self._nodes())

    def remove(self) -> list[str]:
        embedded.destroy(self.site, self.cluster.id)
        return []

    def _nodes(self) -> tuple[Node, ...]:
        if not has_plan(self.site.clusters / self.cluster.id):
            raise NodeUnreachable(
                "this host has no files of the cluster's servers",
                hint="they were made on another host, or lost with their directory: restore the newest snapshot,"
                " then delete this cluster",
            )
        return self.cluster.nodes


@dataclass(frozen=True)
class _Registered:
    """Servers of somebody's. We only log in to them."""

    cluster: Cluster

    def have_at_work(self) -> None:
        for node in self.cluster.nodes:
            session.connect(node, MAINTENANCE, application_name="stillhouse life sign").close()

    def start(self) -> None:
        check_able(self.cluster, Ability.START)

    def stop(self) -> None:
        check_able(self.cluster, Ability.STOP)

    def restart(self) -> None:
        check_able(self.cluster, Ability.RESTART)

    def remove(self) -> list[str]:
        """Remove the mark of our snapshots from each server. A server that does not answer keeps it, which is told: a
        cluster must be forgotten even if its servers are gone for good.
        """
        return [told for node in self.cluster.nodes if (told := _remove_mark(node))]


def _remove_mark(node: Node) -> str:
    try:
        with session.refusing_as(NodeUnreachable, node), _asking(node) as connection:
            if lineage.remove(connection):
                return ""
    except NodeUnreachable as error:
        return f"{error.message}; it keeps our schema: {_REMEDY}"
    return f"node {node.name} has a schema stillhouse of another role; if that role was ours: {_REMEDY}"


def _asking(node: Node) -> AbstractContextManager[Connection]:
    return closing(session.connect(node, MAINTENANCE, application_name="stillhouse clusters"))
