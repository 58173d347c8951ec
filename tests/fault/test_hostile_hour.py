"""A hostile hour, cut to a seeded piece: strangers and a greedy tenant press, and another tenant is served.

`make hostile MINUTES=10 SEED=7` runs it at length and tells the times; they are not judged here, since they are the
machine's.
"""

import os
import random
import sys
import time
from pathlib import Path

import psutil
import pytest

from support.fuzzing.hostile import Siege
from support.processes.service import fill, serving

pytestmark = pytest.mark.long

SECONDS = float(os.environ.get("HOSTILE_MINUTES", "0.5")) * 60
SEED = int(os.environ.get("HOSTILE_SEED") or random.randrange(10**6))
TENANT = "f9e8d7c6b5a493827160f5e4d3c2b1a0"
GROWTH_BYTES = 100 * 2**20
# Connections to the catalog, and files of the work at hand, come and go.
SPARE_DESCRIPTORS = 40


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
        siege = Siege(service.port, SEED)
        siege.begin(greedy)
        asked: list[float] = []
        most, taken, until = memory, 0, time.monotonic() + SECONDS
        pending = service.request_snapshot(cluster, "siege-0")
        while time.monotonic() < until or not taken:
            begun = time.monotonic()
            answer = service.call("GET", f"/v1.0/{{p}}/snapshots/{pending}")
            asked.append(time.monotonic() - begun)
            assert answer.status == 200, answer.raw
            most = max(most, process.memory_info().rss)
            status = answer.json["snapshot"]["status"]
            assert status in ("CREATING", "AVAILABLE"), service.reason(pending)
            if status == "AVAILABLE":
                taken += 1
                pending = service.request_snapshot(cluster, f"siege-{taken}")
            time.sleep(0.05)
        siege.end()
        assert service.ended(pending) == "AVAILABLE"
        asked.sort()
        _tell(
            f"{len(asked)} reads of a tenant: median {asked[len(asked) // 2] * 1000:.0f} ms,"
            f" p99 {asked[int(len(asked) * 0.99)] * 1000:.0f} ms, longest {asked[-1] * 1000:.0f} ms;"
            f" {taken + 1} snapshots; memory grew by {(most - memory) / 2**20:.0f} MiB"
        )
        for what, count in sorted(siege.seen.items()):
            _tell(f"  {what}: {count}")
        assert most - memory < GROWTH_BYTES
        assert not [one for one in siege.seen if ": 50" in one and not one.endswith(": 503")]
        service.until("descriptors to be back", lambda: process.num_fds() <= descriptors + SPARE_DESCRIPTORS)
        service.await_clean(cluster)


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
