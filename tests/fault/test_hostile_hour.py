"""A hostile hour, cut to a seeded piece: strangers and a greedy tenant press, and another tenant is served.

`make hostile MINUTES=10 SEED=7` runs it at length and tells the times; they are not judged here, since they are the
machine's.
"""

import json
import os
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from support.fuzzing.hostile import besieging
from support.processes.service import Service, fill, serving

pytestmark = pytest.mark.long

SECONDS = float(os.environ.get("HOSTILE_MINUTES", "0.5")) * 60
SEED = int(os.environ.get("HOSTILE_SEED") or random.randrange(10**6))
TENANT = "f9e8d7c6b5a493827160f5e4d3c2b1a0"
GROWTH_BYTES = 100 * 2**20
# Connections to the catalog, and files of the work at hand, come and go.
SPARE_DESCRIPTORS = 40


@dataclass(frozen=True)
class Read:
    """One read of the tenant who is to be served; by the id of the request the service's log tells its own time."""

    seconds: float
    request: str


def test_strangers_and_a_greedy_tenant_hold_up_nobody(data_root: Path) -> None:
    _tell(f"seed {SEED}")
    with serving(data_root / "hostile") as service:
        cluster = service.create_cluster("orders-dw", 2)
        fill(service, cluster, 5000)
        assert service.ended(service.request_snapshot(cluster, "before")) == "AVAILABLE"
        greedy = service.client(TENANT)
        assert greedy.request("GET", "/v1.0/{p}/snapshots").status == 200
        process = psutil.Process(service.pid)
        memory, descriptors = process.memory_info().rss, process.num_fds()
        reads: list[Read] = []
        most, taken, until = memory, 0, time.monotonic() + SECONDS
        with besieging(service.port, SEED, greedy) as seen:
            pending = service.request_snapshot(cluster, "siege-0")
            while time.monotonic() < until or not taken:
                begun = time.monotonic()
                answer = service.call("GET", f"/v1.0/{{p}}/snapshots/{pending}")
                reads.append(Read(time.monotonic() - begun, answer.headers["x-request-id"]))
                assert answer.status == 200, answer.raw
                most = max(most, process.memory_info().rss)
                status = answer.json["snapshot"]["status"]
                assert status in ("CREATING", "AVAILABLE"), service.reason(pending)
                if status == "AVAILABLE":
                    taken += 1
                    pending = service.request_snapshot(cluster, f"siege-{taken}")
                time.sleep(0.05)
        assert service.ended(pending) == "AVAILABLE"
        _tell_reads(service, reads)
        _tell(f"{taken + 1} snapshots; memory grew by {(most - memory) / 2**20:.0f} MiB")
        for attack, count in sorted(seen.items()):
            _tell(f"  {attack}: {count}")
        assert most - memory < GROWTH_BYTES
        assert not [one for one in seen if ": 50" in one and not one.endswith(": 503")]
        service.until("descriptors to be back", lambda: process.num_fds() <= descriptors + SPARE_DESCRIPTORS)
        service.await_clean(cluster)


def _tell_reads(service: Service, reads: list[Read]) -> None:
    """Tell the times, and how much of the longest ones the service itself counts as the request's."""
    reads.sort(key=lambda read: read.seconds)
    half, most = reads[len(reads) // 2], reads[int(len(reads) * 0.99)]
    _tell(f"{len(reads)} reads: median {half.seconds * 1000:.0f} ms, p99 {most.seconds * 1000:.0f} ms")
    own = {}
    for line in service.log.read_text(errors="replace").splitlines():
        if '"event": "answered"' in line:
            told = json.loads(line)
            own[told["request_id"]] = told["seconds"]
    for read in reads[-5:]:
        _tell(
            f"  among the longest: {read.seconds * 1000:.0f} ms, the service's {own[read.request] * 1000:.0f}"
        )


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
