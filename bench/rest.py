"""What a service at rest costs: processor time, wake-ups, memory, requests to the store: `make bench-rest`.

It is measured without a cluster, and again with some, each of which has had a snapshot. Then the catalog is on
PostgreSQL, and a service that leads and a replica that follows are measured at the same time. PostgreSQL's servers do
not count. The store is Swift, behind a proxy that counts what is asked.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
from measure import write_result

from support.processes.service import Service, serving
from support.servers.catalog_server import restartable_catalog_server
from support.stores import s3_server
from support.stores.faulty_proxy import FaultyProxy, faulty_proxy

_SETTLED_SECONDS = 75  # the engine looks for schedules once a second in its first minute
_BUCKET = "rest"


class Requests:
    """Counts the requests that pass a proxy."""

    def __init__(self, proxy: FaultyProxy) -> None:
        self.count = 0
        proxy.note = self._note  # type: ignore[method-assign]

    def _note(self, method: str, path: str) -> None:
        self.count += 1


def measure(services: dict[str, Service], requests: Requests, seconds: float) -> dict[str, Any]:
    """Return the costs of services that have had nothing to do for a while; all ask the store through one proxy."""
    time.sleep(_SETTLED_SECONDS)
    before = {name: (_cpu(one), _wake_ups(one)) for name, one in services.items()}
    asked, begun = requests.count, time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - begun
    costs = {name: _costs(one, *before[name], passed) for name, one in services.items()}
    return {
        "seconds": round(passed),
        "store_requests_per_hour": round((requests.count - asked) * 3600 / passed),
        **costs,
    }


def _costs(service: Service, cpu: float, woken: int, passed: float) -> dict[str, Any]:
    return {
        "percent_of_a_core": round(100 * (_cpu(service) - cpu) / passed, 2),
        "wake_ups_per_second": round((_wake_ups(service) - woken) / passed, 1),
        "mib": [
            {
                "process": "service" if process.pid == service.pid else "below it",
                "rss": round(process.memory_info().rss / 2**20),
                "pss": round(process.memory_full_info().pss / 2**20),
            }
            for process in _processes(service)
        ],
    }


def _processes(service: Service) -> list[psutil.Process]:
    whole = psutil.Process(service.pid)
    return [
        process for process in (whole, *whole.children(recursive=True)) if "postgres" not in process.name()
    ]


def _cpu(service: Service) -> float:
    times = [process.cpu_times() for process in _processes(service)]
    return sum(float(one.user + one.system) for one in times)


def _wake_ups(service: Service) -> int:
    """Return how often the threads that are there have waited."""
    return sum(
        int(line.split()[1])
        for process in _processes(service)
        for status in Path(f"/proc/{process.pid}/task").glob("*/status")
        for line in status.read_text().splitlines()
        if line.startswith("voluntary_ctxt_switches")
    )


def measure_pair(requests: Requests, seconds: float) -> dict[str, Any]:
    """Measure a service that leads and one that follows, on a catalog on PostgreSQL, without clusters."""
    os.environ |= {"STILLHOUSE_REPLICA": "true", "STILLHOUSE_REPOSITORY": f"s3://{_BUCKET}/pair"}
    with ExitStack() as stack:
        server = stack.enter_context(restartable_catalog_server())
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="shb-", dir="/var/tmp")))
        place.chmod(0o755)
        services = {"leads": Service(place / "leads"), "follows": Service(place / "follows")}
        for one in services.values():
            one.data.mkdir(mode=0o755)
            one.catalog = server.url
            if one is services["follows"]:
                (one.data / "kek").write_bytes((services["leads"].data / "kek").read_bytes())
            stack.callback(one.remove)
            one.start()
        return measure(services, requests, seconds)


@contextmanager
def _service() -> Iterator[tuple[Service, Requests]]:
    with s3_server.running(1) as server, faulty_proxy(server.port) as proxy:
        server.make_bucket(_BUCKET)
        os.environ |= {
            "STILLHOUSE_REPOSITORY": f"s3://{_BUCKET}/all",
            "AWS_ENDPOINT_URL": proxy.endpoint,
            "AWS_ACCESS_KEY_ID": server.access_key,
            "AWS_SECRET_ACCESS_KEY": server.secret_key,
            "AWS_REGION": server.region,
        }
        with tempfile.TemporaryDirectory(prefix="shb-", dir="/var/tmp") as place:
            Path(place).chmod(0o755)  # the servers' account passes through
            with serving(Path(place) / "data") as service:
                yield service, Requests(proxy)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--clusters", type=int, default=3)
    parser.add_argument("--only-pair", action="store_true")
    options = parser.parse_args()
    with _service() as (service, requests):
        if options.only_pair:
            service.stop()
            print(measure_pair(requests, options.seconds), flush=True)
            return
        found = {"without clusters": measure({"service": service}, requests, options.seconds)}
        print(found, flush=True)
        for number in range(options.clusters):
            cluster = service.create_cluster(f"rest-{number}", 1)
            assert service.ended(service.request_snapshot(cluster, f"first-{number}")) == "AVAILABLE"
        # As most services are at rest: started anew, with a catalog that is there.
        service.stop()
        service.start()
        found[f"{options.clusters} clusters"] = measure({"service": service}, requests, options.seconds)
        service.stop()
        found["a pair"] = measure_pair(requests, options.seconds)
    print(found, flush=True)
    write_result("rest", found)


if __name__ == "__main__":
    main()
