"""Rounds of random work, capture, deletion, collection and restore, each restore compared with its cut."""

import os
import random
import re
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from itertools import chain
from pathlib import Path

from stillhouse.clock import SystemClock
from stillhouse.domain.cluster import Cluster
from stillhouse.domain.collection import Rules
from stillhouse.domain.ids import new_uuid
from stillhouse.errors import CaptureInterrupted, NodeUnreachable
from stillhouse.postgres.host import server
from stillhouse.postgres.sessions import session
from stillhouse.repository.format.root import Root
from stillhouse.repository.format.sealed import Stored
from stillhouse.repository.objects import roots
from stillhouse.repository.upkeep.collect import Collector
from stillhouse.repository.upkeep.reach import manifests, reached
from stillhouse.warehouse.cluster import embedded
from stillhouse.warehouse.cluster.embedded import Site
from support.servers import warehouses
from support.servers.versions import site_of
from support.servers.warehouses import rows
from support.snapshots.captures import (
    HASTY,
    Moments,
    Shot,
    Vault,
    capture_cluster,
    open_vault,
    planned_clone,
    recover,
    restore_files,
)
from torture import fingerprints, steps
from torture.fingerprints import Fingerprint
from torture.load import Load, Step
from torture.readers import Reader, Subject

KEPT = 6  # snapshots that are kept at most
ATTEMPTS = 8
STIRRERS = 2
_KILL = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name LIKE 'stillhouse st%'"


@dataclass(frozen=True)
class Taken:
    """A snapshot and what the server held at its cut."""

    id: str
    round: int
    shot: Shot
    held: Fingerprint


@dataclass
class Tally:
    """What a run has done. `mismatches` say which restore differed, and in what."""

    rounds: int = 0
    captures: Counter[str] = field(default_factory=Counter)
    files: Counter[str] = field(default_factory=Counter)
    interrupted: Counter[str] = field(default_factory=Counter)
    restores: int = 0
    pages_stored: int = 0
    mismatches: list[str] = field(default_factory=list)


class Gate:
    """Stirrers pass one step at a time; while it is closed, none is at work."""

    def __init__(self) -> None:
        self._changed, self._inside, self._closed = threading.Condition(), 0, False

    @contextmanager
    def passing(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._closed)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._inside)

    def open(self) -> None:
        with self._changed:
            self._closed = False
            self._changed.notify_all()


