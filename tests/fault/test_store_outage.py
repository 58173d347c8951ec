"""The S3 server of a service at work goes away for a minute, or falls silent, at a chosen request, and comes back."""

import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from support.processes.service import Service, serving
from support.stores.faulty_proxy import Fault, FaultyProxy, faulty_proxy
from support.stores.s3_server import Front, S3Server, s3_server

# An outage lasts a minute: the limit must not count how long a loaded machine takes to make the service before it.
pytestmark = [
    pytest.mark.long,
    pytest.mark.xdist_group("store outage"),
    pytest.mark.timeout(300, func_only=True),
]

MINUTE, LESS = 60.0, 20.0  # the latter is longer than any count of tries lasted
Hindrance = tuple[Callable[[Front], None], Callable[[Front], None]]
AWAY: Hindrance = (Front.kill, Front.start)
SILENT: Hindrance = (Front.hold, Front.let_go_on)


@pytest.fixture(scope="module")
def server() -> S3Server:
    return s3_server()


@pytest.fixture(scope="module")
def proxy(server: S3Server) -> Iterator[FaultyProxy]:
    with faulty_proxy(server.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def service(data_root: Path, server: S3Server, proxy: FaultyProxy) -> Iterator[Service]:
    bucket = f"outage-{secrets.token_hex(6)}"
    server.make_bucket(bucket)
    settings = {
        "STILLHOUSE_REPOSITORY": f"s3://{bucket}/warehouse",
        "AWS_ENDPOINT_URL": proxy.endpoint,
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "AWS_REGION": server.region,
    }
    with pytest.MonkeyPatch.context() as environment:
        for name, value in settings.items():
            environment.setenv(name, value)
        with serving(data_root / "outage") as running:
            yield running


@pytest.fixture(scope="module")
def cluster(service: Service) -> str:
    return service.create_cluster("outlasting", 1)


def hinder(
    server: S3Server, proxy: FaultyProxy, at: tuple[str, str], how: Hindrance, seconds: float
) -> Callable[[], None]:
    """The server goes at that request. What is returned waits for that, lets the time pass, and brings it back."""
    proxy.at(*at, lambda: how[0](server.front))

    def end() -> None:
        assert proxy.reached.wait(60), f"no request was {at}"
        time.sleep(seconds)  # the outage itself
        how[1](server.front)

    return end


def ready(service: Service) -> httpx.Response:
    return httpx.get(f"{service.url}/readyz", timeout=30)


@pytest.mark.parametrize(
    ("at", "how", "seconds"),
    [
        (("PUT", "/pins/"), AWAY, LESS),
        (("PUT", "/packs/"), AWAY, MINUTE),
        (("PUT", "/packs/"), SILENT, MINUTE),
        (("PUT", "/manifests/"), AWAY, LESS),
        (("GET", "list-type=2"), SILENT, MINUTE),
        (("PUT", "/roots/"), AWAY, MINUTE),
    ],
    ids=["pin", "pack", "pack silent", "manifest", "listing silent", "root"],
)
def test_a_snapshot_outlasts_an_outage(
    service: Service,
    cluster: str,
    server: S3Server,
    proxy: FaultyProxy,
    at: tuple[str, str],
    how: Hindrance,
    seconds: float,
) -> None:
    end = hinder(server, proxy, at, how, seconds)
    snapshot = service.request_snapshot(cluster, f"through-{secrets.token_hex(4)}")
    end()
    assert service.ended(snapshot) == "AVAILABLE", service.reason(snapshot)
    assert service.attempts(snapshot) == 1
    service.await_clean(cluster)


def test_a_restore_outlasts_an_outage(
    service: Service, cluster: str, server: S3Server, proxy: FaultyProxy
) -> None:
    snapshot = service.request_snapshot(cluster, f"whole-{secrets.token_hex(4)}")
    assert service.ended(snapshot) == "AVAILABLE", service.reason(snapshot)
    end = hinder(server, proxy, ("GET", "/packs/"), AWAY, MINUTE)
    clone = service.restore(snapshot, "restored")
    end()
    assert service.settled(clone)["status"] == "AVAILABLE"
    service.delete_cluster(clone)


@pytest.mark.parametrize("fault", ["slow down", "reset", "slow"])
def test_snapshot_and_restore_outlast_a_store_that_fails_every_fifth_request(
    service: Service, cluster: str, proxy: FaultyProxy, fault: Fault
) -> None:
    """By chance, not by count: a create asks up to three times, and would meet each third request each time."""
    name = secrets.token_hex(4)
    proxy.fail(fault, share=0.2)
    try:
        snapshot = service.request_snapshot(cluster, f"between-{name}")
        assert service.ended(snapshot) == "AVAILABLE", service.reason(snapshot)
        assert service.attempts(snapshot) == 1
        clone = service.restore(snapshot, f"restored-{name}")
        assert service.settled(clone)["status"] == "AVAILABLE"
        assert proxy.faults > 5
    finally:
        proxy.fail("none")
    service.delete_cluster(clone)


def test_work_ends_with_the_cause_when_the_store_fails_for_longer_than_its_time(
    data_root: Path, service: Service, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = f"budget-{secrets.token_hex(6)}"
    s3_server().make_bucket(bucket)
    monkeypatch.setenv("STILLHOUSE_REPOSITORY", f"s3://{bucket}/warehouse")
    monkeypatch.setenv("STILLHOUSE_STORE_RETRY_SECONDS", "5")
    with serving(data_root / "budget") as short:
        cluster = short.create_cluster("impatient", 1)
        good = short.request_snapshot(cluster, "before")
        assert short.ended(good) == "AVAILABLE", short.reason(good)
        proxy.fail("slow down")
        try:
            snapshot = short.request_snapshot(cluster, "without-store")
            assert short.ended(snapshot) == "UNAVAILABLE"
            clone = short.restore(good, "never")
            assert short.settled(clone)["status"] != "AVAILABLE"
        finally:
            proxy.fail("none")
        for word in ("SlowDown", f"s3://{bucket}/warehouse", "AWS_ENDPOINT_URL"):
            assert word in short.reason(snapshot)


def test_whoever_asks_is_told_of_an_outage_soon(service: Service, server: S3Server) -> None:
    """Though snapshots would wait for the store: each answer comes within the client's time-out."""
    server.front.kill()
    try:
        # A look that found the store well holds for two minutes: each costs requests.
        refused = service.until("not ready", lambda: (a := ready(service)).status_code == 503 and a, every=1)
    finally:
        server.front.start()
    assert "AWS_ENDPOINT_URL" in refused.text
    service.until("ready", lambda: ready(service).status_code == 200, every=1)
