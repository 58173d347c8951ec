"""This host as a place for clusters: the one kind of node there is."""

from dataclasses import dataclass

# The one availability zone, and the one node type. Both are names that clients hand back to us.
ZONE = "local"
NODE_TYPE = "stillhouse.host"


@dataclass(frozen=True)
class Host:
    """`machine` is the processor's architecture as the kernel names it; disk sizes are those below the data."""

    machine: str
    cores: int
    memory_bytes: int
    disk_bytes: int
    disk_used_bytes: int
