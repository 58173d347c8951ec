"""`cluster stop --all` and `start --all`: the servers of all clusters of a project, and what they say of each."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from support.processes.service import COMMAND, Service, serving


@pytest.fixture(scope="module")
def service(data_root: Path) -> Iterator[Service]:
    with serving(data_root / "all") as running:
        yield running


def said(service: Service, *words: str) -> tuple[int, Any, str]:
    environment = os.environ | service.client().environment
    done = subprocess.run(
        [*COMMAND, *words, "--json"], env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, json.loads(done.stdout), done.stderr


def test_all_clusters_stop_and_start_and_one_that_was_stopped_before_is_left_alone(service: Service) -> None:
    pair, single = service.create_cluster("pair", 2), service.create_cluster("single", 1)
    code, told, _ = said(service, "cluster", "stop", "single", "--wait")
    assert (code, told["cluster"]["state"]) == (0, "STOPPED")
    code, told, _ = said(service, "cluster", "stop", "--all", "--wait")
    (row,) = told["clusters"]
    assert (code, row) == (0, {"id": pair, "name": "pair", "done": True, "result": "it is stopped"})
    with pytest.raises(psycopg.OperationalError):
        service.log_in(pair)
    assert said(service, "cluster", "stop", "--all")[:2] == (0, {"clusters": [], "count": 0})
    code, told, _ = said(service, "cluster", "start", "--all", "--wait")
    assert code == 0 and {row["id"]: row["result"] for row in told["clusters"]} == dict.fromkeys(
        (pair, single), "it is started"
    )
    for cluster in (pair, single):
        service.log_in(cluster).close()


def test_one_that_is_refused_keeps_no_other_back_and_the_exit_code_tells_it(service: Service) -> None:
    busy = service.request_cluster("in-the-making", 1)
    code, told, err = said(service, "cluster", "stop", "--all", "--wait")
    results = {row["id"]: row["done"] for row in told["clusters"]}
    assert code == 1 and results.pop(busy) is False and all(results.values()), told
    assert "1 of" in err
    service.settled(busy)
