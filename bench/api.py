"""The API's own speed: CPU of a signed read, throughput, overload, long lists, many snapshots: `make bench-api`.

The service is a process of its own, asked over the wire; its CPU is what the kernel counts for this one process. A read
is ShowSnapshot, and a write is the creation of a tag, with its record in the audit log. `--label before` keeps the
figures of an earlier state beside those of this one. With `--catalog URL` the catalog is moved to an empty PostgreSQL
database before the parts `reads` and `writes`.
"""

import argparse
import asyncio
import json
import os
import sqlite3
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
from measure import RESULTS, write_result
from wire import Answers, closed_loop, offered

from stillhouse import log
from stillhouse.api.app import create_app
from stillhouse.bootstrap.service import open_control
from stillhouse.config import Settings
from support.api.client import SignedClient, sign
from support.control.catalog_rows import many_snapshots
from support.processes.service import COMMAND, PROJECT, Service, serving

# One key and one address ask here for as much as the service can give.
UNBOUNDED = {
    "STILLHOUSE_REQUESTS_PER_SECOND_PER_KEY": "0",
    "STILLHOUSE_REQUESTS_PER_SECOND_PER_PROJECT": "0",
    "STILLHOUSE_MAX_CONNECTIONS_PER_ADDRESS": "2000",
}
CALLERS = (1, 2, 4, 8, 16, 32, 64)
MANY = 50_000


