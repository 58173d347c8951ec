"""This host as the place of all clusters: its size, and the one zone and node type that it offers."""

from dataclasses import dataclass

# The one availability zone, and the one node type. Clients send both names back to us.
ZONE = "local"
NODE_TYPE = "stillhouse.host"


@dataclass(frozen=True)
class Host:
    """The host's size. `machine` is the processor's architecture as the kernel names it. The disk holds our data."""

    machine: str
    cores: int
    memory_bytes: int
    disk_bytes: int
    disk_used_bytes: int
