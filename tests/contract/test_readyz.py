"""Readiness: what it tells and to whom; that it costs little, however many ask."""

import asyncio
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from stillhouse.api.app import create_app
from stillhouse.api.extensions import readiness as readyz
from stillhouse.checks import Checks
from stillhouse.control.replicas.following import Following, Told
from stillhouse.control.reports import readiness
from stillhouse.control.reports.readiness import Readiness
from stillhouse.domain.reports.capacity import Host
from stillhouse.repository.format.cipher_keys import Kek, create_or_open, write_kek
from support.api.application import Service, serving_service
from support.stores.counting import Counting

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-")
CHECKS = {"catalog", "store", "key", "disk", "engine", "nodes"}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with serving_service(tmp_path) as running:
        assert write_kek(Kek(bytes(32)), tmp_path / "kek")
        yield running


def ask(
    service: Service, host: str = "127.0.0.1", path: str = "/readyz", *, times: int = 1, metrics: bool = True
) -> list[httpx.Response]:
    """So many requests at once, to one application."""
    settings = service.control.settings.model_copy(update={"metrics": metrics})
    app = create_app(
        replace(service.control, settings=settings), is_shutting_down=service.shutting_down.is_set
    )

    async def get() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=app, client=(host, 4711))
        async with httpx.AsyncClient(transport=transport, base_url="http://stillhouse") as client:
            return list(await asyncio.gather(*(client.get(path) for _ in range(times))))

    return asyncio.run(get())


def reasons(answer: httpx.Response) -> dict[str, list[str]]:
    return {what: one["reasons"] for what, one in answer.json()["checks"].items() if one["reasons"]}


def test_a_service_that_can_work_is_ready(service: Service) -> None:
    (answer,) = ask(service)
    assert (answer.status_code, answer.json()["status"]) == (200, "ready"), answer.text
    assert answer.json()["checks"].keys() == CHECKS and reasons(answer) == {}
    assert answer.headers["X-Request-Id"]


def lose_the_key(service: Service) -> str:
    (service.data / "kek").unlink()
    return str(service.data / "kek")


def exchange_the_key(service: Service) -> str:
    (service.data / "kek").write_text("ab" * 32)
    return "another key"


def unmount_the_store(service: Service) -> str:
    (service.data / "repository").rename(service.data / "elsewhere")
    (service.data / "repository").mkdir()
    return "repository"


def stall_the_engine(service: Service) -> str:
    """A flow was enqueued two minutes ago, and nothing takes it."""
    cluster = service.add_cluster()
    service.take_snapshot(cluster, "nightly", 1)
    with closing(sqlite3.connect(service.data / "catalog.sqlite")) as catalog, catalog:
        catalog.execute("UPDATE workflow_status SET created_at = created_at - 120000")
    return "none is taken"


def rotate_the_key_away(service: Service) -> str:
    cluster = service.add_cluster()
    vault = service.control.vault
    assert vault is not None
    create_or_open(vault.store, Kek(b"o" * 32), cluster)
    service.take_snapshot(cluster, "nightly", 1)
    return "does not open what was captured last"


def break_the_catalog(service: Service) -> str:
    service.break_catalog()
    return "the catalog's database"


@pytest.mark.parametrize(
    ("harm", "what"),
    [
        (lose_the_key, "key"),
        (exchange_the_key, "key"),
        (rotate_the_key_away, "key"),
        (unmount_the_store, "store"),
        (stall_the_engine, "engine"),
        (break_the_catalog, "catalog"),
    ],
)
def test_what_keeps_it_from_its_work_is_told_to_this_host_and_that_something_does_to_all(
    service: Service, harm: Callable[[Service], str], what: str
) -> None:
    said = harm(service)
    (answer,) = ask(service)
    assert (answer.status_code, answer.json()["status"]) == (503, "not ready")
    assert any(said in reason for reason in reasons(answer)[what]), answer.text
    assert not UUID.search(answer.text) and "dw-" not in answer.text, "no tenant's cluster"
    assert "ab" * 8 not in answer.text and "00" * 8 not in answer.text, "no key"
    for host, metrics in (("192.0.2.1", True), ("a proxy's word", True), ("127.0.0.1", False)):
        (answer,) = ask(service, host, metrics=metrics)
        assert (answer.status_code, answer.json()) == (503, {"status": "not ready"})