class Torture:
    """One server and its repository. Everything is drawn from `seed`; threads alone make two runs differ."""

    def __init__(self, site: Site, place: Path, seed: int, reader: Reader) -> None:
        self._site, self._seed, self._reader = site, seed, reader
        self.cluster: Cluster = warehouses.build(site, 1)
        self._node = self.cluster.coordinator
        self._vault: Vault = open_vault(place, self.cluster)
        self._load = Load(self._node)
        self._load.found()
        server.restart(site.binaries, self._node)
        self._subject = Subject(site, self.cluster, reader, place)
        self._taken: list[Taken] = []
        self.tally = Tally()

    def close(self) -> None:
        self._load.let_go(random.Random(0))
        embedded.destroy(self._site, self.cluster.id)

    @property
    def load(self) -> Load:
        return self._load

    @property
    def version(self) -> str:
        return self._site.binaries.version

    def round(self, number: int) -> None:
        """Work, capture, delete, collect, restore one of those that remain."""
        draw = random.Random(f"{self._seed}/{number}")
        for _ in range(draw.randint(6, 16)):
            self._load.do(draw, steps.WORK + steps.MOVES)
        self._disturb(draw)
        self._load.keep_small(draw)
        self._capture(draw, number)
        self._load.let_go(draw)
        while len(self._taken) > KEPT or (len(self._taken) > 1 and draw.random() < 0.3):
            given_up = draw.choice(self._taken)
            self._taken.remove(given_up)
            roots.mark_trash(self._vault.store, self._vault.keys, given_up.id, "now")
        collect(self._vault)
        self.restore(draw.choice(self._taken), f"round {number}")
        self.tally.rounds += 1

    def restore_all(self) -> None:
        for taken in self._taken:
            self.restore(taken, "at the end")

    def _disturb(self, draw: random.Random) -> None:
        """Restart the server, stop it at once, or kill one of its processes: it recovers in the same run then."""
        what = draw.choices(["", "restart", "crash", "backend"], [70, 6, 8, 16])[0]
        if not what:
            return
        self._load.let_go(draw)
        if what == "backend":
            kill_backend(self._load)
            return
        server.stop(self._site.binaries, self._node, "fast" if what == "restart" else "immediate")
        self._subject.start()

    def _capture(self, draw: random.Random, number: int) -> None:
        """With work beside it, or without; killed now and then, with what it saved serving the next attempt."""
        base = self._base(draw)
        parts: list[Stored] = []
        beside = draw.random() < 0.7
        for attempt in range(ATTEMPTS):
            calm = attempt >= ATTEMPTS // 2
            is_killed = not calm and draw.random() < 0.15
            moments = self._moments(draw, is_killed=is_killed)
            work = steps.WORK if calm or draw.random() < 0.7 else steps.WORK + steps.MOVES
            seeds = [draw.random() for _ in range(STIRRERS)] if beside and attempt < ATTEMPTS - 1 else []
            held: list[Fingerprint] = []
            gate = Gate()
            with stirring(self._load, gate, seeds, work):
                moments.ready = ReadyMoment(moments.ready, gate, self._load, draw, held)
                moments.after_cut = gate.open
                try:
                    shot = capture_cluster(
                        self._subject.captured,
                        self._vault,
                        moments,
                        base=base,
                        parts=parts,
                        part_bytes=8 << 20,
                        in_processes=base is None and not parts and not is_killed,
                        reads_all=base is not None and draw.random() < 0.25,
                    )
                except CaptureInterrupted as error:
                    self.tally.interrupted[kind(error)] += 1
                    parts += moments.parts
                    continue
                finally:
                    gate.open()
            self._note(shot, base, parts)
            self._taken.append(Taken(publish(self._vault, shot), number, shot, held[-1]))
            return
        raise AssertionError("every attempt was interrupted")

    def _base(self, draw: random.Random) -> Shot | None:
        """The newest, as the service would; now and then an older one, or none."""
        if not self._taken or draw.random() < 0.06:
            return None
        return draw.choice(self._taken).shot if draw.random() < 0.25 else self._taken[-1].shot

    def _moments(self, draw: random.Random, *, is_killed: bool) -> Moments:
        if not is_killed:
            return Moments()
        kill_at = draw.choice([1, 20, 100, 0])
        opened = 0

        def opening(path: str) -> None:
            nonlocal opened
            opened += 1
            if opened == kill_at:
                rows(self._node, _KILL)

        def ready() -> None:
            rows(self._node, _KILL)

        return Moments(opening=opening) if kill_at else Moments(ready=ready)

    def _note(self, shot: Shot, base: Shot | None, parts: Sequence[Stored]) -> None:
        captured = shot.captured[self._node.name]
        assert captured.lineage == self._node.lineage, captured.whole_because
        assert captured.rotten == 0, "a page was called rotten"
        assert captured.base or base is None or self._site.binaries.major < 17, captured.whole_because
        how = "on a base" if captured.base else "whole: " + captured.whole_because.rpartition("; ")[2]
        self.tally.captures[how + (", over parts" if parts else "")] += 1
        self.tally.files.update(captured.files)
        self.tally.pages_stored += captured.pages_stored

    def restore(self, taken: Taken, when: str) -> None:
        """Restore beside the living source, and look. What differs is told with all that is needed to find it again."""
        with planned_clone(self._site, self.cluster) as clone:
            restore_files(self._site, clone, taken.shot, self._vault)
            recover(self._site, self.cluster, clone, taken.shot, HASTY)
            node = clone.cluster.coordinator
            found = fingerprints.differences(taken.held, fingerprints.take(node))
            found += fingerprints.settle_prepared(node, taken.held.prepared)
            found += fingerprints.unsound(node, self._site.binaries)
        self.tally.restores += 1
        where = (
            f"PG {self._site.binaries.version}, {self._reader} reader, seed {self._seed}, {when},"
            f" snapshot of round {taken.round}"
        )
        self.tally.mismatches += [f"{where}: {what}" for what in found]
        assert not found, "\n".join([where, *found])


