"""Prometheus, Debian's package; where it is missing its tests say so."""

import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import yaml

DEPLOY = Path(__file__).parents[3] / "deploy"
RULES = DEPLOY / "prometheus" / "stillhouse.rules.yml"
DASHBOARD = DEPLOY / "grafana" / "stillhouse.json"

PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")
_MISSING = "Prometheus is not installed: apt-get install --no-install-recommends prometheus"
_IS_THERE = PROMETHEUS is not None and PROMTOOL is not None

if os.environ.get("CI") == "true" and not _IS_THERE:
    raise RuntimeError(_MISSING)

needs_prometheus = pytest.mark.skipif(not _IS_THERE, reason=_MISSING)


class Rule(NamedTuple):
    alert: str
    expr: str
    severity: str
    texts: str


def rules() -> list[Rule]:
    return [
        Rule(rule["alert"], rule["expr"], rule["labels"]["severity"], " ".join(rule["annotations"].values()))
        for group in yaml.safe_load(RULES.read_text())["groups"]
        for rule in group["rules"]
    ]


def panels() -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return shown


def queries() -> list[str]:
    """The queries of the dashboard, with its variables filled in."""
    return [
        re.sub(r"\$\w+", ".*", target["expr"]) for panel in panels() for target in panel.get("targets", [])
    ]


def metrics_named(query: str) -> set[str]:
    """The metrics that a query names, histograms by their own names."""
    named = re.findall(r"\b(?:stillhouse|process)_[a-z_]+", query)
    return {re.sub(r"_(?:bucket|sum|count)$", "", name) for name in named}


def promtool(*words: str) -> None:
    """Run it. Fails with its words."""
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *words], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr


class Prometheus:
    """A running server."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **query: str) -> Any:
        return httpx.get(f"{self.url}{path}", params=query, timeout=30).json()["data"]

    def firing(self) -> dict[str, list[dict[str, Any]]]:
        """The alerts that fire, by name; with their labels and annotations."""
        found: dict[str, list[dict[str, Any]]] = {}
        for one in self.get("/api/v1/alerts")["alerts"]:
            if one["state"] == "firing":
                found.setdefault(one["labels"]["alertname"], []).append(one)
        return found


@contextmanager
def scraping(
    place: Path, target: str, shortened: Mapping[str, str], seconds: int = 2
) -> Iterator[Prometheus]:
    """A Prometheus over a copy of our rules: `for` is left out, and `shortened` texts of expressions are replaced."""
    place.mkdir()
    text = re.sub(r"^ +for: .*\n", "", RULES.read_text(), flags=re.MULTILINE)
    for before, after in shortened.items():
        assert before in text, before
        text = text.replace(before, after)
    (place / "rules.yml").write_text(text)
    config = {
        "global": {"scrape_interval": f"{seconds}s", "evaluation_interval": f"{seconds}s"},
        "rule_files": ["rules.yml"],
        "scrape_configs": [
            {
                "job_name": "stillhouse",
                "static_configs": [{"targets": [target]}],
                "scrape_timeout": f"{seconds}s",
            }
        ],
    }
    (place / "prometheus.yml").write_text(yaml.safe_dump(config))
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    assert PROMETHEUS is not None
    command = [
        PROMETHEUS,
        f"--config.file={place / 'prometheus.yml'}",
        f"--storage.tsdb.path={place / 'data'}",
        f"--web.listen-address={address}",
    ]
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while not _is_ready(address):
            assert process.poll() is None and time.monotonic() < deadline, (place / "log").read_text()[-2000:]
            time.sleep(0.05)
        yield Prometheus(f"http://{address}")
    finally:
        process.terminate()
        process.wait(30)


def _is_ready(address: str) -> bool:
    try:
        return httpx.get(f"http://{address}/-/ready", timeout=5).status_code == 200
    except httpx.TransportError:
        return False
