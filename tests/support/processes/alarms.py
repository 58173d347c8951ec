"""Alarms of a running service: waited for, and time that passes by moving times in its catalog back."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import httpx

from support.processes.service import Service
from support.servers.prometheus import Prometheus


def rings(
    service: Service, prometheus: Prometheus, alert: str, *words: str, name: str = ""
) -> dict[str, Any]:
    """Wait until the alert fires, for that cluster if it is named; its text must hold the words."""

    def look() -> dict[str, Any] | None:
        found = prometheus.firing().get(alert, [])
        return next((one for one in found if not name or one["labels"]["name"] == name), None)

    found: dict[str, Any] = service.until(f"{alert} to ring", look, 90)
    told = " ".join(found["annotations"].values())
    assert "<no value>" not in told and "<error" not in told, told
    assert all(word in told for word in words), told
    return found


def is_silent(service: Service, prometheus: Prometheus, alert: str, name: str = "") -> None:
    def look() -> bool:
        found = prometheus.firing().get(alert, [])
        return not [one for one in found if not name or one["labels"]["name"] == name]

    service.until(f"{alert} to be silent", look, 90)


def move_back(service: Service, *statements: str) -> None:
    """Let time pass, in the catalog: each statement has one place for the moment as SQLite has it."""
    with closing(sqlite3.connect(service.data / "catalog.sqlite", timeout=60)) as catalog, catalog:
        for statement in statements:
            catalog.execute(statement)


def earlier(column: str, hours: int) -> str:
    return f"{column} = strftime('%Y-%m-%d %H:%M:%f', {column}, '-{hours} hours') || '000'"


@contextmanager
def reverted(act: Callable[[], Any], undo: Callable[[], Any]) -> Iterator[None]:
    act()
    try:
        yield
    finally:
        undo()


def why_not_ready(service: Service, part: str) -> str:
    """Return the reason that `/readyz` tells of a part. It keeps an answer for some seconds, so it may come late."""

    def reasons() -> list[str]:
        answer = httpx.get(f"{service.url}/readyz", timeout=60)
        found: list[str] = answer.json()["checks"][part]["reasons"]
        assert answer.status_code == 503 or not found
        return found

    found: list[str] = service.until(f"/readyz to tell of the {part}", reasons)
    return found[0]
