"""A service that is ready tells its places and the next command: in words on a terminal, else in a line of its log."""

import json
import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stillhouse import __version__, compiled
from support.processes.service import COMMAND, Service, serving

pytestmark = pytest.mark.long  # a service of its own


@pytest.fixture(scope="module")
def service(data_root: Path) -> Iterator[Service]:
    with serving(data_root / "banner") as running:
        yield running


def lines(service: Service) -> list[dict[str, Any]]:
    return [json.loads(line) for line in service.log.read_text().splitlines()]


def test_the_log_has_one_form_and_no_line_for_a_request(service: Service) -> None:
    before = len(lines(service))
    assert service.call("GET", "/v1.0/{p}/clusters").status == 200
    assert service.call("GET", "/v1.0/{p}/clusters/unknown").status == 400
    assert [line["event"] for line in lines(service)[before:]] == []


def test_the_log_tells_the_places_and_the_next_command(service: Service) -> None:
    (ready,) = (line for line in lines(service) if line["event"] == "ready")
    kek = next(line["key_id"] for line in lines(service) if "key_id" in line)
    identity = (service.data / "repository.id").read_text().strip()
    assert (ready["version"], ready["address"], ready["data"]) == (
        __version__,
        service.url,
        str(service.data),
    )
    assert ready["repository"] == f"{service.data / 'repository'} (id {identity})"
    assert f"{service.data / 'kek'} (id {kek})" in ready["key"]
    assert (ready["page_loops"] == "compiled") == (compiled.loops is not None)
    assert f" key create --data {service.data} --project " in ready["command"]


def test_on_a_terminal_the_places_are_words(service: Service) -> None:
    service.client()  # there is an access key now, so the next step is another
    service.stop()
    terminal, theirs = pty.openpty()
    command = [*COMMAND, "serve", "--data", str(service.data), "--listen", f"127.0.0.1:{service.port}"]
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE, text=True) as process:
        os.close(theirs)
        said = ""
        while "\nNext, " not in said or not said.endswith("\n\r\n"):
            said += os.read(terminal, 4096).decode()
        process.terminate()
        assert process.stderr is not None
        logged = [json.loads(line)["event"] for line in process.stderr.read().splitlines()]
    os.close(terminal)
    assert "ready" not in logged
    assert f"address     {service.url}" in said and f"version     {__version__}" in said
    assert "cluster create NAME --nodes 2 --endpoint" in said
    service.start()
