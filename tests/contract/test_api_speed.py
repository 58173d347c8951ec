"""What a request costs, counted in threads, connections, statements and parts of an answer; never in seconds."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio.to_thread
import pytest
from sqlalchemy import event
from starlette.routing import Match
from structlog.testing import capture_logs

from stillhouse.api.app import published_routes
from stillhouse.api.gateway import worker_threads
from stillhouse.api.gateway.published import Published
from stillhouse.api.gateway.worker_threads import WorkerThreads
from stillhouse.api.operations import routing
from stillhouse.api.operations import snapshots as api_snapshots
from stillhouse.catalog import snapshots as stored
from stillhouse.control.snapshots import requests
from stillhouse.errors import ApiUnknown
from support.api.application import PROJECT, Service, app_of, serving_service
from support.api.server import serving
from support.control.catalog_rows import many_snapshots
from support.databases.writers import until

LIST = "/v1.0/{p}/snapshots"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving_service(tmp_path_factory.mktemp("speed")) as running:
        many_snapshots(running.data / "catalog.sqlite", PROJECT, 3)
        yield running


@pytest.fixture
def hops(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The functions that were handed to a thread, by ours or by the framework."""
    found: list[str] = []
    run = WorkerThreads.run

    async def counted(self: WorkerThreads, function: Any, *arguments: Any, **options: Any) -> Any:
        found.append(function.__name__)
        return await run(self, function, *arguments, **options)

    async def framework(function: Any, *_arguments: Any, **_options: Any) -> Any:
        found.append(f"framework: {function}")
        raise AssertionError("the framework handed an operation to a thread of its own")

    monkeypatch.setattr(WorkerThreads, "run", counted)
    monkeypatch.setattr(anyio.to_thread, "run_sync", framework)
    return found


@contextmanager
def statements(database: Any) -> Iterator[list[tuple[int, str]]]:
    """The statements that are run, each with the identity of the object that it was built as."""
    found: list[tuple[int, str]] = []
    engine = database._engine

    def note(_connection: Any, element: Any, *_others: Any) -> None:
        found.append((id(element), str(element)))

    event.listen(engine, "before_execute", note)
    try:
        yield found
    finally:
        event.remove(engine, "before_execute", note)


def test_a_read_is_answered_in_one_thread_and_a_body_asks_once_more(
    service: Service, hops: list[str]
) -> None:
    assert service.client.request("GET", LIST).status == 200
    assert hops == ["_perform"]
    hops.clear()
    assert service.client.request("POST", "/v1/{p}/snapshots/check", {"snapshot_name": "free"}).status == 200
    assert hops == ["_is_keeping_body", "_perform"]


def test_connections_are_opened_once_and_kept(service: Service) -> None:
    service.client.request("GET", LIST)
    opened: list[object] = []
    engine = service.switchboard._database._engine
    event.listen(engine, "connect", lambda *made: opened.append(made))
    with ThreadPoolExecutor(16) as callers:
        answers = callers.map(lambda _: service.client.request("GET", LIST).status, range(120))
        assert set(answers) == {200}
    assert len(opened) <= worker_threads._THREADS


def test_the_statements_of_a_read_are_built_once(service: Service) -> None:
    snapshot = service.list_snapshots()[0]["id"]
    for path in (LIST, f"{LIST}/{snapshot}"):
        seen = []
        for _ in range(2):
            with statements(service.switchboard._database) as found:
                assert service.client.request("GET", path).status == 200
            seen.append(found)
        assert seen[0] == seen[1], "another object was built for the same statement"
        assert len(seen[0]) == 1, "the key is remembered, the answer is not"


def test_a_key_that_another_process_disabled_is_refused_at_once(tmp_path: Path) -> None:
    with serving_service(tmp_path) as service:
        assert service.client.request("GET", LIST).status == 200
        command = [sys.executable, "-m", "stillhouse", "key", "disable", "--data", str(tmp_path)]
        arguments = ["--project", PROJECT, service.client.access_key]
        subprocess.run([*command, *arguments], check=True, capture_output=True)
        assert service.client.request("GET", LIST).status == 401


