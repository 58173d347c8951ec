"""The demo's service: a process of its own in a fresh directory, reached through the official SDK, gone afterwards."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions.exceptions import ServiceResponseException
from huaweicloudsdkdws import v2 as dws
from huaweicloudsdkdws.v2.region.dws_region import DwsRegion
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from stillhouse.domain.ids import is_uuid
from stillhouse.warehouse.cluster import embedded

PROJECT = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
COMMAND = [sys.executable, "-m", "stillhouse"]
START_SECONDS, STOP_SECONDS, WAIT_SECONDS = 300, 60, 900

console = Console()


@dataclass(frozen=True)
class Service:
    process: subprocess.Popen[bytes]
    root: Path
    url: str

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def log(self) -> Path:
        return self.root / "service.log"


@contextmanager
def running_service(place: Path, keep: bool) -> Iterator[Service]:
    """`stillhouse serve` over a fresh directory below `place`. Left running only when asked to and all went well."""
    with ExitStack() as stack:
        root = Path(tempfile.mkdtemp(prefix="stillhouse-demo-", dir=place))
        # The account that runs PostgreSQL must pass through, wherever this clone lies.
        root.chmod(0o755)
        stack.callback(_remove, root)
        service = _start(root)
        stack.callback(_stop, service)
        stack.callback(_ignore_signals)
        _await_ready(service)
        yield service
        if keep:
            stack.pop_all()
            console.print(f"Left running: {service.url}, everything below {root}")
            console.print(
                f"When you are done: kill {service.process.pid}, and remove the directory once it ended"
            )


def _start(root: Path) -> Service:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with (root / "service.log").open("wb") as output:
        process = subprocess.Popen(
            [*COMMAND, "serve", "--data", str(root / "data"), "--listen", address, "--stop-clusters"],
            stdout=output,
            stderr=output,
            # No snapshot of its own accord should come between those that are shown.
            env={**os.environ, "STILLHOUSE_DEFAULT_POLICIES": "false"},
            # Ctrl-C is for the demo, which then stops the service in good order.
            start_new_session=True,
        )
    return Service(process, root, f"http://{address}")


def _await_ready(service: Service) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and service.process.poll() is None:
        try:
            if httpx.get(f"{service.url}/healthz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise SystemExit(f"the service did not start:\n{service.log.read_text()[-2000:]}")


def end_by_signals() -> None:
    """Let SIGINT and SIGTERM end the program by exceptions, so that everything is stopped on the way out."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs with it ignored
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def _ignore_signals() -> None:
    """From here on it only cleans up, which a second Ctrl-C must not cut short."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _stop(service: Service) -> None:
    service.process.terminate()
    try:
        service.process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        service.process.kill()
        service.process.wait()


def _remove(root: Path) -> None:
    """Servers outlive a service that died, so whatever is left is stopped before its files go."""
    if (root / "data" / "clusters").exists():
        site = embedded.open_site(root / "data")
        for left in site.clusters.iterdir():
            if is_uuid(left.name):
                embedded.destroy(site, left.name)
    shutil.rmtree(root)


def sdk_client(service: Service) -> Any:
    """The official SDK, pointed here by its own environment variable; every request is signed."""
    made = subprocess.run(
        [*COMMAND, "key", "create", "--data", str(service.data), "--project", PROJECT, "--json"],
        check=True,
        capture_output=True,
        text=True,
    )
    key = json.loads(made.stdout)
    os.environ["HUAWEICLOUD_SDK_REGION_DWS_LOCAL_1"] = service.url
    credentials = BasicCredentials(key["access_key"], key["secret_key"], key["project_id"])
    region = DwsRegion.value_of("local-1")
    return dws.DwsClient.new_builder().with_credentials(credentials).with_region(region).build()


def await_cluster(client: Any, cluster_id: str, title: str) -> Any:
    """Show the cluster's `action_progress` as a bar until nothing holds it any more."""
    with bar(title) as show:
        for cluster in _looking(client, cluster_id, title):
            if cluster is None:
                raise SystemExit(f"{title}: the cluster is gone")
            if cluster.status != "CREATING" and not cluster.action_progress:
                break
            show(max((int(text.rstrip("%")) for text in cluster.action_progress.values()), default=0))
        if cluster.status != "AVAILABLE" or cluster.failed_reasons:
            raise SystemExit(f"{title}: {cluster.status} {cluster.failed_reasons}")
    return cluster


def delete_cluster(client: Any, cluster_id: str) -> None:
    """Delete the cluster with its snapshots, and wait until it is gone."""
    body = dws.DeleteClusterRequestBody(keep_last_manual_snapshot=0)
    client.delete_cluster(dws.DeleteClusterRequest(cluster_id=cluster_id, body=body))
    for cluster in _looking(client, cluster_id, "Delete"):
        if cluster is None:
            return
        if cluster.status == "DELETE_FAILED":
            raise SystemExit(f"Delete: {cluster.failed_reasons}")


def _looking(client: Any, cluster_id: str, title: str) -> Iterator[Any]:
    """The cluster again and again, None once there is no such cluster."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        try:
            request = dws.ListClusterDetailsRequest(cluster_id=cluster_id)
            yield client.list_cluster_details(request).cluster
        except ServiceResponseException as error:
            if error.status_code != 404:
                raise
            yield None
        time.sleep(0.1)
    raise SystemExit(f"{title} took longer than {WAIT_SECONDS} s")


@contextmanager
def bar(title: str) -> Iterator[Callable[[float], None]]:
    """A progress bar; only what ends well is shown as 100 %."""
    columns = (TextColumn("{task.description:<32}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task(title, total=100)
        yield lambda percent: progress.update(task, completed=percent)
        progress.update(task, completed=100)
