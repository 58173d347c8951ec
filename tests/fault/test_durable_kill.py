"""A service killed in the middle of a flow: what was finished stays finished, the rest is done."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stillhouse.catalog.schema.commits import after_commit
from stillhouse.catalog.schema.database import Database
from stillhouse.durable.flows import Flows
from support.processes import durable_process

pytestmark = pytest.mark.long

DEADLINE_SECONDS = 60


@contextmanager
def _service(data: Path, *subject: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(durable_process.__file__), str(data), *subject]
    with (
        (data / "log").open("a") as errors,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "not reached within the deadline"
        time.sleep(0.02)


def _steps(data: Path) -> Counter[str]:
    path = data / "steps"
    return Counter(line.split()[0] for line in path.read_text().splitlines()) if path.exists() else Counter()


def _result(data: Path) -> object:
    flows = Flows(Database.in_directory(data).url, after_commit)
    try:
        return flows.result((data / "flow").read_text(), DEADLINE_SECONDS)
    finally:
        flows.shutdown(within_seconds=0)


def test_after_kill_9_only_the_interrupted_steps_run_again(tmp_path: Path) -> None:
    hanging = ["x.left.slow", "x.right.slow"]
    with _service(tmp_path, "x") as first:
        assert _line(first) == "serving"
        _until(lambda: all(_steps(tmp_path)[step] == 1 for step in hanging))
        first.kill()
        first.wait()

    with _service(tmp_path) as second:
        assert _line(second) == "serving"
        _until(lambda: all(_steps(tmp_path)[step] == 2 for step in hanging))
        (tmp_path / "go").touch()
        assert _result(tmp_path) == [
            "x.before",
            "x.left.first",
            "x.left.slow",
            "x.right.first",
            "x.right.slow",
            "x.after",
        ]
    once = {"x.before": 1, "x.left.first": 1, "x.right.first": 1, "x.after": 1}
    assert _steps(tmp_path) == once | dict.fromkeys(hanging, 2)


def test_a_flow_enqueued_before_a_kill_starts_afterwards(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    database = Database.in_directory(tmp_path)
    database.migrate()
    flows = Flows(database.url, after_commit)
    flows.prepare()
    flows.register("chain", lambda run, subject: None)
    with database.transaction() as transaction:
        (tmp_path / "flow").write_text(flows.enqueue(transaction, "chain", "y"))

    with _service(tmp_path) as process:
        assert _line(process) == "serving"
        result = _result(tmp_path)
    assert isinstance(result, list)
    assert result[-1] == "y.after"


def test_a_shutdown_ends_within_its_bound_and_the_flow_goes_on_at_the_next_start(tmp_path: Path) -> None:
    with _service(tmp_path, "z") as first:
        assert _line(first) == "serving"
        _until(lambda: _steps(tmp_path)["z.left.slow"] == 1)
        assert first.stdin is not None
        first.stdin.close()
        assert first.wait(DEADLINE_SECONDS) == 3, "the hanging steps cannot have been drained"

    (tmp_path / "go").touch()
    with _service(tmp_path) as second:
        assert _line(second) == "serving"
        assert isinstance(_result(tmp_path), list)
    assert _steps(tmp_path)["z.before"] == 1
    assert _steps(tmp_path)["z.left.first"] == 1


def test_a_second_service_over_the_same_directory_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    with _service(tmp_path) as first:
        assert _line(first) == "serving"
        with _service(tmp_path) as second:
            assert second.wait(DEADLINE_SECONDS) != 0
        assert f"process {first.pid} already serves" in (tmp_path / "log").read_text()
        first.kill()
        first.wait()

    with _service(tmp_path) as third:
        assert _line(third) == "serving"


def test_nothing_the_engine_stores_is_a_pickle(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    with _service(tmp_path, "p") as process:
        assert _line(process) == "serving"
        _result(tmp_path)
    with Database.in_directory(tmp_path).reading() as reading:
        stored = [
            value
            for query in (
                "SELECT inputs FROM workflow_input",
                "SELECT output FROM workflow_output",
                "SELECT output FROM operation_outputs",
            )
            for value in reading.exec_driver_sql(query).scalars()
            if value is not None
        ]
    assert len(stored) > 6
    assert all("value" in json.loads(value) for value in stored)
