"""Snapshots of a warehouse on hosts of its own, while connections are cut, slowed and reset, and servers come and go.

`make reach SNAPSHOTS=20 SEED=7` runs it at length. Hosts are network namespaces. Silence is a port of their switch that
drops all frames; slowness and resets are those of a relay, since not every kernel has netem.
"""

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from stillhouse.domain.cluster import Node
from stillhouse.warehouse.cluster.embedded import Site
from support.networks.namespaces import Host, network, why_none
from support.networks.spread import SERVERS, SERVICE, Spread, spread, transfers
from support.processes.service import COMMAND, PROJECT, Service, serving
from support.servers.registered import ROLE
from support.servers.warehouses import rows

_WHY_NOT = why_none()
pytestmark = [pytest.mark.long, pytest.mark.skipif(bool(_WHY_NOT), reason=_WHY_NOT)]

SNAPSHOTS = int(os.environ.get("REACH_SNAPSHOTS", "2"))
SEED = int(os.environ.get("REACH_SEED") or random.randrange(10**6))
SLOW = 4 << 20  # bytes per second
SLOTS = "SELECT slot_name FROM pg_replication_slots"
BACKUPS = "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'stillhouse stillhouse%'"
SESSIONS = f"SELECT application_name FROM pg_stat_activity WHERE usename = '{ROLE}'"
OWNED = (
    f"SELECT classid::regclass, objid FROM pg_shdepend WHERE refobjid = '{ROLE}'::regrole AND deptype = 'o'"
)
SCHEMA = "SELECT 1 FROM pg_namespace WHERE nspname = 'stillhouse'"

Trouble = Callable[[Spread, random.Random], None]


def cut(warehouse: Spread, draw: random.Random) -> None:
    with warehouse.hosts[draw.choice(SERVERS)].cut_off():
        time.sleep(draw.uniform(1, 8))


def slow(warehouse: Spread, draw: random.Random) -> None:
    for relay in warehouse.relays.values():
        relay.rate = SLOW
    time.sleep(draw.uniform(5, 15))
    for relay in warehouse.relays.values():
        relay.rate = None


def reset(warehouse: Spread, draw: random.Random) -> None:
    for _ in range(draw.randint(1, 3)):
        warehouse.relays[draw.choice(SERVERS)].reset()
        time.sleep(draw.uniform(0, 2))


def restart(warehouse: Spread, draw: random.Random) -> None:
    name = draw.choice(SERVERS)
    warehouse.stop(name, "fast")
    warehouse.start(name)


def kill(warehouse: Spread, draw: random.Random) -> None:
    name = draw.choice(SERVERS)
    warehouse.stop(name, "immediate")
    time.sleep(draw.uniform(0, 3))
    warehouse.start(name)


def promote(warehouse: Spread, draw: random.Random) -> None:
    warehouse.fail_over()


TROUBLES: tuple[Trouble, ...] = (promote, reset, cut, kill, slow, restart)


@pytest.fixture(scope="module")
def hosts() -> Iterator[dict[str, Host]]:
    with network([SERVICE, *SERVERS]) as hosts:
        yield hosts


@pytest.fixture(scope="module")
def warehouse(
    site: Site, hosts: dict[str, Host], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Spread]:
    with spread(site, hosts, tmp_path_factory.mktemp("passwords")) as made:
        yield made


@pytest.fixture(scope="module")
def service(data_root: Path, hosts: dict[str, Host]) -> Iterator[Service]:
    """It and all that this thread does from now on are on the service's host."""
    with hosts[SERVICE].entered(), serving(data_root / "reach") as running:
        running.client()  # its key is made
        running.patience = (
            900  # a snapshot of four nodes takes several attempts, beside whatever else the machine does
        )
        yield running