def signed(client: SignedClient, method: str, path: str, body: bytes = b"") -> bytes:
    """Return a whole HTTP request. It may be sent again and again for as long as its signature is valid."""
    path = path.replace("{p}", client.project)
    headers = {
        "X-Sdk-Date": datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"),
        "Host": urlsplit(client.endpoint).netloc,
    }
    if body:
        headers["Content-Type"] = "application/json"
    headers["Authorization"] = sign(
        method=method,
        path=path,
        query={},
        headers=headers,
        body=body,
        access_key=client.access_key,
        secret_key=client.secret_key,
    )
    headers["Content-Length"] = str(len(body))
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def cpu_of(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def reads(service: Service, path: str, count: int, runs: int) -> dict[str, Any]:
    """Return the CPU of one read and the throughput, by the number of callers."""
    found: dict[str, Any] = {}
    port, request = service.port, signed(service.client(), "GET", path)
    closed_loop(port, request, callers=4, count=200)
    for callers in CALLERS:
        cpu, rates = [], []
        for _ in range(runs):
            before = cpu_of(service.pid)
            answers = closed_loop(port, request, callers=callers, count=count)
            assert set(answers.statuses) == {200}, answers.statuses
            cpu.append((cpu_of(service.pid) - before) / count * 1000)
            rates.append(count / answers.seconds)
        found[str(callers)] = {"cpu_ms": spread(cpu), "per_second": spread(rates)}
        print(callers, "callers:", found[str(callers)], flush=True)
    return found


def writes(service: Service, cluster: str, count: int, runs: int) -> dict[str, Any]:
    """Return the CPU of one write and the throughput, by four callers; each round gives the cluster the same tag."""
    body = json.dumps({"tags": [{"key": "bench", "value": "1"}]}).encode()
    path = f"/v1.0/{{p}}/clusters/{cluster}/tags/batch-create"
    request = signed(service.client(), "POST", path, body)
    cpu, rates = [], []
    for _ in range(runs):
        before = cpu_of(service.pid)
        answers = closed_loop(service.port, request, callers=4, count=count)
        assert set(answers.statuses) <= {200, 204}, answers.statuses
        cpu.append((cpu_of(service.pid) - before) / count * 1000)
        rates.append(count / answers.seconds)
    return {"cpu_ms": spread(cpu), "per_second": spread(rates)}


def move_catalog(service: Service, to: str) -> None:
    service.stop()
    with closing(sqlite3.connect(service.data / "catalog.sqlite")) as connection, connection:
        connection.execute(
            "UPDATE sh_clusters SET stopped = 1"
        )  # they have no servers that a start could adopt
    command = [*COMMAND, "catalog", "move", "--data", str(service.data), "--to", to]
    subprocess.run(command, check=True, env=service.environment())
    service.catalog = to
    service.start()


def in_process(
    data: Path, catalog: str, path: str, key: SignedClient, count: int, runs: int
) -> dict[str, Any]:
    """Return the CPU of one read without a server in front: the application alone, by the number of callers."""
    head = signed(key, "GET", path).split(b"\r\n")
    headers = [
        (name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in head[1:-2])
    ]
    raw = path.replace("{p}", key.project)
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "path": raw,
        "raw_path": raw.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 1),
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        assert message.get("status", 200) == 200, message

    log.configure("INFO")  # its lines belong to the cost
    with open_control(Settings(data=data, catalog=catalog)) as control:
        app = create_app(control, is_shutting_down=lambda: False)

        async def ask(callers: int) -> None:
            async def one() -> None:
                for _ in range(count // callers):
                    await app({**scope, "state": {}}, receive, send)  # type: ignore[arg-type]

            await asyncio.gather(*(one() for _ in range(callers)))

        async def measure() -> dict[str, Any]:
            await ask(4)
            found = {}
            for callers in (1, 16):
                spent = []
                for _ in range(runs):
                    before = time.process_time()
                    await ask(callers)
                    spent.append((time.process_time() - before) / count * 1000)
                found[str(callers)] = {"cpu_ms": spread(spent)}
                print("in process:", callers, "callers:", found[str(callers)], flush=True)
            return found

        return asyncio.run(measure())


def overload(service: Service, path: str, seconds: float) -> dict[str, Any]:
    """Offer twice what 16 callers got. Latency counts from when a request was due."""
    request = signed(service.client(), "GET", path)
    bearable = 2000 / closed_loop(service.port, request, callers=16, count=2000).seconds
    answers = offered(service.port, request, per_second=2 * bearable, seconds=seconds)
    return {
        "bearable_per_second": round(bearable),
        "offered_per_second": round(2 * bearable),
        "statuses": dict(answers.statuses),
        "latency": quantiles(answers),
        "latency_of_200": quantiles(answers, 200),
        "latency_of_503": quantiles(answers, 503),
    }


def long_list(service: Service, runs: int) -> dict[str, Any]:
    """List 50,000 snapshots, with `/healthz` asked beside it all the time, and show one by its name."""
    request = signed(service.client(), "GET", "/v1.0/{p}/snapshots")
    health = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    seconds, cpu, beside, sizes = [], [], Answers(), []
    for _ in range(runs):
        over = threading.Event()

        def look(over: threading.Event = over) -> None:
            while not over.is_set():
                beside.add(closed_loop(service.port, health, callers=1, count=1))
                time.sleep(0.01)

        watcher = threading.Thread(target=look)
        watcher.start()
        before = cpu_of(service.pid)
        answers = closed_loop(service.port, request, callers=1, count=1)
        over.set()
        watcher.join()
        assert dict(answers.statuses) == {200: 1}
        seconds.append(answers.seconds)
        cpu.append(cpu_of(service.pid) - before)
        sizes.append(answers.bytes)
    return {
        "seconds": spread(seconds),
        "cpu_seconds": spread(cpu),
        "bytes": sizes[0],
        "healthz_beside": quantiles(beside),
        "peak_mib": round(psutil.Process(service.pid).memory_info().rss / 2**20),
        "show_by_name": show_by_name(service, runs),
    }


def show_by_name(service: Service, runs: int) -> dict[str, Any]:
    """Seconds of `snapshot show`, by a name and, for the time that the program itself takes, by an id."""
    environment = os.environ | service.client().environment
    ((some_id, name),) = service.rows("SELECT id, name FROM sh_snapshots ORDER BY name LIMIT 1 OFFSET 777")

    def run(named: str) -> float:
        begun = time.monotonic()
        done = subprocess.run(
            [*COMMAND, "snapshot", "show", named], env=environment, check=False, capture_output=True
        )
        if done.returncode:
            print("show failed:", done.stderr.decode()[-200:], flush=True)
        return time.monotonic() - begun

    return {
        "by_name": spread([run(name) for _ in range(runs)]),
        "by_id": spread([run(some_id) for _ in range(runs)]),
    }


def at_once(service: Service, clusters: int) -> dict[str, Any]:
    """Take one snapshot of each of so many empty clusters of one node, all requested at once."""
    for number in range(clusters):
        service.create_cluster(f"small-{number}", 1)
    ids = [row[0] for row in service.rows("SELECT id FROM sh_clusters WHERE deleted IS NULL")]
    ids = [cluster for cluster in ids if service.nodes(cluster)]
    for cluster in ids:  # the first captures are whole: only later ones are measured
        assert service.ended(service.request_snapshot(cluster, f"first-{cluster}")) == "AVAILABLE"
    client = service.client()
    bodies = [
        json.dumps({"snapshot": {"name": f"second-{cluster}", "cluster_id": cluster}}).encode()
        for cluster in ids
    ]
    requests = [signed(client, "POST", "/v1.0/{p}/snapshots", body) for body in bodies]
    answers, threads = Answers(), []
    before, begun = cpu_of(service.pid), time.monotonic()
    for request in requests:
        threads.append(
            threading.Thread(
                target=lambda one: answers.add(closed_loop(service.port, one, callers=1, count=1)),
                args=(request,),
            )
        )
        threads[-1].start()
    for thread in threads:
        thread.join()
    waiting = "SELECT count(*) FROM sh_snapshots WHERE status = 'CREATING' AND name LIKE 'second-%'"
    while service.rows(waiting) != [(0,)]:
        time.sleep(0.1)
    return {
        "clusters": len(ids),
        "cpu_seconds": round(cpu_of(service.pid) - before, 2),
        "seconds": round(time.monotonic() - begun, 2),
        "statuses": dict(answers.statuses),
        "accepted": quantiles(answers),
        "ended": dict(
            service.rows(
                "SELECT status, count(*) FROM sh_snapshots WHERE name LIKE 'second-%' GROUP BY status"
            )
        ),
    }


def spread(measured: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(measured), 3),
        "least": round(min(measured), 3),
        "greatest": round(max(measured), 3),
    }