def test_a_node_that_does_not_answer_is_told_and_keeps_the_service_from_nothing(service: Service) -> None:
    service.add_cluster()
    (answer,) = ask(service)
    assert (answer.status_code, answer.json()["status"]) == (200, "ready")
    nodes = answer.json()["checks"]["nodes"]
    assert (nodes["ready"], nodes["needed"]) == (False, False)
    assert "1 of 1 do not answer" in nodes["reasons"][0] and not UUID.search(answer.text)


def test_a_part_that_hangs_is_named_and_the_others_are_told(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()

    def hang(control: Any) -> list[str]:
        go_on.wait(30)
        return []

    monkeypatch.setattr(readiness, "_store", hang)
    monkeypatch.setattr(readiness, "_PATIENCE_SECONDS", 0.5)
    (answer,) = ask(service)
    go_on.set()
    assert answer.status_code == 503
    assert reasons(answer)["store"] == ["no answer within 0.5 s"]
    assert answer.json()["checks"].keys() == CHECKS


def test_a_disk_that_is_nearly_full_is_told(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "_LEAST_FREE_BYTES", 1 << 60)
    (answer,) = ask(service)
    assert answer.status_code == 503 and str(service.data) in reasons(answer)["disk"][0]


def test_a_stranger_is_told_that_it_is_ready_and_no_more(service: Service) -> None:
    (answer,) = ask(service, "192.0.2.1")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})


def test_a_service_that_is_ending_is_not_ready(service: Service) -> None:
    service.shutting_down.set()
    assert [answer.status_code for answer in ask(service)] == [503]


def test_a_service_at_rest_asks_the_store_less_than_once_a_minute_however_often_it_is_asked(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two replicas that follow: a balancer asks each of them every five seconds, for an hour."""
    control = service.control
    assert control.vault is not None
    cluster = service.add_cluster()
    create_or_open(control.vault.store, control.vault.repository.kek, cluster)
    service.take_snapshot(cluster, "nightly", 1)
    store, seconds = Counting(control.vault.store), [0.0]
    repository = replace(control.vault.repository, location="s3://bucket/prefix")
    vault = replace(control.vault, store=store, repository=repository)
    leading = replace(control, vault=vault, checks=Checks(lambda: seconds[0]))
    followers = [replace(leading, following=Following(), checks=Checks(lambda: seconds[0])) for _ in range(2)]
    for each in followers:
        each.following.hear(Told(Host("host", 2, 1, 1, 1), {}, {}, {}), "the leader")
    monkeypatch.setattr(readiness, "_nodes", lambda *_, **__: [])
    for seconds[0] in map(float, range(0, 3600, 5)):
        for each in (leading, *followers):
            assert readiness.look(each).reasons["store"] == []
    assert 0 < store.calls.total() <= 60, store.calls


def test_many_who_ask_cost_one_look(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []

    def look(control: Any) -> Readiness:
        looks.append(1)
        return Readiness({"key": []})

    monkeypatch.setattr(readiness, "look", look)
    answers = ask(service, "192.0.2.1", times=200)
    assert {answer.status_code for answer in answers} == {200} and len(looks) == 1
    monkeypatch.setattr(readyz, "_GOOD_FOR_SECONDS", 0.0)
    ask(service)
    assert len(looks) == 2


def test_a_look_that_hangs_is_waited_for_a_little_and_holds_nobody_else_up(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    go_on = threading.Event()

    def hang(control: Any) -> Readiness:
        looks.append(1)
        go_on.wait(30)
        return Readiness({})

    monkeypatch.setattr(readiness, "look", hang)
    monkeypatch.setattr(readyz, "_PATIENCE_SECONDS", 0.05)
    app = create_app(service.control, is_shutting_down=lambda: False)

    async def get() -> tuple[set[int], int]:
        transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://stillhouse") as client:
            waiting = asyncio.gather(*(client.get("/readyz") for _ in range(100)))
            healthy = (await client.get("/healthz")).status_code
            codes = {answer.status_code for answer in await waiting}
            codes |= {(await client.get("/readyz")).status_code}
            go_on.set()
            return codes, healthy

    assert asyncio.run(get()) == ({503}, 200)
    assert len(looks) == 1
