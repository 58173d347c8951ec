"""Whether the service can do its work now, part by part, with the reasons where it cannot.

Callers get the reasons without signing in, so the reasons hold no cluster, name or address of a tenant. The log names
the nodes that do not answer, and says why.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from stillhouse import log, metrics
from stillhouse.catalog import clusters
from stillhouse.control.context import Control, Vault
from stillhouse.control.flow_context import FlowContext
from stillhouse.control.lookup import may_ask
from stillhouse.control.node_watch import AT_ONCE
from stillhouse.control.timer import Beside
from stillhouse.errors import CatalogUnavailable, InvalidInput, StillhouseError, StoreUnavailable
from stillhouse.repository.format.cipher_keys import read_kek, wrappings

ONLY_TOLD = frozenset({"nodes", "leader"})
"""The parts without which the service is ready all the same.

A replica that follows answers and takes orders while nobody leads: they are carried out when somebody does.
If a node does not answer, the service does its work for all other clusters, and a tenant who brings down their own
server must not take the service from the others.
"""

# Shorter than the patience of those who ask `/readyz`. No alarm may ring because the host was busy for some seconds.
_PATIENCE_SECONDS, _PATIENCE_OF_ALARMS_SECONDS = 4.5, 30.0
_SHARE_OF_NODES = 0.7  # of the patience, so that the silent ones are counted
# A look at an S3 service costs requests, which are paid for. So one that found it well holds for so many rounds of the
# timer: the service that leads asks 36 times an hour, and each replica that follows 12 times.
_GOOD_FOR_ROUNDS = {"store": 12, "wrappings": 60}
_GOOD_FOR_ROUNDS_OF_FOLLOWERS = dict.fromkeys(_GOOD_FOR_ROUNDS, 60)
_LEAST_FREE_BYTES = 512 << 20
_LEAST_FREE_NAMES = 1000  # files that can still be made


@dataclass(frozen=True)
class Readiness:
    """The result. `reasons` has a list for each part that was looked at; the list is empty if nothing is wrong."""

    reasons: dict[str, list[str]]

    @property
    def is_ready(self) -> bool:
        return not any(reasons for part, reasons in self.reasons.items() if part not in ONLY_TOLD)


class Lookout:
    """The timer's duty: looks now and then, so that the metrics tell of store, key and disk."""

    def __init__(self, every_seconds: float) -> None:
        self._every_seconds, self._next = every_seconds, 0.0
        self._work = Beside("lookout")
        self._told: dict[str, list[str]] = {}

    def __call__(self, place: FlowContext, now: datetime) -> None:
        at = place.control.clock.monotonic()
        if at >= self._next:
            self._next = at + self._every_seconds
            self._work.begin("all", "look at the parts of the service", partial(self._look, place.control))

    def _look(self, control: Control) -> None:
        found = look(control, _PATIENCE_OF_ALARMS_SECONDS).reasons
        is_well = {part: not reasons for part, reasons in found.items()}
        metrics.show_checks(is_well, control.clock.now().timestamp())
        for part, reasons in found.items():
            if reasons and reasons != self._told.get(part):
                log.get("readiness").warning("a part of the service is not well", part=part, reasons=reasons)
        self._told = found


def look(control: Control, patience_seconds: float | None = None) -> Readiness:
    """Look at everything: a few reads of the store now and then, and a session on each node. A part that is silent is
    not well.
    """
    patience = patience_seconds or _PATIENCE_SECONDS
    follows = control.following.told is not None
    looks: dict[str, Callable[[Control], list[str]]] = {
        "catalog": _catalog,
        "store": _store,
        "key": _key,
        "wrappings": _wrappings,
        "disk": _disk,
        **({"leader": _leader} if follows else {"engine": _engine}),
        "nodes": partial(_nodes, patience_seconds=_SHARE_OF_NODES * patience),
    }
    rounds = _GOOD_FOR_ROUNDS_OF_FOLLOWERS if follows else _GOOD_FOR_ROUNDS
    if _vault(control).repository.is_directory:
        rounds = {}
    found = control.checks.look(
        {part: partial(_reasons, one, control) for part, one in looks.items()},
        patience,
        {part: number * control.settings.timer_seconds for part, number in rounds.items()},
    )
    found["key"] += found.pop("wrappings")
    return Readiness(found)


def _reasons(one: Callable[[Control], list[str]], control: Control) -> list[str]:
    try:
        return one(control)
    except StillhouseError as error:
        return [str(error)]
    except OSError as error:
        return [f"{error.filename or 'the system'}: {error.strerror}"]


def _catalog(control: Control) -> list[str]:
    with control.database.reading() as reading:
        clusters.known_ids(reading)
    return []


def _store(control: Control) -> list[str]:
    _vault(control).check_identity()
    return []


def _key(control: Control) -> list[str]:
    """Check that the key's file is there for the next start too."""
    kek_file, kek = control.settings.kek_file or control.settings.data / "kek", _vault(control).repository.kek
    if read_kek(kek_file) != kek:
        return [f"{kek_file} holds another key than {kek.id}, which the service works with"]
    return []


def _wrappings(control: Control) -> list[str]:
    """Check that the key opens the newest snapshot."""
    vault = _vault(control)
    kek = vault.repository.kek
    try:
        with control.database.reading() as reading:
            last = clusters.last_captured(reading)
        found = {} if last is None else wrappings(vault.store, last)
    except (CatalogUnavailable, StoreUnavailable):
        return []  # their own looks tell so: no alarm may call the key lost
    if any(kek.id not in keks for keks in found.values()):
        return [f"KEK {kek.id} does not open what was captured last: was it rotated?"]
    return []


def _disk(control: Control) -> list[str]:
    """Check the disk of the service's data, and of its repository when that is a directory."""
    places = {"data": control.settings.data}
    if (repository := _vault(control).repository).is_directory:
        places["repository"] = Path(repository.location)
    # A place that is gone is for the look at the store to tell.
    return [reason for name, place in places.items() if place.exists() for reason in _lacking(name, place)]


def _lacking(name: str, place: Path) -> list[str]:
    disk, names = shutil.disk_usage(place), os.statvfs(place)
    metrics.show_disk(name, disk.free, disk.total)
    if disk.free < _LEAST_FREE_BYTES:
        return [f"{place} has {disk.free} bytes free, {_LEAST_FREE_BYTES} are wanted"]
    if names.f_files and names.f_favail < _LEAST_FREE_NAMES:
        return [f"{place} has room for {names.f_favail} more files, {_LEAST_FREE_NAMES} are wanted"]
    return []


def _engine(control: Control) -> list[str]:
    why = control.flows.load().why_stuck
    return [why] if why else []


def _leader(control: Control) -> list[str]:
    """Tell whether a service leads, and takes the work that is enqueued."""
    return _engine(control) if control.following.leader else ["no service leads"]


def _nodes(control: Control, patience_seconds: float) -> list[str]:
    """Check that every node answers of the clusters that should be at work, and count the silent ones."""
    with control.database.reading() as reading:
        found = [one for one in clusters.all_clusters(reading) if one.should_answer]
    number = sum(len(cluster.nodes) for cluster in found)
    for _ in range(0, number, AT_ONCE):  # each time those that were not asked just now
        control.node_watch.look([one for one in found if may_ask(control, one)], patience_seconds)
    found = [control.node_watch.seen(one) for one in found]
    silent = sum(len(cluster.silent) for cluster in found)
    return [f"{silent} of {number} do not answer: the service's log names them"] if silent else []


def _vault(control: Control) -> Vault:
    if control.vault is None:
        raise InvalidInput("only a running service has a repository")
    return control.vault