@dataclass
class ReadyMoment:
    """The base is complete: all work is stopped, what the server holds is read, and the cut follows at once."""

    before: Callable[[], object]
    gate: Gate
    load: Load
    draw: random.Random
    held: list[Fingerprint]

    def __call__(self) -> None:
        self.before()
        self.gate.close()
        if self.draw.random() < 0.3:
            self.load.do(self.draw, [(steps.open_transaction, 1)])
        self.held.append(fingerprints.take(self.load.node))


@contextmanager
def stirring(
    load: Load, gate: Gate, seeds: Sequence[float], work: Sequence[tuple[Step, int]]
) -> Iterator[None]:
    """Threads that do random steps until the block ends; what breaks in them breaks the block."""
    stop, broken = threading.Event(), list[BaseException]()

    def stir(seed: float) -> None:
        draw = random.Random(seed)
        try:
            while not stop.is_set():
                with gate.passing():
                    load.do(draw, work)
        except BaseException as error:  # noqa: BLE001 (raised below)
            broken.append(error)

    threads = [threading.Thread(target=stir, args=(seed,)) for seed in seeds]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        gate.open()
        for thread in threads:
            thread.join(120)
    if broken:
        raise broken[0]


def kind(error: CaptureInterrupted) -> str:
    """Its message without what is of this one time."""
    return re.sub(r"stillhouse_\w+|\d+", "...", str(error).partition(":")[0].partition(" (")[0])


def kill_backend(load: Load) -> None:
    """By force: the server ends all its processes and recovers, in the same run. Returns when it answers again."""
    with suppress(session.Error), load.session("postgres") as witness:
        with load.session("postgres") as connection:
            os.kill(connection.info.backend_pid, signal.SIGKILL)
        latest = time.monotonic() + 60
        while time.monotonic() < latest:
            witness.execute("SELECT pg_catalog.pg_sleep(0.01)")
        raise AssertionError("a killed process changed nothing")
    while True:
        with suppress(NodeUnreachable):
            session.connect(load.node, "postgres").close()
            return
        assert time.monotonic() < latest, "the server does not come back"
        time.sleep(0.02)


def publish(vault: Vault, shot: Shot) -> str:
    """The root that makes it a snapshot; its id."""
    snapshot = new_uuid()
    nodes = [{"name": name, **asdict(one.manifest)} for name, one in shot.captured.items()]
    for node in nodes:
        node["manifest"] = node.pop("id")
    root = Root.from_json("root", {"snapshot": snapshot, "name": snapshot[:8], "nodes": nodes})
    below = chain.from_iterable(reached(vault.store, vault.keys, one) for one in manifests(root))
    assert roots.publish(vault.store, vault.keys, root, below) == root
    return snapshot


def collect(vault: Vault) -> None:
    """By the collector itself, without any grace: purge what is in the trash, mark, and at once remove."""
    rules = Rules(grace=timedelta(0), trash=timedelta(0))
    for _ in range(2):
        done = Collector(vault.store, vault.keys, SystemClock(), rules).collect()
    assert not done.marked and not done.stopped_by


@contextmanager
def torturing(data: Path, major: int, seed: int, reader: Reader) -> Iterator[Torture]:
    """A torture in a place of its own below `data`, gone at the end."""
    site = site_of(major, data)
    place = data / f"vault-{seed}"
    place.mkdir()
    torture = Torture(site, place, seed, reader)
    try:
        yield torture
    finally:
        torture.close()
        shutil.rmtree(place)