def test_requests_beyond_those_that_may_wait_are_refused_at_once(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One thread, one place to wait: the third request is told 503 and when to come again; health is told all along."""
    monkeypatch.setattr(WorkerThreads.__init__, "__defaults__", (1, 1))
    going_on, find = threading.Event(), stored.find_snapshot

    def hold(*arguments: Any) -> Any:
        assert going_on.wait(60)
        return find(*arguments)

    snapshot = service.list_snapshots()[0]["id"]
    monkeypatch.setattr(stored, "find_snapshot", hold)
    app: Any = app_of(service)
    with serving(app) as endpoint, ThreadPoolExecutor(2) as callers:
        client = replace(service.client, endpoint=endpoint)
        held = [callers.submit(client.request, "GET", f"{LIST}/{snapshot}") for _ in range(2)]
        until(lambda: app._threads._taken == 2, 60)
        refused = client.request("GET", LIST)
        health = client.http.get(f"{endpoint}/healthz")
        going_on.set()
        assert [each.result().status for each in held] == [200, 200]
    assert (refused.status, refused.error_code) == (503, "DWS.0005")
    assert int(refused.headers["Retry-After"]) >= 1
    assert health.status_code == 200


def test_a_long_list_is_read_and_encoded_in_parts_off_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hops: list[str]
) -> None:
    encoders, encode = set(), routing.encode

    def noted(content: object) -> bytes:
        encoders.add(threading.current_thread().name.partition("-")[0])
        return encode(content)

    monkeypatch.setattr(routing, "encode", noted)
    with serving_service(tmp_path) as service:
        newest = many_snapshots(tmp_path / "catalog.sqlite", PROJECT, 1201)
        answer = service.client.request("GET", LIST)
        assert answer.json["count"] == len(answer.json["snapshots"]) == 1201
        assert answer.json["snapshots"][0]["id"] == newest
        started = [one["started"] for one in answer.json["snapshots"]]
        assert started == sorted(started, reverse=True)
        assert len({one["id"] for one in answer.json["snapshots"]}) == 1201
        assert answer.headers["Transfer-Encoding"] == "chunked"
        assert hops.count("next") >= 2, "each further part when it is wanted"
        assert encoders == {"api"}


def test_a_list_is_read_no_further_when_its_client_has_hung_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, hung_up = [], threading.Event()

    def batches(*_arguments: Any, **_options: Any) -> Iterator[list[Any]]:
        for number in range(100):
            read.append(number)
            yield [{"filling": "a" * 100_000}]
            if number == 3:
                assert hung_up.wait(60)

    monkeypatch.setattr(requests, "snapshot_batches", batches)
    monkeypatch.setattr(api_snapshots, "snapshot_in_project_list", lambda item: item)
    with serving_service(tmp_path) as service, capture_logs() as logged:
        headers = service.signed_headers("GET", LIST, b"")
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        address = urlsplit(service.endpoint)
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(f"GET {LIST.format(p=PROJECT)} HTTP/1.1\r\n{head}\r\n".encode())
            assert connection.recv(1000)
        hung_up.set()
        until(lambda: [line for line in logged if line["event"] == "client gone"], 60)
    assert len(read) < 50


def test_a_list_of_exactly_one_or_two_batches_is_whole(tmp_path: Path) -> None:
    with serving_service(tmp_path) as service:
        for more in (requests._BATCH, requests._BATCH):
            many_snapshots(tmp_path / "catalog.sqlite", PROJECT, more)
            answer = service.client.request("GET", LIST).json
            assert answer["count"] == len(answer["snapshots"])
        assert answer["count"] == 2 * requests._BATCH


def test_a_name_is_looked_up_by_a_query_of_its_own(service: Service) -> None:
    wanted = service.list_snapshots()[1]
    with statements(service.switchboard._database) as found:
        answer = service.client.request("GET", LIST, query={"name": wanted["name"].upper()})
    assert [one["id"] for one in answer.json["snapshots"]] == [wanted["id"]]
    assert "lower" in found[-1][1]
    assert service.client.request("GET", LIST, query={"name": "no-such-name"}).json["count"] == 0
    assert service.client.request("GET", LIST, query={"name": "bad\0name"}).status == 400
    assert len(service.client.request("GET", LIST, query={"name": ""}).json["snapshots"]) == 3


def test_a_path_is_found_as_the_framework_finds_it() -> None:
    routes = published_routes()
    published = Published(routes)
    for route in routes:
        for path in (route.path, route.path + "/", route.path.replace("/{", "//{"), route.path + "/more"):
            for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
                scope = {"type": "http", "method": method, "path": path, "root_path": ""}
                full = [each for each in routes if each.matches(scope)[0] is Match.FULL]
                if not full:
                    with pytest.raises(ApiUnknown):
                        published.find(method, path)
                    continue
                found, named = published.find(method, path)
                assert found is full[0]
                assert named == full[0].matches(scope)[1]["path_params"]


def test_every_order_of_a_list_is_an_index(service: Service) -> None:
    cluster = service.list_snapshots()[0]["cluster_id"]
    for key in ("name", "started", "finished", "size", "status", "type"):
        for direction in ("asc", "desc"):
            query = {"limit": "2", "sort_key": key, "sort_dir": direction}
            plan = _plan(service, f"/v1.0/{{p}}/clusters/{cluster}/snapshots", query)
            assert f"ix_sh_snapshots_by_{key}" in plan, plan
            assert "TEMP B-TREE FOR ORDER BY" not in plan, plan
    plan = _plan(service, LIST, {})
    assert "ix_sh_snapshots_by_project" in plan, plan
    assert "TEMP B-TREE" not in plan, plan


def _plan(service: Service, path: str, query: dict[str, str]) -> str:
    """How SQLite goes about the last statement of a request."""
    ran: list[tuple[str, Any]] = []
    engine = service.switchboard._database._engine

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_others: Any) -> None:
        if "ORDER BY" in statement:
            ran.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    try:
        assert service.client.request("GET", path, query=query).status == 200
    finally:
        event.remove(engine, "before_cursor_execute", note)
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {ran[-1][0]}", ran[-1][1])
        return json.dumps([row[-1] for row in rows])
