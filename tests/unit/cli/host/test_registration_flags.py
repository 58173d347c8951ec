"""Commands that register servers, called without a server: told so in a line, before anything is made or asked."""

from pathlib import Path

import pytest

from stillhouse.cli.main import app
from support.processes.service import PROJECT

CLUSTER = "11111111-2222-4333-8444-555555555555"


@pytest.mark.parametrize("command", ["add", "connect", "check", "propose"])
def test_without_a_server_the_flag_is_named(
    command: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os._exit", _leave)
    monkeypatch.delenv("STILLHOUSE_NODE_PWD", raising=False)
    place = ["--data", str(tmp_path), "--project", PROJECT] if command in ("add", "connect") else []
    with pytest.raises(SystemExit) as ended:
        app(["cluster", command, CLUSTER, *place], result_action="return_value")
    said = capfd.readouterr()
    assert (ended.value.code, said.out) == (1, "")
    assert said.err == (
        "stillhouse: no server is named\nhint: --host HOST:PORT names it, or --file a YAML file\n"
    )


def _leave(code: int) -> None:
    raise SystemExit(code)