def quantiles(answers: Answers, status: int | None = None) -> dict[str, float]:
    found = sorted(seconds for each, seconds in answers.each if status in (None, each))
    if not found:
        return {}
    return {
        "p50": round(found[len(found) // 2], 3),
        "p99": round(found[min(len(found) - 1, int(len(found) * 0.99))], 3),
        "most": round(found[-1], 3),
    }


@contextmanager
def _service() -> Iterator[Service]:
    with tempfile.TemporaryDirectory(prefix="shb-", dir="/var/tmp") as place:
        Path(place).chmod(0o755)  # the servers' account passes through
        with serving(Path(place) / "data") as service:
            yield service


def measure(parts: list[str], count: int, runs: int, clusters: int, catalog: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with _service() as service:
        client = service.client()
        first = many_snapshots(service.data / "catalog.sqlite", PROJECT, 5)
        path = f"/v1.0/{{p}}/snapshots/{first}"
        ((many,),) = service.rows("SELECT id FROM sh_clusters")
        if catalog:
            move_catalog(service, catalog)
        if "reads" in parts:
            found["in_process"] = in_process(service.data, catalog, path, client, count, runs)
            found["reads"] = reads(service, path, count, runs)
        if "writes" in parts:
            found["writes"] = writes(service, many, count, runs)
            print("writes:", found["writes"], flush=True)
        if "overload" in parts:
            found["overload"] = overload(service, path, 5)
            print(found["overload"], flush=True)
        if "list" in parts:
            many_snapshots(service.data / "catalog.sqlite", PROJECT, MANY)
            found["list"] = long_list(service, runs)
            print(found["list"], flush=True)
    if "at_once" in parts:
        with _service() as service:
            found["at_once"] = at_once(service, clusters)
            print(found["at_once"], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="*", default=["reads", "overload", "list", "at_once"])
    parser.add_argument("--label", default="now")
    parser.add_argument("--catalog", default="", help="URL of an empty PostgreSQL database")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--clusters", type=int, default=30)
    options = parser.parse_args()
    os.environ |= UNBOUNDED
    found = measure(options.parts, options.count, options.runs, options.clusters, options.catalog)
    path = RESULTS / "api.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    known.pop("machine", None)
    write_result("api", {**known, options.label: known.get(options.label, {}) | found})


if __name__ == "__main__":
    main()
