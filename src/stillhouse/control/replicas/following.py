"""What a replica that follows knows of the host that leads, as the catalog told it last.

Clusters are made on that host, and their servers' addresses are good there alone. So a replica on another host answers
by its news where a single service would look for itself.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from stillhouse.domain.reports.capacity import Host


@dataclass(frozen=True)
class Told:
    """The news. `silent` has the reason of each node that does not answer; `addresses` the name of each cluster that is
    reached from other hosts; `disk_use` the bytes of each project's clusters, where projects have a quota of them.
    """

    host: Host
    silent: Mapping[str, str]
    addresses: Mapping[str, str]
    disk_use: Mapping[str, int]

    def to_document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of_document(cls, document: dict[str, Any]) -> Self:
        return cls(**{**document, "host": Host(**document["host"])})


class Following:
    """For any thread. `told` is `None` in a process that leads, or is alone; `leader` is "" while nobody leads."""

    def __init__(self) -> None:
        self.told: Told | None = None
        self.leader = ""

    def hear(self, told: Told, leader: str) -> None:
        self.told, self.leader = told, leader

    def end(self) -> None:
        """From now on this process leads."""
        self.told = None
