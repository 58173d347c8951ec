"""A cluster's plan on this host: its nodes, existing or still to be made, in the file `nodes.json` of its directory."""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stillhouse import atomic_file
from stillhouse.domain.cluster import Node, Role
from stillhouse.errors import InternalError
from stillhouse.sealing import Sealer

_FILE = "nodes.json"


@dataclass(frozen=True)
class Plan:
    """`moved_from` is the uid that owned the files, while they are being given to the nodes' account."""

    nodes: tuple[Node, ...]
    moved_from: int | None = None


def has_plan(directory: Path) -> bool:
    """Tell whether the cluster is one of this host's."""
    return (directory / _FILE).exists()


def read_plan(directory: Path, sealer: Sealer) -> Plan | None:
    """The cluster's plan; None for a cluster that was never planned, or is destroyed.

    A node has no secret if it cannot be unsealed, because the data directory has another key now.
    """
    try:
        plan = json.loads((directory / _FILE).read_text())
    except FileNotFoundError:
        return None
    if isinstance(plan, list):  # the form from before nodes had accounts and secrets
        plan = {"nodes": plan}
    return Plan(tuple(_node(entry, sealer) for entry in plan["nodes"]), plan.get("moved_from"))


def write_plan(directory: Path, sealer: Sealer, plan: Plan) -> None:
    """Write the plan, whole or not at all. It is on disk on return."""
    content = {"nodes": [_entry(node, sealer) for node in plan.nodes], "moved_from": plan.moved_from}
    atomic_file.replace(directory / _FILE, json.dumps(content, indent=1).encode())


def _entry(node: Node, sealer: Sealer) -> dict[str, Any]:
    entry = asdict(node)
    secret = entry.pop("secret")
    return {**entry, "sealed_secret": sealer.seal(secret, _bound_to(node.id)) if secret else ""}


def _node(entry: dict[str, Any], sealer: Sealer) -> Node:
    sealed, secret = entry.pop("sealed_secret", ""), ""
    if sealed:
        with suppress(InternalError):
            secret = sealer.unseal(sealed, _bound_to(entry["id"]))
    return Node(**{**entry, "role": Role(entry["role"]), "secret": secret})


def _bound_to(node_id: str) -> str:
    return f"plan of node {node_id}"
