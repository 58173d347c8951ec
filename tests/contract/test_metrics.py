"""The metrics: what they count, what a scrape costs, and who may see them."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event, update

from stillhouse import metrics
from stillhouse.api.app import create_app
from stillhouse.catalog import snapshots as snapshot_rows
from stillhouse.catalog.schema.tables import clusters as cluster_rows
from stillhouse.control.reports.monitoring import Monitor
from stillhouse.domain.ids import new_uuid
from stillhouse.domain.reports.failure import Failure
from stillhouse.errors import CatalogUnavailable
from support.api.application import PROJECT, Service, serving_service
from support.control.catalog_rows import many_snapshots


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving_service(tmp_path_factory.mktemp("service")) as service:
        yield service


def ask(
    service: Service, host: str, *, is_on: bool = True, header: str = "", **settings_of: object
) -> httpx.Response:
    settings = service.control.settings.model_copy(update={"metrics": is_on, **settings_of})
    app = create_app(replace(service.control, settings=settings), is_shutting_down=lambda: False)

    async def get() -> httpx.Response:
        transport = httpx.ASGITransport(app=app, client=(host, 4711))
        async with httpx.AsyncClient(transport=transport, base_url="http://stillhouse") as client:
            return await client.get("/metrics", headers={header: "203.0.113.7"} if header else {})

    return asyncio.run(get())


Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]
"""Values of metrics, by name and labels."""


def scrape(service: Service) -> Values:
    return read(Monitor(service.control).scrape().decode())


def read(text: str) -> Values:
    return {
        (one.name, tuple(sorted(one.labels.items()))): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def of(cluster: str, values: Values) -> dict[str, float]:
    """The metrics of a cluster, by name and the values of their further labels."""
    return {
        " ".join([name, *(value for key, value in labels if key not in ("cluster", "name"))]): number
        for (name, labels), number in values.items()
        if ("cluster", cluster) in labels
    }


def test_a_capture_is_counted_by_what_was_done_with_its_files(service: Service) -> None:
    cluster = service.add_cluster()

    def count(**files: int) -> dict[str, float]:
        metrics.count_captured(cluster, files, 3, {"read": 5, "stored": 2}, 0.5, is_whole=False)
        metrics.count_cut(cluster, 0.02, 2)
        metrics.expect_pause(cluster, files["pages"] / 100)
        metrics.count_snapshot(cluster, "available")
        metrics.count_ended(cluster, "snapshot", 3.0, "node.unreachable")
        return of(cluster, scrape(service))

    before, after = count(kept=1, pages=1), count(kept=7, pages=2)
    changed = {name: after[name] - before[name] for name in after if after[name] != before[name]}
    assert {name: by for name, by in changed.items() if "_bucket" not in name} == {
        "stillhouse_capture_files_total kept": 7,
        "stillhouse_capture_files_total pages": 2,
        "stillhouse_capture_pages_stored_total": 3,
        "stillhouse_capture_bytes_total read": 5,
        "stillhouse_capture_bytes_total stored": 2,
        "stillhouse_captures_total earlier": 1,
        "stillhouse_snapshots_total available": 1,
        "stillhouse_cut_expected_pause_seconds": 0.01,
        "stillhouse_cut_pause_seconds_sum": 0.02,
        "stillhouse_cut_pause_seconds_count": 1,
        "stillhouse_cut_tries_total": 2,
        "stillhouse_failures_total node.unreachable snapshot": 1,
    }


def test_the_state_of_each_cluster_is_told(service: Service) -> None:
    cluster = service.add_cluster()
    good = service.take_snapshot(cluster, f"good-{cluster[:8]}", 4096)
    gone = service.take_snapshot(cluster, f"gone-{cluster[:8]}", 1)
    control = service.control
    for name, code in (("bad", "store.unavailable"), ("worse", "store.unavailable"), ("off", "cancelled")):
        body = {"snapshot": {"name": f"{name}-{cluster[:8]}", "cluster_id": cluster}}
        failed = service.client.request("POST", "/v1.0/{p}/snapshots", body).json["snapshot"]["id"]
        with control.database.transaction() as transaction:
            snapshot_rows.mark_unavailable(transaction, failed, control.clock.now(), Failure(code, "why"))
    with control.database.transaction() as transaction:
        snapshot_rows.move_to_trash(transaction, gone, control.clock.now())
    with control.database.reading() as reading:
        began = snapshot_rows.read_snapshot(reading, good).started.timestamp()
        deleted = snapshot_rows.read_snapshot(reading, gone).deleted
    told = of(cluster, scrape(service))
    assert deleted is not None
    days, hours = control.settings.trash_days, control.settings.collect_every_hours
    expected = {
        f"stillhouse_cluster_info {PROJECT}": 1,
        "stillhouse_cluster_at_work": 1,
        "stillhouse_snapshots_kept available": 1,
        "stillhouse_snapshots_kept unavailable": 3,
        "stillhouse_snapshots_kept trash": 1,
        "stillhouse_snapshot_stored_bytes available": 2**20,
        "stillhouse_snapshot_live_bytes": 4096,
        "stillhouse_snapshots_failed_since_good store.unavailable": 2,
        "stillhouse_trash_due_timestamp_seconds": (deleted + timedelta(days=days, hours=hours)).timestamp(),
        "stillhouse_snapshot_last_good_timestamp_seconds": began,
    }
    assert {name: told.get(name) for name in expected} == pytest.approx(expected)
    assert "stillhouse_proof_last_good_timestamp_seconds" not in told


def test_a_name_cannot_forge_a_metric(service: Service) -> None:
    cluster = service.add_cluster()
    name = 'x"} 1\nstillhouse_forged_total 7\n# \\'
    with service.control.database.transaction() as transaction:
        transaction.execute(update(cluster_rows).where(cluster_rows.c.id == cluster).values(name=name))
    told = scrape(service)
    assert told["stillhouse_cluster_at_work", (("cluster", cluster), ("name", name))] == 1
    assert not [key for key, _ in told if "forged" in key]


def test_a_cluster_that_is_gone_is_told_no_more(service: Service) -> None:
    cluster = service.add_cluster()
    metrics.count_snapshot(cluster, "failed")
    assert of(cluster, scrape(service))
    with service.control.database.transaction() as transaction:
        now = service.control.clock.now()
        transaction.execute(update(cluster_rows).where(cluster_rows.c.id == cluster).values(deleted=now))
    assert of(cluster, scrape(service)) == {}


def test_a_scrape_costs_the_same_however_many_snapshots_there_are(service: Service) -> None:
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    engine = service.control.database._engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        scrapes = []
        for count in (10, 1000):
            many_snapshots(service.data / "catalog.sqlite", PROJECT, count)
            del statements[:]
            monitor = Monitor(service.control)
            series = len(read(monitor.scrape().decode()))
            scrapes.append((len(statements), series))
            del statements[:]
            monitor.scrape()
            assert statements == [], "nobody has committed anything meanwhile"
    finally:
        event.remove(engine, "before_cursor_execute", note)
    (few, series), (many, more_series) = scrapes
    assert few == many and more_series - series < 30, "those of one more cluster"


def test_a_scrape_needs_no_store_and_tells_of_the_process_without_a_catalog(service: Service) -> None:
    away = service.data / "away"
    (service.data / "repository").rename(away)
    try:
        assert ask(service, "127.0.0.1").status_code == 200
    finally:
        away.rename(service.data / "repository")
    monitor = Monitor(service.control)
    service.switchboard.bug, service.switchboard.good_calls_left = CatalogUnavailable("gone"), 0
    try:
        told = read(monitor.scrape().decode())
    finally:
        service.switchboard.bug = None
    assert told["process_open_fds", ()] > 0 and told["process_resident_memory_bytes", ()] > 0


def test_requests_are_counted_by_operation_and_status(service: Service) -> None:
    before = scrape(service)
    service.list_clusters()
    service.client.request("GET", f"/v1.0/{{p}}/clusters/{new_uuid()}")
    service.client.request("GET", "/nothing/at/all")
    after = scrape(service)
    changed = {
        tuple(value for _, value in labels)
        for (name, labels), count in after.items()
        if name == "stillhouse_http_requests_total" and count != before.get((name, labels), 0)
    }
    assert changed == {("ListClusters", "200"), ("ListClusterDetails", "404"), ("unknown", "404")}


def test_scrapes_at_one_time_are_one(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scraper that does not wait for a slow answer must not pile up work."""
    scrapes: list[int] = []
    go_on = threading.Event()

    def slow(_monitor: Monitor) -> bytes:
        scrapes.append(1)
        go_on.wait(30)
        return b"told"

    monkeypatch.setattr(Monitor, "scrape", slow)
    app = create_app(service.control, is_shutting_down=lambda: False)

    async def get() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 4711))
        async with httpx.AsyncClient(transport=transport, base_url="http://stillhouse") as client:
            waiting = asyncio.gather(*(client.get("/metrics") for _ in range(50)))
            assert (await client.get("/healthz")).status_code == 200
            go_on.set()
            return list(await waiting)

    assert {answer.content for answer in asyncio.run(get())} == {b"told"} and len(scrapes) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.8.7", "::1"])
def test_metrics_are_open_to_this_host(service: Service, host: str) -> None:
    answer = ask(service, host)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")


def test_to_anyone_else_there_are_none(service: Service) -> None:
    for answer in (
        ask(service, "192.0.2.1"),
        ask(service, "a proxy's word"),
        ask(service, "127.0.0.1", is_on=False),
    ):
        assert (answer.status_code, answer.json()["error_code"]) == (404, "APIGW.0101")


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Forwarded-Proto", "Forwarded", "Via", "X-Real-IP"])
def test_through_a_proxy_on_this_host_there_are_none_unless_that_is_allowed(
    service: Service, header: str
) -> None:
    assert ask(service, "127.0.0.1", header=header).status_code == 404
    assert ask(service, "127.0.0.1", header=header, trusted_proxies="127.0.0.1").status_code == 404
    assert ask(service, "127.0.0.1", header=header, metrics_through_proxy=True).status_code == 200
    assert ask(service, "192.0.2.1", header=header, metrics_through_proxy=True).status_code == 404
