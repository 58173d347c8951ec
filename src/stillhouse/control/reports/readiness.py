"""Whether the service can do its work now: key, store, catalog, disk and nodes, with the reasons where it cannot.

Callers get the reasons without signing in, so the reasons hold no cluster, name or address of a tenant. The log names
the nodes that do not answer, and says why.
"""

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from stillhouse import log
from stillhouse.catalog import clusters
from stillhouse.control.context import Control, Vault
from stillhouse.control.node_watch import silence
from stillhouse.domain.cluster import Cluster, ClusterStatus, Node, Provider, Task
from stillhouse.errors import InvalidInput, StillhouseError
from stillhouse.repository.format.cipher_keys import read_kek, wrappings

_LEAST_FREE_BYTES = 512 << 20
_LEAST_FREE_NAMES = 1000  # files that can still be made
_NODES_AT_ONCE = 8
# Tasks of a cluster that leave its servers alone.
_AT_WORK = (None, Task.SNAPSHOTTING, Task.FINE_GRAINED_RESTORING)


@dataclass(frozen=True)
class Readiness:
    """The result. `reasons` has a list for each thing that was checked; the list is empty if nothing is wrong."""

    reasons: dict[str, list[str]]

    @property
    def is_ready(self) -> bool:
        return not any(self.reasons.values())


def look(control: Control) -> Readiness:
    """Check everything: a few reads of the store and a session on each node. An unknown state counts as not ready."""
    looks: dict[str, Callable[[Control], list[str]]] = {
        "key": _key,
        "store": _store,
        "catalog": _catalog,
        "disk": _disk,
        "nodes": _nodes,
    }
    with ThreadPoolExecutor(len(looks)) as pool:
        found = {what: pool.submit(_reasons, one, control) for what, one in looks.items()}
    return Readiness({what: reasons.result() for what, reasons in found.items()})


def _reasons(one: Callable[[Control], list[str]], control: Control) -> list[str]:
    try:
        return one(control)
    except StillhouseError as error:
        return [str(error)]
    except OSError as error:
        return [f"{error.filename or 'the system'}: {error.strerror}"]


def _key(control: Control) -> list[str]:
    """Check that the key's file is there for the next start too, and that the key opens the newest snapshot."""
    vault, kek_file = _vault(control), control.settings.kek_file or control.settings.data / "kek"
    kek = vault.repository.kek
    if read_kek(kek_file) != kek:
        return [f"{kek_file} holds another key than {kek.id}, which the service works with"]
    with control.database.reading() as reading:
        last = clusters.last_captured(reading)
    found = {} if last is None else wrappings(vault.store, last)
    if any(kek.id not in keks for keks in found.values()):
        return [f"KEK {kek.id} does not open what was captured last: was it rotated?"]
    return []


def _store(control: Control) -> list[str]:
    _vault(control).check_identity()
    return []


def _catalog(control: Control) -> list[str]:
    with control.database.reading() as reading:
        clusters.known_ids(reading)
    return []


def _disk(control: Control) -> list[str]:
    """Check the disk of the service's data, and of its repository when that is a directory."""
    places = [control.settings.data]
    if "://" not in (location := _vault(control).repository.location):
        places.append(Path(location))
    return [reason for place in places for reason in _lacking(place)]


def _lacking(place: Path) -> list[str]:
    free, names = shutil.disk_usage(place).free, os.statvfs(place)
    if free < _LEAST_FREE_BYTES:
        return [f"{place} has {free} bytes free, {_LEAST_FREE_BYTES} are wanted"]
    if names.f_files and names.f_favail < _LEAST_FREE_NAMES:
        return [f"{place} has room for {names.f_favail} more files, {_LEAST_FREE_NAMES} are wanted"]
    return []


def _nodes(control: Control) -> list[str]:
    """Check that every node answers of the clusters that should be at work, and count the silent ones.

    Servers that are somebody's do not count: the service can do its work without them. Their check-ups tell of them.
    """
    with control.database.reading() as reading:
        found = clusters.all_clusters(reading)
    nodes = [
        (cluster, node)
        for cluster in found
        if cluster.status is ClusterStatus.AVAILABLE and not cluster.stopped and cluster.task in _AT_WORK
        if cluster.provider is Provider.EMBEDDED
        for node in cluster.nodes
    ]
    with ThreadPoolExecutor(_NODES_AT_ONCE) as pool:
        silent = list(pool.map(lambda one: _answers(control, *one), nodes)).count(False)
    if silent:
        return [f"{silent} of {len(nodes)} do not answer: the service's log names them"]
    return []


def _answers(control: Control, cluster: Cluster, node: Node) -> bool:
    why = silence(node)
    control.node_watch.note(node, why)
    if why:
        log.get("readiness").warning("a node does not answer", cluster=cluster.id, node=node.name, reason=why)
    return not why


def _vault(control: Control) -> Vault:
    if control.vault is None:
        raise InvalidInput("only a running service has a repository")
    return control.vault
