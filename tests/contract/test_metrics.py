"""The metrics: what they count, and who may see them."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from stillhouse import metrics
from stillhouse.api.app import create_app
from support.api.application import Service, serving_service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving_service(tmp_path_factory.mktemp("service")) as service:
        yield service


def ask(service: Service, host: str, *, is_on: bool = True) -> httpx.Response:
    settings = service.control.settings.model_copy(update={"metrics": is_on})
    app = create_app(replace(service.control, settings=settings), is_shutting_down=lambda: False)

    async def get() -> httpx.Response:
        transport = httpx.ASGITransport(app=app, client=(host, 4711))
        async with httpx.AsyncClient(transport=transport, base_url="http://stillhouse") as client:
            return await client.get("/metrics")

    return asyncio.run(get())


def values(answer: httpx.Response) -> dict[str, float]:
    lines = [line.rpartition(" ") for line in answer.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def test_a_capture_is_counted_by_what_was_done_with_its_files(service: Service) -> None:
    def count(**files: int) -> dict[str, float]:
        metrics.count_captured(files, 3, {"read": 5, "stored": 2}, 0.5, is_whole=False)
        metrics.count_cut(0.02, 2)
        metrics.expect_pause("of-a-cluster", files["pages"] / 100)
        metrics.count_snapshot("available")
        return values(ask(service, "127.0.0.1"))

    before, after = count(kept=1, pages=1), count(kept=7, pages=2)
    changed = {name: after[name] - before[name] for name in after if after[name] != before[name]}
    assert {name: by for name, by in changed.items() if "_bucket" not in name} == {
        'stillhouse_capture_files_total{how="kept"}': 7,
        'stillhouse_capture_files_total{how="pages"}': 2,
        "stillhouse_capture_pages_stored_total": 3,
        'stillhouse_capture_bytes_total{what="read"}': 5,
        'stillhouse_capture_bytes_total{what="stored"}': 2,
        'stillhouse_captures_total{base="earlier"}': 1,
        'stillhouse_snapshots_total{outcome="available"}': 1,
        "stillhouse_capture_seconds_sum": 0.5,
        "stillhouse_capture_seconds_count": 1,
        'stillhouse_cut_expected_pause_seconds{cluster="of-a-cluster"}': 0.01,
        "stillhouse_cut_pause_seconds_sum": 0.02,
        "stillhouse_cut_pause_seconds_count": 1,
        "stillhouse_cut_tries_total": 2,
    }


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