def run(*words: str) -> dict[str, Any]:
    done = subprocess.run([*COMMAND, *words, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@contextmanager
def explained(warehouse: Spread, service: Service) -> Iterator[None]:
    """A failure comes with what the servers and the service are at."""
    try:
        yield
    except BaseException:  # a time-out of the test is one
        told(f"{service.log.read_text()[-8000:]}\n{warehouse.doing()}")
        raise


def told(line: str) -> None:
    sys.stderr.write(f"{line}\n")


@pytest.mark.timeout(0 if SNAPSHOTS > 2 else 3000)
def test_each_snapshot_that_is_available_is_proved_and_nothing_of_ours_is_left(
    warehouse: Spread, service: Service, tmp_path: Path
) -> None:
    told(f"again: make reach SNAPSHOTS={SNAPSHOTS} SEED={SEED}")
    registration = tmp_path / "spread.yaml"
    registration.write_text(yaml.safe_dump(warehouse.registration()))
    on_data = ("--data", str(service.data), "--project", PROJECT)
    cluster = run("cluster", "add", "--file", str(registration), *on_data)["id"]
    ended: Counter[str] = Counter()
    troubles = [*TROUBLES]
    for number in range(SNAPSHOTS):
        draw = random.Random(f"{SEED}/{number}")
        if number % len(TROUBLES) == 0:
            draw.shuffle(troubles)
        trouble = troubles[number % len(TROUBLES)]
        with explained(warehouse, service):
            with transfers(warehouse.bank, 2) as done:
                service.until("all writers to be at work", partial(all, done))
                snapshot, state = taken_under(warehouse, service, cluster, f"number-{number}", trouble, draw)
            if state == "AVAILABLE":
                state = proved(service, snapshot)
            ended[state] += 1
            await_none(warehouse, service, SLOTS, BACKUPS)
    told(f"seed {SEED}: {dict(ended)}")
    assert ended["PROVED"] > 0
    with explained(warehouse, service):
        run("cluster", "remove", "spread", "--yes", *on_data)
        service.until("the cluster to be gone", lambda: service.is_gone(cluster))
        await_none(warehouse, service, SLOTS, SESSIONS, OWNED, SCHEMA)


def taken_under(
    warehouse: Spread, service: Service, cluster: str, name: str, trouble: Trouble, draw: random.Random
) -> tuple[str, str]:
    """A snapshot that is taken while there is trouble, and its status."""
    snapshot = service.request_snapshot(cluster, name)
    begun = time.monotonic()
    service.until("the first attempt", lambda: service.attempts(snapshot))
    time.sleep(draw.uniform(0, 4))
    trouble(warehouse, draw)
    state = service.ended(snapshot)
    attempts = service.attempts(snapshot)
    told(
        f"{name} under {trouble.__name__}: {state}, {attempts} attempts, {time.monotonic() - begun:.0f} s"
        f" {service.reason(snapshot) if state != 'AVAILABLE' else ''}"
    )
    return snapshot, state


def proved(service: Service, snapshot: str) -> str:
    """The state of its proof. All that does not hold is told, with the whole report.

    A server's own transaction that ended in the moment of the cut costs its node the comparison, and nothing else.
    """
    path = f"/stillhouse/v1/{{p}}/snapshots/{snapshot}"
    assert service.call("POST", f"{path}/prove").status == 202

    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = service.call("GET", f"{path}/proof").json["proof"]
        return found if found["state"] != "RUNNING" else None

    found = service.until("the proof to end", look, every=0.5)  # each look costs the proof some of two cores
    if found["state"] == "FAILED" and found["reason"].startswith("nothing was compared with the cut"):
        told(f"restored, and not compared: {found['reason']}")
        return "NOT COMPARED"
    assert found["state"] == "PROVED", json.dumps(found, indent=1)
    return "PROVED"


def await_none(warehouse: Spread, service: Service, *questions: str) -> None:
    """Nothing of ours is on any node, within a while: a server notices late that a host is silent."""
    for node, question in product(warehouse.nodes, questions):
        service.until(f"nothing on {node.name}: {question}", partial(is_empty, node, question))


def is_empty(node: Node, question: str) -> bool:
    return rows(node, question) == []
