"""The abilities of a provider of clusters, as data: a request that needs one that is lacking is refused by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from stillhouse.domain.cluster import Cluster, Provider
from stillhouse.errors import StateForbids


class Ability(StrEnum):
    """An ability, in words that complete 'Stillhouse cannot ...'."""

    RESTART = "restart its servers"
    STOP = "stop its servers"
    START = "start its servers"
    LOAD_TABLES = "restore tables into it"


@dataclass(frozen=True)
class Lack:
    """The reason that a provider lacks an ability, and the way to do the work all the same."""

    reason: str
    instead: str


_NOT_OURS = "its servers are somebody's, and Stillhouse has connections to them alone"
# Every ability that a provider lacks. It has all the others.
LACKS: Mapping[Provider, Mapping[Ability, Lack]] = {
    Provider.EMBEDDED: {},
    Provider.REGISTERED: {
        Ability.RESTART: Lack(_NOT_OURS, "restart them on their hosts"),
        Ability.STOP: Lack(_NOT_OURS, "stop them on their hosts"),
        Ability.START: Lack(_NOT_OURS, "start them on their hosts"),
        Ability.LOAD_TABLES: Lack(
            "the role that Stillhouse has there reads, and writes nothing",
            "restore the snapshot into a new cluster, and copy the tables from there with pg_dump",
        ),
    },
}


def check_able(cluster: Cluster, ability: Ability) -> None:
    """Raise StateForbids, with the reason and the way to do it all the same, if the cluster's provider cannot."""
    lack = LACKS[cluster.provider].get(ability)
    if lack is not None:
        raise StateForbids(
            f"cluster {cluster.id} is {cluster.provider}: Stillhouse cannot {ability}, because {lack.reason}",
            hint=lack.instead,
        )
