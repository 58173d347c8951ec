"""Two replicas with a catalog on PostgreSQL and a repository in S3: one is killed, and the other restores elsewhere.

Run it by `make demo SCALE=1`. The S3 service is OpenStack Swift, which is installed into an environment of its own the
first time. The replicas are processes of this host, each with a data directory of its own, as of two hosts. Exit code 0
only if the cluster that the second replica restores equals the one that the first had made.
"""

import argparse
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import demo
import httpx
from demo_service import (
    START_SECONDS,
    Service,
    bar,
    console,
    delete_cluster,
    end_by_signals,
    running_service,
    sdk_client,
)

from stillhouse.warehouse.cluster import embedded
from support.networks.balancer import balancing
from support.servers.catalog_server import catalog_server
from support.stores import s3_server


@contextmanager
def surroundings(place: Path) -> Iterator[None]:
    """The catalog's server, the S3 service and the key, which the environment tells to the replicas."""
    with ExitStack() as stack:
        with console.status("PostgreSQL for the catalog"):
            catalog = stack.enter_context(catalog_server())
        with console.status("Swift for the repository; the first time it is installed, which takes a minute"):
            store = stack.enter_context(s3_server.running(object_requests_at_once=1))
        bucket = f"demo-{secrets.token_hex(4)}"
        store.make_bucket(bucket)
        key = stack.enter_context(tempfile.TemporaryDirectory(prefix="stillhouse-demo-key-", dir=place))
        os.environ |= {
            "STILLHOUSE_CATALOG": catalog,
            "STILLHOUSE_CATALOG_CONNECTIONS": "12",
            "STILLHOUSE_REPLICA": "true",
            "STILLHOUSE_REPOSITORY": f"s3://{bucket}/warehouse",
            "STILLHOUSE_KEK_FILE": f"{key}/kek",
            "AWS_ENDPOINT_URL": store.endpoint,
            "AWS_REGION": store.region,
            "AWS_ACCESS_KEY_ID": store.access_key,
            "AWS_SECRET_ACCESS_KEY": store.secret_key,
        }
        yield


def leads(service: Service) -> bool:
    parts = httpx.get(f"{service.url}/readyz", timeout=30).json()["checks"]
    return "leader" not in parts


def await_lead(service: Service) -> None:
    deadline = time.monotonic() + START_SECONDS
    with bar("The other replica leads"):
        while not leads(service):
            if time.monotonic() > deadline:
                raise SystemExit(f"no replica leads:\n{service.log.read_text()[-2000:]}")
            time.sleep(0.2)


def show(rows: int, place: Path) -> bool:
    with ExitStack() as stack:
        stack.enter_context(surroundings(place))
        with bar("Two replicas"):
            first, second = (stack.enter_context(running_service(place, keep=False)) for _ in range(2))
        ports = [urlsplit(one.url).port or 0 for one in (first, second)]
        balancer = stack.enter_context(balancing(*ports))
        client = sdk_client(replace(first, url=f"http://127.0.0.1:{balancer.port}"))
        cluster = demo.create_cluster(client)
        demo.load(cluster, rows)
        source = demo.read_all(embedded.open_site(first.data), cluster, "Read the source")
        snapshot = demo.take_snapshot(client, cluster, "before-the-loss", "Snapshot into S3")
        demo.change(cluster)
        first.process.kill()
        first.process.wait()
        console.print("The replica that led was killed; its clusters stay on its host.")
        await_lead(second)
        restored = demo.restore(client, snapshot)
        differences = demo.prove(embedded.open_site(second.data), restored, source)
        delete_cluster(client, restored.id)
        asked = ", ".join(str(count) for count in balancer.served.values())
        console.print(f"Connections through the balancer to the two replicas: {asked}")
    for difference in differences[: demo.DIFFERENCES_SHOWN]:
        console.print(str(difference), style="red", markup=False)
    console.print("[red]Not equal[/]" if differences else "[green]Proved equal[/]")
    return not differences


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000, help="how many accounts, and events, to load")
    parser.add_argument("--place", type=Path, default=Path("/var/tmp"), help="where to make the directories")
    arguments = parser.parse_args()
    end_by_signals()
    return 0 if show(arguments.rows, arguments.place) else 1


if __name__ == "__main__":
    sys.exit(main())
